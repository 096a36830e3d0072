# SPDX-License-Identifier: Apache-2.0
"""Output-stationary: every PE accumulates one output; both operands stream."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.dataflow.base import DATAFLOWS, Dataflow, Gemms, PeArray, Wholes, ceil_div, folded


class OutputStationary(Dataflow):
    """A fold maps ``rows`` tokens and ``cols`` outputs and runs through k, ``interval`` cycles a span.

    Dense weights with one multiplier:

        folds = ceil(m / rows) ceil(n / cols),  cycles = folds (k + rows + cols - 2)

    which is SCALE-Sim's count; results leave while the next fold starts. Source: derived; dense
    counts equal SCALE-Sim 3.0.0 runs. With skew 0, equal to rtl/nm_systolic_array.sv without stalls when a sum takes at
    least ``rows`` cycles; shorter ones wait there for the results before them.
    """

    name: ClassVar[str] = "os"

    def cycles(self, gemms: Gemms, array: PeArray) -> Wholes:
        span, interval = gemms.per_pe(array.macs)
        folds = ceil_div(gemms.m, array.rows) * ceil_div(gemms.n, array.cols)
        stream = ceil_div(gemms.k, span) * interval + array.fold_fill + gemms.sparse * array.decode
        return folded(folds, np.zeros_like(folds), stream, array)

    def tiles(self, gemms: Gemms, array: PeArray, partial_sums: int) -> tuple[Wholes, Wholes]:
        del partial_sums
        return np.minimum(gemms.m, array.rows), np.minimum(gemms.n, array.cols)

    def passes(self, gemms: Gemms, array: PeArray, tile: tuple[Wholes, Wholes]) -> tuple[Wholes, Wholes, Wholes]:
        del array
        row_folds, col_folds = ceil_div(gemms.m, tile[0]), ceil_div(gemms.n, tile[1])
        return row_folds, col_folds, np.ones_like(row_folds)


DATAFLOWS.register("os")(OutputStationary())
