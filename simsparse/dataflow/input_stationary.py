# SPDX-License-Identifier: Apache-2.0
"""Input-stationary: inputs stay, weights stream through."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from simsparse.dataflow.base import DATAFLOWS, Dataflow, Gemms, PeArray, Wholes, ceil_div, folded


class InputStationary(Dataflow):
    """A fold maps rows * span elements of k and ``cols`` tokens; every output takes ``interval`` cycles.

    Inputs stay uncompressed: a PE holds the ``span`` inputs of as many whole groups as it has
    multipliers, at least one, and streamed N:M weights pick among them. Dense weights with one multiplier:

        folds = ceil(k / rows) ceil(m / cols),  cycles = folds (rows + n + rows + cols - 2)

    Source: derived, the weight-stationary count with tokens and outputs exchanged; SCALE-Sim uses
    the same form, no run of it has been compared.
    """

    name: ClassVar[str] = "is"
    streams: ClassVar[Literal["m", "n"] | None] = "n"

    def cycles(self, gemms: Gemms, array: PeArray) -> Wholes:
        span = self._span(gemms, array)
        interval = ceil_div(span // gemms.group * gemms.keep, array.macs)
        folds = ceil_div(gemms.k, array.rows * span) * ceil_div(gemms.m, array.cols)
        stream = gemms.n * interval + array.fold_fill + gemms.sparse * array.decode
        return folded(folds, array.rows * ceil_div(span, array.macs), stream, array)

    def tiles(self, gemms: Gemms, array: PeArray, partial_sums: int) -> tuple[Wholes, Wholes]:
        outputs = np.clip(partial_sums // np.minimum(gemms.m, array.cols), 1, gemms.n)
        rows = np.maximum(1, partial_sums // outputs // array.cols) * array.cols
        return np.minimum(gemms.m, rows), outputs

    def passes(self, gemms: Gemms, array: PeArray, tile: tuple[Wholes, Wholes]) -> tuple[Wholes, Wholes, Wholes]:
        k_folds = ceil_div(gemms.k, array.rows * self._span(gemms, array))
        return ceil_div(gemms.m, array.cols), ceil_div(gemms.n, tile[1]), 2 * k_folds - 1

    def _span(self, gemms: Gemms, array: PeArray) -> Wholes:
        span: Wholes = np.maximum(1, array.macs // gemms.group) * gemms.group
        return span


DATAFLOWS.register("is")(InputStationary())
