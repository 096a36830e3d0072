# SPDX-License-Identifier: Apache-2.0
"""What figures of single points show of a sweep with further axes: one value of each, or the front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simsparse.config.keys import label_of
from simsparse.core.pareto import pareto_front
from simsparse.report.metrics import OBJECTIVES
from simsparse.report.results import Results, StoredPoint, unique
from simsparse.report.si import axis_numbers, short_value

SliceChoice = tuple[tuple[str, str], ...]
"""A value of each further axis."""
ENOUGH = 0.5
"""A choice of values stands for a sweep when at least this share of the cells has a point there."""


def sliced(results: Results) -> Results:
    """``results`` with at most one point per workload, configuration and sparsity, and a note that says which.

    Where the further axes form a grid these are the points at one value of each; else, and of a search or a single
    configuration, those of the Pareto front, each a configuration of its own.
    """
    if not results.has_spread:
        return results
    choice = slice_of(results)
    if choice is None or results.searched or len(results.cells) == 1:
        return _front_only(results)
    points = tuple(point for point in results.points if _choice(point) == choice)
    text = choice_text(choice)
    return replace(
        results,
        points=points,
        at=f"at {text}",
        patterns=tuple(results.sparsities),
        note=f"{results.note} Shown: the points at {text}.",
    )


def slice_of(results: Results, without: str = "") -> SliceChoice | None:
    """The values of the further axes, but ``without``, at which most cells have a point; None where few have.

    Of equally many, the baseline's values win, then those in the middle of each axis.
    """
    cells: dict[SliceChoice, set[object]] = {}
    for point in results.done:
        cells.setdefault(_choice(point, without), set()).add(point.cell)
    if not cells:
        return None
    order = {name: _ranks(results, name) for name in results.axes}

    def rank(choice: SliceChoice) -> tuple[object, ...]:
        wanted = sum(results.baseline.get(name) == value for name, value in choice)
        return -len(cells[choice]), -wanted, [order[name][value] for name, value in choice]

    best = min(cells, key=rank)
    return best if len(cells[best]) >= ENOUGH * len(results.cells) else None


def at_choice(results: Results, choice: SliceChoice, without: str) -> list[StoredPoint]:
    """The points that ended well at ``choice``, whatever their value of the axis ``without``."""
    return [point for point in results.done if _choice(point, without) == choice]


def choice_text(choice: SliceChoice) -> str:
    """``PCIe bandwidth 64 GB/s and seed 0``; empty without axes."""
    return " and ".join(f"{label_of(name)} {short_value(value)}" for name, value in choice if value)


def _choice(point: StoredPoint, without: str = "") -> SliceChoice:
    return tuple((name, value) for name, value in point.axes.items() if name != without)


def _ranks(results: Results, axis: str) -> dict[str, int]:
    """How far each value of ``axis`` stands from the middle one."""
    texts = unique(point.axes.get(axis, "") for point in results.points)
    numbers = axis_numbers(texts)
    if numbers is not None:
        texts = [text for _, text in sorted(zip(numbers[0], texts, strict=True))]
    middle = (len(texts) - 1) // 2
    return {text: abs(i - middle) * 2 + (i > middle) for i, text in enumerate(texts)}


def front_points(results: Results) -> list[StoredPoint]:
    """The points of each workload that no other beats in all objectives of the sweep, where these are known."""
    found = []
    for workload in results.workloads:
        own = [point for point in results.done if point.workload == workload and point.feasible]
        metrics = [OBJECTIVES[name] for name in results.objectives if name in OBJECTIVES]
        known = [point for point in own if all(metric.values([point]) for metric in metrics)]
        found += [known[i] for i in pareto_front([tuple(metric.cost(p) for metric in metrics) for p in known])]
    return found


def _front_only(results: Results) -> Results:
    """The front; points of one configuration with one answer differ in an axis that moves nothing, and share a name."""
    chosen = front_points(results)
    names: dict[tuple[object, ...], str] = {}
    points: dict[tuple[str, str, str], StoredPoint] = {}
    for point in chosen:
        answer = (point.workload, point.configuration, point.latency_s, point.energy_j, point.area_mm2)
        name = names.setdefault(answer, f"{point.configuration}{_further(point.axes)}")
        points.setdefault((point.workload, name, point.sparsity), replace(point, configuration=name))
    note = f" Shown: the Pareto front, {len(chosen)} of {len(results.done)} points; each is a machine of its own."
    return replace(
        results, points=tuple(points.values()), at="of the Pareto front", patterns=tuple(results.sparsities),
        note=results.note + note,
    )  # fmt: skip


def _further(axes: Mapping[str, str]) -> str:
    return "".join(f", {short_value(value)}" for value in axes.values() if value)
