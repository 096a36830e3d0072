# SPDX-License-Identifier: Apache-2.0
"""Which points no other point beats."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(costs: Sequence[tuple[float, ...]]) -> list[int]:
    """Indexes of the non-dominated rows of ``costs``, by ascending first cost; all costs are minimised.

    A row dominates another when it is nowhere worse and somewhere better; equal rows all stay.
    Sorted order makes every dominator come first, so a row is compared with the front so far only.
    """
    if costs and len(costs[0]) == 2:
        return _front_of_two(costs)
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], i)):
        row = costs[index]
        if not any(_dominates(costs[kept], row) for kept in front):
            front.append(index)
    return front


def _front_of_two(costs: Sequence[tuple[float, ...]]) -> list[int]:
    """The same for two costs: among sorted rows each one of the front has a lower second cost than all before."""
    front: list[int] = []
    last: tuple[float, ...] | None = None
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], i)):
        if last is None or costs[index][1] < last[1] or costs[index] == last:
            front.append(index)
            last = costs[index]
    return front


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def hypervolume(costs: Sequence[tuple[float, ...]], worst: tuple[float, ...]) -> float:
    """Volume of what ``costs`` dominate below ``worst``, in the product of the costs' units.

    Cuts along the last cost: each slab has the volume of the points that begin below it in one dimension less.
    """
    inside = [row for row in costs if all(a < b for a, b in zip(row, worst, strict=True))]
    if not inside:
        return 0.0
    if len(worst) == 1:
        return worst[0] - min(row[0] for row in inside)
    front = sorted((inside[i] for i in pareto_front(inside)), key=lambda row: row[-1])
    ends = [*(row[-1] for row in front[1:]), worst[-1]]
    return sum(
        (end - row[-1]) * hypervolume([each[:-1] for each in front[: i + 1]], worst[:-1])
        for i, (row, end) in enumerate(zip(front, ends, strict=True)) if end > row[-1]
    )  # fmt: skip
