# SPDX-License-Identifier: Apache-2.0
"""What a report is made from: points of a sweep, or of one run, in one shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from simsparse.core import OpResult, Result, Sparsity, Timeline
from simsparse.errors import SpecError
from simsparse.report.style import sparsity_colours
from simsparse.store import NOT_RUN
from simsparse.text import printable

if TYPE_CHECKING:
    import pandas as pd

PointKey = tuple[str, str, str]
MARKED_SHARE = 0.05
NAMED_BY_PATH = ("workload.trace", "system")
"""Inputs whose values are names or paths of files."""


@dataclass(frozen=True)
class StoredPoint:
    """One simulated point: where it stands on the axes, and its answer.

    ``unvalidated_share`` is the share of operator time from models that no reference checks, None
    where the operators were not kept.

    ``workload``, ``configuration`` and ``sparsity`` are display names; ``axes`` holds the values of the other axes as
    text, ``place`` those of all axes as the sweep's file has them: points are alike in all but what differs there.
    ``power_w`` is the power stated for the devices; ``feasible`` whether all constraints hold; ``runs_as`` maps
    sparsities to what devices make of them. ``title`` says model, phase and sizes of the trace. A point that failed has
    an ``error`` and no numbers.
    """

    key: str
    workload: str
    configuration: str
    sparsity: str
    system: str
    policy: str = ""
    axes: Mapping[str, str] = field(default_factory=dict)
    place: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    latency_s: float = float("nan")
    energy_j: float = float("nan")
    area_mm2: float | None = None
    bound: str = ""
    seconds_by_bound: Mapping[str, float] = field(default_factory=dict)
    energy_by_component: Mapping[str, float] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    unvalidated: tuple[str, ...] = ()
    unvalidated_share: float | None = None
    power_w: float | None = None
    runs_as: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    feasible: bool = True
    title: str = ""
    error: str = ""

    @property
    def is_unvalidated(self) -> bool:
        """Whether figures and sentences must mark it: ``MARKED_SHARE`` exceeded, or not known."""
        share = self.unvalidated_share
        return bool(self.unvalidated) and (share is None or share > MARKED_SHARE)

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells the point from all others: its key and its place."""
        return (self.key, *self.place.values())

    @property
    def cell(self) -> PointKey:
        """What bars and tables group by."""
        return self.workload, self.configuration, self.sparsity


@dataclass(frozen=True)
class Results:
    """Points in the order they were asked for, with what was kept of single ones.

    ``ops`` and ``timelines`` are keyed by point key and may cover only some points. ``axes`` are the names of the
    axes besides workload, configuration and sparsity; ``table`` is one row per point, as exported; ``note`` ends
    captions, ``at`` says which values of further axes are drawn; ``patterns`` are the sparsities of the whole sweep,
    where these are a part of it. ``resolved`` is the sweep with every number that it used, as far as a page
    shows it, ``resolved_file`` all of it. ``objectives`` are the numbers that the sweep makes small; ``baseline`` and
    ``normalise`` what its file says that ratios are taken against, by axis, and per; ``searched`` whether later
    points depend on the answers to earlier ones; ``workload_axes`` those that set the trace and nothing else.
    ``drawn`` are all points of a search over levels at its first level; ``points`` those at the last.
    """

    name: str
    points: tuple[StoredPoint, ...]
    axes: tuple[str, ...]
    table: pd.DataFrame
    resolved: str = ""
    resolved_file: Path | None = None
    description: str = ""
    note: str = ""
    at: str = ""
    patterns: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ("latency_s", "energy_j")
    baseline: Mapping[str, str] = field(default_factory=dict)
    normalise: tuple[str, ...] = ()
    searched: bool = False
    workload_axes: tuple[str, ...] = ()
    drawn: tuple[StoredPoint, ...] = ()
    ops: Mapping[str, Sequence[OpResult]] = field(default_factory=dict)
    timelines: Mapping[str, Timeline] = field(default_factory=dict)

    @cached_property
    def done(self) -> tuple[StoredPoint, ...]:
        return tuple(point for point in self.points if not point.error)

    @cached_property
    def failed(self) -> tuple[StoredPoint, ...]:
        return tuple(point for point in self.points if point.error not in ("", NOT_RUN))

    @cached_property
    def not_run(self) -> tuple[StoredPoint, ...]:
        """Points of a sweep that was interrupted before it came to them."""
        return tuple(point for point in self.points if point.error == NOT_RUN)

    @cached_property
    def workloads(self) -> list[str]:
        return unique(point.workload for point in self.points)

    @cached_property
    def configurations(self) -> list[str]:
        return unique(point.configuration for point in self.points)

    @cached_property
    def sparsities(self) -> list[str]:
        """Densest first."""
        return sorted(unique(point.sparsity for point in self.points), key=lambda text: -density(text))

    @property
    def colours(self) -> dict[str, str]:
        """The colour of each sparsity, the same in all figures of a report."""
        return sparsity_colours(self.patterns or self.sparsities)

    @cached_property
    def cells(self) -> dict[PointKey, list[StoredPoint]]:
        """Points that ended well by workload, configuration and sparsity, fastest first."""
        groups: dict[PointKey, list[StoredPoint]] = {}
        for point in sorted(self.done, key=lambda point: point.latency_s):
            groups.setdefault(point.cell, []).append(point)
        return groups

    def point_of(self, workload: str, configuration: str, sparsity: str) -> StoredPoint | None:
        """The point of a cell, the fastest where there are several; None when it has none."""
        group = self.cells.get((workload, configuration, sparsity))
        return group[0] if group else None

    @property
    def has_spread(self) -> bool:
        """Whether some cell holds several points, which differ in further axes."""
        return any(len(group) > 1 for group in self.cells.values())


