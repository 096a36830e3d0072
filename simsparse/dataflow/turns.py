# SPDX-License-Identifier: Apache-2.0
"""What an output-stationary array waits for at each turn of its outer loop, by closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsparse.dataflow.base import Gemms, PeArray, Wholes, ceil_div
from simsparse.dataflow.traffic import Floats, Traffic


@dataclass(frozen=True)
class Turns:
    """Products on an output-stationary array. ``weights`` and ``inputs``: bytes of the operands; ``cycles``: of the
    array without waits; ``rate``: bytes that the DRAM moves in a cycle.

    Source: derived from simsparse.dataflow.folds.
    """

    gemms: Gemms
    array: PeArray
    weights: Floats
    inputs: Floats
    cycles: Wholes
    rate: float

    def waits(self, traffic: Traffic) -> tuple[Floats, Floats]:
        """Bytes waited for in the first turn, and at all later ones, in the order of loops that waits least.

        An order that reads more than the other is not taken.
        """
        by_weights, by_inputs = traffic.orders
        rows, cols = ceil_div(self.gemms.m, self.array.rows), ceil_div(self.gemms.n, self.array.cols)
        tall, wide = (np.minimum(1.0, side / size) for side, size in
                      ((self.array.rows, self.gemms.m), (self.array.cols, self.gemms.n)))  # fmt: skip
        spare = self.cycles / (rows * cols) * self.rate - traffic.write * tall * wide
        opening = np.maximum(
            traffic.opening(self.rate), self._late(self.inputs / rows + self.weights / cols, rows * cols)
        )
        first = [np.maximum(opening, self._late(self.weights / cols + self.inputs, cols)),
                 np.maximum(opening, self._late(self.inputs / rows + self.weights, rows))]  # fmt: skip
        later = [(cols - 1) * np.maximum(0.0, self._behind(self.weights * wide) - spare),
                 (rows - 1) * np.maximum(0.0, self._behind(self.inputs * tall) - spare)]  # fmt: skip
        sooner = (by_weights < by_inputs) | ((by_weights == by_inputs) & (first[0] + later[0] <= first[1] + later[1]))
        return np.where(sooner, *first), np.where(sooner, *later)

    def _late(self, needed: Floats, parts: Wholes) -> Floats:
        """``needed`` bytes less those that come while the array does one of so many ``parts`` of its work."""
        late: Floats = needed - self.cycles * self.rate / parts
        return late

    def _behind(self, tile: Floats) -> Floats:
        """Bytes by which a ``tile`` of the outer operand is behind its use, when it starts to come with the fold.

        The DRAM moves data in the order of use: the reads of a fold stand behind the write of the results of the fold
        before the last, which starts when those are done. So a tile has the time of one fold, less that write, before
        it is needed, piece by piece as it streams. ``array.rows`` steps are one piece; the first, the last whole one
        and the last one are tried.
        """
        span, interval = self.gemms.per_pe(self.array.macs)
        steps, piece = ceil_div(self.gemms.k, span), self.array.rows
        whole = steps // piece
        tried = [
            tile * np.minimum(1.0, count * piece / steps) - np.maximum(0, count - 1) * piece * interval * self.rate
            for count in (np.minimum(1, whole), whole, ceil_div(steps, piece))
        ]
        return np.asarray(np.max(tried, axis=0))
