# SPDX-License-Identifier: Apache-2.0
"""Sizes of workloads as axes: traces of one model and phase that differ in tokens alone lie along a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from simsparse.core.result import SIZES, workload_sizes
from simsparse.report.results import Results, StoredPoint

WORKLOAD = "workload"
"""Under this name a point's place has its workload without the size that is an axis."""


def over_sizes(results: Results) -> Iterator[tuple[str, Results]]:
    """For each size that tells traces apart, its name and the results with it as an axis.

    These hold the points whose trace has a partner that differs in this size alone, by what the traces say of
    themselves; their workload is named without the size.
    """
    for size in SIZES:
        if size in results.axes:
            continue
        families: dict[str, list[StoredPoint]] = {}
        for point in results.points:
            if (moved := _moved(results, point, size)) is not None:
                families.setdefault(moved.workload, []).append(moved)
        points = [point for own in families.values() if _count(own, size) > 1 for point in own]
        if points:
            yield size, replace(results, points=tuple(points), axes=(*results.axes, size))


def _moved(results: Results, point: StoredPoint, size: str) -> StoredPoint | None:
    """The point with ``size`` as an axis; None where its trace does not say the size."""
    _, sizes = workload_sizes(point.title)
    set_by = [name for name in results.workload_axes if name in point.place]
    if size not in sizes or not set_by:
        return None
    others = [text for text in point.title.split(", ") if workload_sizes(text)[1].get(size) is None]
    place = {name: value for name, value in point.place.items() if name not in set_by}
    value = str(sizes[size])
    return replace(
        point, workload=", ".join(others), axes={**point.axes, size: value},
        place={**place, WORKLOAD: ", ".join(others), size: value},
    )  # fmt: skip


def _count(points: list[StoredPoint], size: str) -> int:
    return len({point.axes[size] for point in points})