def listed(names: Sequence[str], otherwise: str = "; ") -> str:
    """Names with commas between them, or with ``otherwise`` where a name has a comma."""
    return (otherwise if any("," in name for name in names) else ", ").join(names)


def unique(items: Iterable[str]) -> list[str]:
    """``items`` without repeats, in order of first appearance."""
    return list(dict.fromkeys(items))


def density(sparsity: str) -> float:
    """Share of weights that ``sparsity`` keeps; 0 for a text that is none, so that it sorts last."""
    try:
        return Sparsity.parse(sparsity).density
    except SpecError:
        return 0.0


def short_name(path: str, components: int = 1) -> str:
    """The last component, or components, of a name or path, without the suffix of a file: ``h100-pcie5``."""
    name = "/".join(path.replace("\\", "/").rstrip("/").split("/")[-components:])
    for suffix in (".gz", ".zst", ".trace", ".yaml", ".yml", ".jsonl"):
        name = name.removesuffix(suffix)
    return name


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """The short name of each of ``paths``, with as many folders as tell those of one name apart."""
    found: dict[str, str] = {}
    left, components = unique(paths), 1
    while left:
        counts = Counter(short_name(path, components) for path in left)
        for path in left:
            whole = components > path.count("/")
            if counts[short_name(path, components)] == 1:
                found[path] = short_name(path, components)
            elif whole:
                found[path] = path
        left = [path for path in left if path not in found]
        components += 1
    return found


def unvalidated_share(ops: Iterable[OpResult]) -> float | None:
    """Share of operator time from models that no reference checks; None without operators."""
    total = unchecked = 0.0
    for op in ops:
        total += op.latency_s
        unchecked += 0.0 if op.validated else op.latency_s
    return unchecked / total if total > 0 else None


def results_of(result: Result) -> Results:
    """One simulation in the shape of a sweep of one point, its texts printable."""
    import pandas as pd

    sparsities = unique(op.weight_sparsity for op in result.ops)
    point = StoredPoint(
        "run", printable(result.workload), printable(short_name(result.system)),
        min(sparsities, key=density, default="dense"),
        printable(result.system), printable(result.policy), overrides=result.overrides, latency_s=result.latency_s,
        energy_j=result.energy_j, area_mm2=result.area_mm2, bound=result.bound,
        seconds_by_bound=result.seconds_by_bound, energy_by_component=result.energy_by_component,
        assumed=result.assumed, unvalidated=result.unvalidated, unvalidated_share=unvalidated_share(result.ops),
        power_w=result.power_w, runs_as=merged_runs(result.runs_as), notes=result.notes,
    )  # fmt: skip
    row = {key: value if not isinstance(value, dict | list) else str(value) for key, value in result.summary().items()}
    row |= result.meta.get("inputs", {})
    row = {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}
    return Results(
        f"{point.workload} on {point.configuration}", (point,), (), pd.DataFrame([row]),
        ops={"run": tuple(_readable(op) for op in result.ops)}, timelines={"run": result.timeline},
    )  # fmt: skip


def _readable(op: OpResult) -> OpResult:
    return OpResult._make(printable(value) if isinstance(value, str) else value for value in op)


def merged_runs(runs_as: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What the devices of a run make of each sparsity, in words that name them all where they differ."""
    found: dict[str, list[str]] = {}
    for own in runs_as.values():
        for stated, used in own.items():
            found.setdefault(stated, []).append(used)
    return {stated: " or ".join(unique(used)) for stated, used in found.items()}
