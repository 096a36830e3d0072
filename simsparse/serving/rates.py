# SPDX-License-Identifier: Apache-2.0
"""Latency over the rate of requests, and the highest rate that keeps within limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from simsparse.errors import SpecError
from simsparse.serving.result import Served

RESOLUTION = 0.02
"""Relative width to which the highest rate is narrowed."""
MOST_RUNS = 40
AtRate = Callable[[float], Served]


class RatePoint(NamedTuple):
    """A run at one rate: requests per second that were asked for, the share of requests within the limits, and whether
    the rate is kept: the queue does not grow and enough requests are within the limits."""

    rate: float
    good_share: float
    kept: bool
    served: Served


def rate_point(run: AtRate, rate: float, slo: Mapping[str, float], share: float) -> RatePoint:
    """A run at ``rate``."""
    served = run(rate)
    good = float(served.good(slo).mean())
    return RatePoint(rate, good, good >= share and not served.saturation.saturated, served)


def rate_curve(run: AtRate, rates: Sequence[float], slo: Mapping[str, float], share: float = 0.99) -> list[RatePoint]:
    """Runs at ``rates``, in ascending order. Raises SpecError on a rate that is not positive."""
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise SpecError(f"{list(rates)!r:.80}: expected one or more positive rates", key="rates")
    return [rate_point(run, rate, slo, share) for rate in sorted(rates)]


def highest_rate(run: AtRate, slo: Mapping[str, float], share: float = 0.99, start: float = 1.0) -> list[RatePoint]:
    """Runs of a search for the highest rate at which ``share`` of the requests are within ``slo`` and no queue grows.

    From ``start`` the rate is doubled or halved until one is kept and one is not, then bisected to RESOLUTION; in
    ascending order. It takes for granted that a rate below one that is kept is kept too. Raises SpecError where no
    rate from 2**-20 of ``start`` on is kept.
    """
    points = {start: rate_point(run, start, slo, share)}
    rising = points[start].kept
    rate = start
    while points[rate].kept == rising:
        rate = rate * 2 if rising else rate / 2
        if len(points) > MOST_RUNS // 2:
            raise SpecError(f"no rate from {rate:.3g} per second to {start:.3g} keeps the limits", key="slo")
        points[rate] = rate_point(run, rate, slo, share)
    low, high = (rate / 2, rate) if rising else (rate, rate * 2)
    while high / low > 1 + RESOLUTION:
        middle = math.sqrt(low * high)
        points[middle] = rate_point(run, middle, slo, share)
        low, high = (middle, high) if points[middle].kept else (low, middle)
    return [points[each] for each in sorted(points)]


def knee(points: Sequence[RatePoint]) -> RatePoint | None:
    """The highest rate that is kept, below the first that is not; None where the lowest is not."""
    found = None
    for point in points:
        if not point.kept:
            break
        found = point
    return found
