# SPDX-License-Identifier: Apache-2.0
"""Weight-stationary: weights stay, inputs stream through, partial sums flow down the columns."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from simsparse.dataflow.base import DATAFLOWS, ArrayCycles, Dataflow, Gemms, Mask, PeArray, Wholes, ceil_div, folded


class WeightStationary(Dataflow):
    """A column of PEs makes one output; a PE holds the kept weights of its groups of k.

    A fold maps rows * span elements of k and cols outputs. It loads rows * interval cycles (the
    weights enter from the top, as many a cycle as a PE has multipliers), then every token takes
    ``interval`` cycles; a PE picks its inputs from the ``span`` that its row is fed. Dense weights with
    one multiplier have span = interval = 1:

        folds = ceil(k / rows) ceil(n / cols),  cycles = folds (rows + m + rows + cols - 2)

    which is SCALE-Sim's count. N:M weights with one multiplier have span M and interval N.
    Source: derived; dense counts equal SCALE-Sim 3.0.0 runs. With skew 0 and overlap 1, and with skew 1 and
    overlap 0, N multipliers a PE and no decode, equal to rtl/nm_gemm_top.sv without stalls.
    """

    name: ClassVar[str] = "ws"
    streams: ClassVar[Literal["m", "n"] | None] = "m"

    def cycles(self, gemms: Gemms, array: PeArray) -> Wholes:
        span, interval = gemms.per_pe(array.macs)
        folds = ceil_div(gemms.k, array.rows * span) * ceil_div(gemms.n, array.cols)
        stream = gemms.m * interval + array.fold_fill + gemms.sparse * array.decode
        return folded(folds, array.rows * interval, stream, array)

    def tiles(self, gemms: Gemms, array: PeArray, partial_sums: int) -> tuple[Wholes, Wholes]:
        tokens = np.clip(partial_sums // np.minimum(gemms.n, array.cols), 1, gemms.m)
        columns = np.maximum(1, partial_sums // tokens // array.cols) * array.cols
        return tokens, np.minimum(gemms.n, columns)

    def passes(self, gemms: Gemms, array: PeArray, tile: tuple[Wholes, Wholes]) -> tuple[Wholes, Wholes, Wholes]:
        k_folds = ceil_div(gemms.k, array.rows * gemms.per_pe(array.macs)[0])
        return ceil_div(gemms.m, tile[0]), ceil_div(gemms.n, array.cols), 2 * k_folds - 1

    def cycles_with_masks(self, weight_mask: Mask, input_mask: Mask | int, array: PeArray, span: int) -> ArrayCycles:
        from simsparse.dataflow.nm_ws import masked_cycles

        return masked_cycles(weight_mask, input_mask, array, span)


DATAFLOWS.register("ws")(WeightStationary())
