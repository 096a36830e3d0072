# SPDX-License-Identifier: Apache-2.0
"""Which points no other point beats."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(costs: Sequence[tuple[float, ...]]) -> list[int]:
    """Indexes of the non-dominated rows of ``costs``, by ascending first cost; all costs are minimised.

    A row dominates another when it is nowhere worse and somewhere better; equal rows all stay.
    Sorted order makes every dominator come first, so a row is compared with the front so far only.
    """
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], i)):
        row = costs[index]
        if not any(_dominates(costs[kept], row) for kept in front):
            front.append(index)
    return front


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
