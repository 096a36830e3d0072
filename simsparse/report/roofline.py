# SPDX-License-Identifier: Apache-2.0
"""Rooflines: the operators of a point under the limits of the device that ran them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simsparse.core import OpResult
from simsparse.errors import SimsparseError
from simsparse.report.labels import place_labels
from simsparse.report.peaks import Peaks, peaks_of, stored_peaks
from simsparse.report.plot import Plot, finish, freeze_layout, panels, plain_log
from simsparse.report.results import Results, StoredPoint, unique
from simsparse.report.si import Scale, scale_for, si
from simsparse.report.style import INK, MARKERS, MUTED, SMALL_PT, kind_colours, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_IN = 2.65
MAX_PANELS = 6
MAX_LABELS = 9
LABEL_FROM_SHARE = 0.02
DRAW_FROM_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class Marker:
    """Equal operators of one point as one marker: ``count`` of them, ``share`` of all operator time."""

    text: str
    kind: str
    sparsity: str
    intensity: float
    flops_per_s: float
    count: int
    share: float
    validated: bool


@dataclass(frozen=True)
class RooflinePanel:
    """One device of one configuration under one workload."""

    workload: str
    configuration: str
    device: str
    peaks: Peaks
    markers: tuple[Marker, ...]


def roofline(results: Results) -> Plot | None:
    """One panel a workload, configuration and device whose operators were kept; None when there is none."""
    found = _merged(_panels(results))
    if not found:
        return None
    shown = _selected(found)
    figure, axes = panels(len(shown), PANEL_IN, columns=min(2, len(shown)))
    kinds = unique(marker.kind for panel in shown for marker in panel.markers)
    sparsities = [s for s in results.sparsities if any(m.sparsity == s for p in shown for m in p.markers)]
    scale = scale_for([panel.peaks.flops_per_s / 30 for panel in shown], "FLOP/s")
    shapes = {sparsity: MARKERS[i] if i < len(MARKERS) else "." for i, sparsity in enumerate(sparsities)}
    for i, (ax, panel) in enumerate(zip(axes, shown, strict=True)):
        _draw(ax, panel, scale, kind_colours(kinds), shapes)
        if i % 2 == 0:
            ax.set_ylabel(f"Performance ({scale.unit}), log scale")
    title = "Operators under the roofs of the devices that ran them"
    finish(figure, title, _legend(kinds, shapes, shown))
    freeze_layout(figure)
    for ax, panel in zip(axes, shown, strict=True):
        _label(ax, panel, scale)
    return Plot("roofline", "Roofline", title, _caption(len(found) - len(shown)) + results.note, figure)


def _selected(found: list[RooflinePanel]) -> list[RooflinePanel]:
    """At most ``MAX_PANELS``, as many of every workload as there is room for."""
    places: dict[str, int] = {}
    ranks = []
    for panel in found:
        places[panel.workload] = places.get(panel.workload, 0) + 1
        ranks.append(places[panel.workload])
    chosen = sorted(range(len(found)), key=lambda i: ranks[i])[:MAX_PANELS]
    return [found[i] for i in sorted(chosen)]


def _merged(found: Iterable[RooflinePanel]) -> list[RooflinePanel]:
    """Panels that show the same markers under the same roof as one, with the names of all configurations."""
    groups: dict[tuple[str, str, Peaks, tuple[Marker, ...]], list[str]] = {}
    for panel in found:
        groups.setdefault((panel.workload, panel.device, panel.peaks, panel.markers), []).append(panel.configuration)
    return [
        RooflinePanel(w, "; ".join(configurations), device, peaks, ms)
        for (w, device, peaks, ms), configurations in groups.items()
    ]


def _panels(results: Results) -> Iterable[RooflinePanel]:
    for workload in results.workloads:
        for configuration in results.configurations:
            points = [p for s in results.sparsities if (p := results.point_of(workload, configuration, s))]
            points = [point for point in points if point.key in results.ops]
            if points:
                yield from _devices(results, workload, configuration, points)


def _devices(
    results: Results, workload: str, configuration: str, points: Sequence[StoredPoint]
) -> Iterable[RooflinePanel]:
    peaks, found = _peaks(results, points[0]), dict[str, list[Marker]]()
    for point in points:
        for device, markers in _markers(results.ops[point.key], point.sparsity).items():
            found.setdefault(device, []).extend(markers)
    for device, markers in found.items():
        if device in peaks and markers:
            yield RooflinePanel(workload, configuration, device, peaks[device], tuple(markers))


def _peaks(results: Results, point: StoredPoint) -> dict[str, Peaks]:
    """Peaks of the point's devices: of a system in a file, as the sweep wrote them down; empty when none are known."""
    from simsparse.config.hardware import load_system

    if point.system.endswith((".yaml", ".yml")) and results.resolved_file is not None:
        return stored_peaks(results.resolved_file, point.system, point.overrides)
    try:
        system = load_system(point.system, point.overrides)
    except SimsparseError:
        return stored_peaks(results.resolved_file, point.system, point.overrides)
    return {name: peaks for name, part in system.devices.items() if (peaks := peaks_of(part))}


