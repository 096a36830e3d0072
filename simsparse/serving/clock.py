# SPDX-License-Identifier: Apache-2.0
"""Seconds and joules of steps on a device whose power limit averages over time.

A device that has rested runs what its power limit holds down at a faster clock until it has spent what the limit lets
it store: the law of ``simsparse.lowering.power``, step by step. Left out: speeds between the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simsparse.devices.base import PowerBudget
from simsparse.serving.costs import StepWork

Floats = NDArray[np.float64]


@dataclass
class PowerClock:
    """``kernel_s``: pause between kernels. ``budget``: the power limit, None without one."""

    kernel_s: float = 0.0
    budget: PowerBudget | None = None
    _stored_j: float = 0.0
    _last: float = 0.0

    def __post_init__(self) -> None:
        self._stored_j = self._most_j

    @property
    def _most_j(self) -> float:
        """Joules above the limit that a rested device may spend.

        After ``window_s`` at the limit's energy the limit acts; at the faster clock, which draws the cube of its
        speed, that is after the window over the cube.
        """
        if self.budget is None or self.budget.speed <= 1:
            return 0.0
        return self.budget.watts * self.budget.window_s * (1 - self.budget.speed**-3)

    def spend(self, work: StepWork, host_s: float, now: float) -> tuple[float, float]:
        """Seconds and joules of a step that begins at ``now``."""
        paces, joules = self.spend_many(work, np.array([work.seconds]), host_s, now)
        return float(paces[0]), joules

    def spend_many(self, work: StepWork, seconds: Floats, host_s: float, now: float) -> tuple[Floats, float]:
        """Seconds of each of many steps that are alike, and the joules of all; ``work`` is that of one."""
        fraction, extra = self._fraction(work, len(seconds), float(seconds.sum()), now)
        busy = np.maximum(seconds - fraction * work.gain + self.kernel_s * work.kernels, work.host)
        paces = busy + host_s
        joules = len(seconds) * work.joules + fraction * extra
        self._settle(joules, float(paces.sum()), now)
        return paces, joules

    def _fraction(self, work: StepWork, steps: int, seconds: float, now: float) -> tuple[float, float]:
        """Fraction of a faster clock's gain that the stored energy pays for, and the joules that all of it costs."""
        if self.budget is None or work.gain <= 0 or self.budget.speed <= 1:
            return 0.0, 0.0
        self._rest(now)
        speed, watts = self.budget.speed, self.budget.watts
        limited_s = steps * work.gain / (1 - 1 / speed)
        extra = limited_s * watts * (speed**2 - 1)
        beyond = steps * work.joules + extra - watts * (seconds - steps * work.gain)
        if beyond <= self._stored_j:
            return 1.0, extra
        steady = steps * work.joules - watts * seconds
        return max(0.0, min(1.0, (self._stored_j - steady) / (beyond - steady))), extra

    def _rest(self, now: float) -> None:
        if self.budget is not None and now > self._last:
            self._stored_j = min(self._most_j, self._stored_j + self.budget.watts * (now - self._last))
            self._last = now

    def _settle(self, joules: float, seconds: float, now: float) -> None:
        if self.budget is None:
            return
        self._rest(now)
        stored = self._stored_j + self.budget.watts * seconds - joules
        self._stored_j, self._last = min(self._most_j, max(0.0, stored)), now + seconds
