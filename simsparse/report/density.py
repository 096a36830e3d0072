"""All sparse engines over density on one plot, a multiplier's cycles each, with the crossovers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.accel import AccelPart
from simsparse.config.paths import part_names
from simsparse.core import DENSE, Sparsity
from simsparse.dataflow.pattern import Pattern
from simsparse.devices.sparse_engine import SparseEngine
from simsparse.errors import SimsparseError
from simsparse.report.plot import Plot, finish, panels, plain_log, save_plot
from simsparse.report.style import INK, MARKERS, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
SIDES = ("sparse weights, dense inputs", "weights and inputs of that density")
DTYPES = ("fp16", "bf16", "int8", "fp32")
"""The element type a part runs: the first that it has."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8f7700", "#3b3b3b", "#56B4E9", "#E69F00")
STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """One part over density: ``slots`` are multiplier cycles for each multiply-accumulate of the dense product, so
    that 1 is an array without zeros skipped and without a loss."""

    part: str
    dtype: str
    multipliers: int
    side: str
    densities: Sequence[float]
    slots: Sequence[float]

    @property
    def break_even(self) -> float | None:
        """Density below which it does less than a perfect dense array, on a straight line between logarithms; None
        when it does so nowhere, 1 when it does so everywhere."""
        pairs = list(zip(self.densities, self.slots, strict=True))
        if pairs[-1][1] <= 1:
            return 1.0
        for (low, less), (high, more) in itertools.pairwise(pairs):
            if less <= 1 < more:
                return math.exp(math.log(low) - math.log(less) * math.log(high / low) / math.log(more / less))
        return None


def engine_parts() -> list[str]:
    """Parts under accel that are round a sparse engine."""
    accels = [name for name in part_names() if name.startswith("accel/")]
    return [name for name in accels if isinstance(part := load_hardware(name), AccelPart) and part.engine is not None]


def density_curves(
    size: int, densities: Sequence[float] = DENSITIES, parts: Sequence[str] = ()
) -> tuple[list[Curve], dict[str, str]]:
    """Cores of all parts (or ``parts``) on a product of ``size`` cubed: (curves, reason by part that has none)."""
    curves, absent = [], {}
    for name in parts or engine_parts():
        try:
            curves += list(_curves(name, size, densities))
        except SimsparseError as error:
            absent[name] = str(error)
    return curves, absent


def _curves(name: str, size: int, densities: Sequence[float]) -> Iterator[Curve]:
    device = SparseEngine(load_hardware(name))
    known = device.part.array.macs.keys() & device.part.energy.mac.keys()
    dtype = next((dtype for dtype in DTYPES if dtype in known), min(known))
    machine = device.machine(dtype)
    for side in SIDES:
        slots = []
        for density in densities:
            sparsity = DENSE if density >= 1 else Sparsity.parse(f"unstructured:{density}")
            used = sparsity if device.engine.applies(sparsity) else DENSE
            weights = Pattern.drawn(size, size, used, 1)
            inputs = Pattern.drawn(size, size, sparsity if side == SIDES[1] else DENSE, 2)
            slots.append(device.engine.run(weights, inputs, machine).cycles * machine.peak_macs / size**3)
        yield Curve(name, dtype, machine.peak_macs, side, tuple(densities), tuple(slots))


def crossovers(curves: Sequence[Curve], side: str) -> list[tuple[float, str, float]]:
    """(density, part that needs the fewest multiplier cycles, those cycles), one for each density.

    A part of one multiplier has nothing to share out and is left out, unless there is no other.
    """
    here = [curve for curve in curves if curve.side == side]
    here = [curve for curve in here if curve.multipliers > 1] or here
    best = []
    for place, density in enumerate(here[0].densities if here else ()):
        winner = min(here, key=lambda curve: curve.slots[place])
        best.append((density, winner.part, winner.slots[place]))
    return best


def density_plot(curves: Sequence[Curve]) -> Plot:
    """A panel for each side; a line an engine, the same in both."""
    parts = list(dict.fromkeys(curve.part for curve in curves))
    title = "Multiplier cycles for a multiply-accumulate of the dense product: below 1, skipping zeros pays"
    with figure_style():
        figure, axes = panels(len(SIDES), 4.2, sharey=True)
        for panel, side in zip(axes, SIDES, strict=True):
            _draw(panel, [curve for curve in curves if curve.side == side], parts, side)
        axes[0].set_ylabel("multiplier cycles per dense MAC")
        finish(figure, title, axes[0].get_legend_handles_labels()[0])
    return Plot("density", "Engines over density", title, "", figure)


def _draw(axes: Axes, curves: Sequence[Curve], parts: Sequence[str], side: str) -> None:
    for curve in curves:
        place = parts.index(curve.part)
        axes.plot(
            curve.densities, curve.slots, label=curve.part.removeprefix("accel/"), color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)], linestyle=STYLES[place // len(COLOURS) % len(STYLES)],
            markersize=4, linewidth=1.2,
        )  # fmt: skip
    axes.axhline(1, color=INK, linewidth=0.9)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_log(axes.xaxis, 40)
    plain_log(axes.yaxis, 1e4)
    axes.set_xlabel(f"density\n{side}")


def write_density_report(curves: Sequence[Curve], absent: Mapping[str, str], size: int, folder: Path) -> Path:
    """The plot and README.md with its tables; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    save_plot(density_plot(curves), folder, ("png",))
    page = folder / "README.md"
    page.write_text(density_page(curves, absent, size), encoding="utf-8")
    return page


def density_page(curves: Sequence[Curve], absent: Mapping[str, str], size: int) -> str:
    """The page as Markdown."""
    lines = [
        "# Sparse engines over density", "",
        f"Cycle cores of all parts with a sparse engine on a product of {size} x {size} x {size} with zeros in random "
        "places (level 2), in the part's own element type. The value is the multipliers of the part times its cycles "
        "over the multiply-accumulates of the dense product: 1 is a dense array without any loss. It counts the waits "
        "for the part's own memory. An engine that skips only a pattern (N:M, blocks) runs random zeros as dense. "
        "The parts' sizes, clocks and memories differ; many of their numbers are assumed (`simsparse hw show`).", "",
        "![multiplier cycles over density](density.png)", "",
    ]  # fmt: skip
    for side in SIDES:
        here = [curve for curve in curves if curve.side == side]
        lines += [f"## {side.capitalize()}", ""]
        columns = ["part", "type", "multipliers", *(f"{density:g}" for density in here[0].densities), "pays below"]
        rows = [
            [curve.part, curve.dtype, str(curve.multipliers), *(f"{slots:.3g}" for slots in curve.slots), _paid(curve)]
            for curve in here
        ]
        lines += [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines += [
            "",
            "Least, of parts with more than one multiplier: " + "; ".join(_runs(crossovers(curves, side))) + ".",
            "",
        ]
    lines += [f"Not drawn: {name}: {reason}" for name, reason in absent.items()]
    return "\n".join([*lines, "", f"Remade by `simsparse density --size {size} --out reports/density`.", ""])


def _paid(curve: Curve) -> str:
    even = curve.break_even
    return "nowhere" if even is None else "always" if even >= 1 else f"{even:.2g}"


def _runs(best: Sequence[tuple[float, str, float]]) -> Iterator[str]:
    for part, group in itertools.groupby(best, key=lambda item: item[1]):
        densities = [density for density, _, _ in group]
        span = f"{densities[0]:g}" if len(densities) == 1 else f"{densities[0]:g} to {densities[-1]:g}"
        yield f"{part} at {span}"