@dataclass(slots=True)
class _Group:
    """Sums over equal operators of one device."""

    seconds: float = 0.0
    bytes: int = 0
    count: int = 0
    validated: bool = True

    def add(self, op: OpResult) -> None:
        self.seconds += op.latency_s
        self.bytes += op.bytes
        self.count += 1
        self.validated &= bool(op.validated)


def _markers(ops: Iterable[OpResult], sparsity: str) -> dict[str, list[Marker]]:
    """The markers of every device that ran some of ``ops``, which are gone through once."""
    total, groups = 0.0, dict[str, dict[tuple[str, str, int], _Group]]()
    for op in ops:
        total += op.latency_s
        own = groups.setdefault(op.device, {})
        if op.flops > 0 and op.bytes > 0 and op.latency_s > 0:
            own.setdefault((op.kind, _short(op), op.flops), _Group()).add(op)
    return {device: [_marker(*key, group, sparsity, total) for key, group in own.items()
                     if group.seconds >= DRAW_FROM_SHARE * total]
            for device, own in groups.items()}  # fmt: skip


def _marker(kind: str, text: str, flops: int, group: _Group, sparsity: str, total: float) -> Marker:
    done = flops * group.count
    return Marker(text, kind, sparsity, done / group.bytes, done / group.seconds, group.count, group.seconds / total,
                  group.validated)  # fmt: skip


def _short(op: OpResult) -> str:
    """What the op is in its layer: its label, or the last word of its module that is no number."""
    words = [word for word in (op.module or op.name).split(".") if not word.isdigit()]
    return op.label or (words[-1] if words else op.kind)


def _draw(ax: Axes, panel: RooflinePanel, scale: Scale, colours: Mapping[str, str], shapes: Mapping[str, str]) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    looks: dict[tuple[str, str, bool], list[Marker]] = {}
    for marker in panel.markers:
        looks.setdefault((marker.kind, marker.sparsity, marker.validated), []).append(marker)
    for (kind, sparsity, validated), markers in looks.items():
        ax.plot(
            [m.intensity for m in markers], [m.flops_per_s / scale.factor for m in markers], linestyle="none",
            marker=shapes[sparsity], color=colours[kind], markerfacecolor=colours[kind] if validated else "white",
            markersize=6, markeredgewidth=1.2, alpha=0.9,
        )  # fmt: skip
    low = min(m.intensity for m in panel.markers) / 4
    high = max(*(m.intensity for m in panel.markers), panel.peaks.ridge * (panel.peaks.sparse24 or 1)) * 6
    peak, ridge = panel.peaks.flops_per_s / scale.factor, panel.peaks.ridge
    ax.plot([low, ridge, high], [peak * low / ridge, peak, peak], color=INK, linewidth=1.3, zorder=1.5)
    top: float | None = None
    if panel.peaks.sparse24 and any(m.sparsity != "dense" for m in panel.markers):
        faster, top = panel.peaks.sparse24, panel.peaks.flops_per_s * panel.peaks.sparse24
        ax.plot([ridge, ridge * faster, high], [peak, peak * faster, peak * faster], color=INK, linewidth=1.1,
                linestyle=(0, (4, 2)), zorder=1.5)  # fmt: skip
    ax.set_xlim(low, high)
    bottom = min(*(m.flops_per_s / scale.factor for m in panel.markers), peak * low / ridge) / 3
    ax.set_ylim(bottom, peak * (6 if top is None else 12))
    plain_log(ax.xaxis, high / low)
    plain_log(ax.yaxis, 6 * peak / bottom)
    ax.set_xlabel("Arithmetic intensity (FLOP/byte), log scale")
    ax.set_title(
        f"{wrapped(panel.workload, 40)}\n{wrapped(f'{panel.configuration}: {panel.device}', 44)}", fontsize=8.5
    )
    said = f"{si(panel.peaks.flops_per_s, 'FLOP/s')} {panel.peaks.dtype} dense, {si(panel.peaks.bytes_per_s, 'B/s')}"
    ax.annotate(
        f"{said}\ndashed: {si(top, 'FLOP/s')} at 2:4" if top is not None else said,
        (0, 1), xycoords="axes fraction", xytext=(4, -4), textcoords="offset points", va="top", fontsize=SMALL_PT,
    ).set_in_layout(False)  # fmt: skip


