# SPDX-License-Identifier: Apache-2.0
"""What a report is made from: points of a sweep, or of one run, in one shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from simsparse.core import OpResult, Result, Sparsity, Timeline
from simsparse.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

PointKey = tuple[str, str, str]
MARKED_SHARE = 0.05


@dataclass(frozen=True)
class StoredPoint:
    """One simulated point: where it stands on the axes, and its answer.

    ``unvalidated_share`` is the share of operator time from models that no reference checks, None
    where the operators were not kept.

    ``workload``, ``setup`` and ``sparsity`` are display names; ``axes`` holds the values of the
    other axes as text. A point that failed has an ``error`` and no numbers.
    """

    key: str
    workload: str
    setup: str
    sparsity: str
    system: str
    policy: str = ""
    axes: Mapping[str, str] = field(default_factory=dict)
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
    error: str = ""

    @property
    def is_unvalidated(self) -> bool:
        """Whether figures and sentences must mark it: ``MARKED_SHARE`` exceeded, or not known."""
        share = self.unvalidated_share
        return bool(self.unvalidated) and (share is None or share > MARKED_SHARE)

    @property
    def cell(self) -> PointKey:
        """What bars and tables group by."""
        return self.workload, self.setup, self.sparsity


@dataclass(frozen=True)
class Results:
    """Points in the order they were asked for, with what was kept of single ones.

    ``ops`` and ``timelines`` are keyed by point key and may cover only some points. ``axes`` are
    the names of the axes besides workload, setup and sparsity; ``table`` is one row a point, as exported;
    ``note`` ends captions.
    """

    name: str
    points: tuple[StoredPoint, ...]
    axes: tuple[str, ...]
    table: pd.DataFrame
    resolved: str = ""
    description: str = ""
    note: str = ""
    ops: Mapping[str, tuple[OpResult, ...]] = field(default_factory=dict)
    timelines: Mapping[str, Timeline] = field(default_factory=dict)

    @cached_property
    def done(self) -> tuple[StoredPoint, ...]:
        return tuple(point for point in self.points if not point.error)

    @cached_property
    def failed(self) -> tuple[StoredPoint, ...]:
        return tuple(point for point in self.points if point.error)

    @cached_property
    def workloads(self) -> list[str]:
        return unique(point.workload for point in self.points)

    @cached_property
    def setups(self) -> list[str]:
        return unique(point.setup for point in self.points)

    @cached_property
    def sparsities(self) -> list[str]:
        """Densest first."""
        return sorted(unique(point.sparsity for point in self.points), key=lambda text: -density(text))

    @cached_property
    def cells(self) -> dict[PointKey, list[StoredPoint]]:
        """Points that ended well by workload, setup and sparsity, fastest first."""
        groups: dict[PointKey, list[StoredPoint]] = {}
        for point in sorted(self.done, key=lambda point: point.latency_s):
            groups.setdefault(point.cell, []).append(point)
        return groups

    def typical(self, workload: str, setup: str, sparsity: str) -> StoredPoint | None:
        """The point of median latency (the lower one of two) of a cell; None when it has none."""
        group = self.cells.get((workload, setup, sparsity))
        return group[(len(group) - 1) // 2] if group else None

    @property
    def has_spread(self) -> bool:
        """Whether some cell holds several points, so that figures show a median."""
        return any(len(group) > 1 for group in self.cells.values())


def unique(items: Iterable[str]) -> list[str]:
    """``items`` without repeats, in order of first appearance."""
    return list(dict.fromkeys(items))


def density(sparsity: str) -> float:
    """Share of weights that ``sparsity`` keeps; 0 for a text that is none, so that it sorts last."""
    try:
        return Sparsity.parse(sparsity).density
    except SpecError:
        return 0.0


def short_name(path: str) -> str:
    """The last component of a name or path, without the suffix of a file: ``h100-pcie5``."""
    name = path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    for suffix in (".gz", ".zst", ".trace", ".yaml", ".yml", ".jsonl"):
        name = name.removesuffix(suffix)
    return name


def unvalidated_share(ops: Iterable[OpResult]) -> float | None:
    """Share of operator time from models that no reference checks; None without operators."""
    rows = list(ops)
    total = sum(op.latency_s for op in rows)
    return sum(op.latency_s for op in rows if not op.validated) / total if total > 0 else None


def results_of(result: Result) -> Results:
    """One simulation in the shape of a sweep of one point."""
    import pandas as pd

    sparsities = unique(op.weight_sparsity for op in result.ops)
    sparsest = min(sparsities, key=density, default="dense")
    point = StoredPoint(
        "run", short_name(result.trace), short_name(result.system), sparsest, result.system, result.policy,
        {}, result.overrides, result.latency_s, result.energy_j, result.area_mm2, result.bound,
        result.seconds_by_bound, result.energy_by_component, result.assumed, result.unvalidated,
        unvalidated_share(result.ops),
    )  # fmt: skip
    row = {key: value if not isinstance(value, dict | list) else str(value) for key, value in result.summary().items()}
    return Results(
        f"{point.workload} on {point.setup}", (point,), (), pd.DataFrame([row]),
        ops={"run": result.ops}, timelines={"run": result.timeline},
    )  # fmt: skip
