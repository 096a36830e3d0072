# SPDX-License-Identifier: Apache-2.0
"""Jobs dealt in order to the worker that is free first: when the last one ends."""

from __future__ import annotations

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints


@njit(cache=True)  # type: ignore[untyped-decorator]
def finish(costs: Ints, workers: int) -> int:
    """Cycles until jobs are done that go, in order, to the worker that is free first; a job of 0 goes to none."""
    free = np.zeros(workers, np.int64)
    for cost in costs:
        if cost:
            free[free.argmin()] += cost
    return int(free.max())


def mean_finish(costs: Ints, workers: int, jobs: int) -> int:
    """Mean end of ``costs`` (sets, jobs); where each set stands for more ``jobs``, that many times as long."""
    sets, count = costs.shape
    ends = [finish(costs[each], workers) for each in range(sets)]
    end: int = round(float(np.mean(ends)) * jobs / count)
    return end