def _label(ax: Axes, panel: RooflinePanel, scale: Scale) -> None:
    """Name the markers that take most time, each operator once, those at one place together."""
    named: dict[str, Marker] = {}
    for marker in sorted(panel.markers, key=lambda m: -m.share):
        if marker.share >= LABEL_FROM_SHARE:
            named.setdefault(marker.text, marker)
    places: dict[tuple[int, int], list[Marker]] = {}
    for m in list(named.values())[:MAX_LABELS]:
        places.setdefault((round(4 * math.log10(m.intensity)), round(3 * math.log10(m.flops_per_s))), []).append(m)
    points = [(ms[0].intensity, ms[0].flops_per_s / scale.factor) for ms in places.values()]
    texts = [_together(markers) for markers in places.values()]
    obstacles = [(m.intensity, m.flops_per_s / scale.factor) for m in panel.markers]
    place_labels(ax, points, texts, obstacles + _along_roof(ax, panel.peaks, scale))


def _together(markers: Sequence[Marker]) -> str:
    names = [f"{m.text} ×{m.count}" if m.count > 1 else m.text for m in markers]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return names[0] + more


def _along_roof(ax: Axes, peaks: Peaks, scale: Scale) -> list[tuple[float, float]]:
    """Points along the roof, and along the text in the upper left corner."""
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    steps = [low * (high / low) ** (i / 60) for i in range(61)]
    peak, heights = peaks.flops_per_s / scale.factor, [bottom * (top / bottom) ** share for share in (0.95, 0.9)]
    roof = [(x, min(x * peaks.bytes_per_s / scale.factor, peak)) for x in steps]
    return roof + [(x, y) for x in steps[:44] for y in heights]


def _legend(kinds: Sequence[str], shapes: Mapping[str, str], shown: Sequence[RooflinePanel]) -> list[object]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    colours = kind_colours(kinds)
    handles: list[object] = [Patch(color=colours[kind], label=kind) for kind in kinds]
    handles += [
        Line2D([], [], linestyle="none", marker=shape, color=MUTED, label=sparsity, markersize=6)
        for sparsity, shape in shapes.items()
    ]
    if any(not marker.validated for panel in shown for marker in panel.markers):
        handles.append(
            Line2D([], [], linestyle="none", marker="o", color=MUTED, markerfacecolor="white", markeredgewidth=1.2,
                   label="hollow: unvalidated model", markersize=6)
        )  # fmt: skip
    return handles


def _caption(hidden: int) -> str:
    text = (
        "Each marker is a group of equal operators, coloured by kind; shapes are weight sparsity. Operations are "
        "counted dense, two per multiply-accumulate, so sparse weights move right (fewer bytes) and may rise above the "
        "dense peak. The black line is the nominal peak and bandwidth of the device, the dashed one its "
        "peak with 2:4 weights; names stand at the operators that "
        "take most time; operators below 0.1 % of the time are left out."
    )
    return text + (
        f" {hidden} more combinations of workload, configuration and device not shown." if hidden > 0 else ""
    )
