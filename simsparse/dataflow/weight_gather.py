# SPDX-License-Identifier: Apache-2.0
"""Weight-stationary with packed weights: a PE holds one kept weight and picks its input from M."""

from __future__ import annotations

from typing import ClassVar, Literal

from simsparse.dataflow.base import DATAFLOWS, Dataflow, Gemms, PeArray, Wholes, ceil_div
from simsparse.dataflow.weight_stationary import WeightStationary


class WeightGather(Dataflow):
    """The kept weights of a column are packed without gaps, N rows of PEs a group.

    The reduction shrinks to N ceil(k / M) and then runs as dense; every PE needs an M-wide operand
    bus and multiplexer, and N rows share each group's inputs. This is how SCALE-Sim models
    layer-wise N:M weights. Source: derived; counts equal SCALE-Sim 3.0.0 runs.
    """

    name: ClassVar[str] = "ws_gather"
    streams: ClassVar[Literal["m", "n"] | None] = "m"

    def cycles(self, gemms: Gemms, array: PeArray) -> Wholes:
        packed = _packed(gemms)
        folds = ceil_div(packed.k, array.rows * array.macs) * ceil_div(packed.n, array.cols)
        decode: Wholes = folds * gemms.sparse * array.decode
        return WeightStationary().cycles(packed, array) + decode

    def tiles(self, gemms: Gemms, array: PeArray, partial_sums: int) -> tuple[Wholes, Wholes]:
        return WeightStationary().tiles(gemms, array, partial_sums)

    def passes(self, gemms: Gemms, array: PeArray, tile: tuple[Wholes, Wholes]) -> tuple[Wholes, Wholes, Wholes]:
        return WeightStationary().passes(_packed(gemms), array, tile)


def _packed(gemms: Gemms) -> Gemms:
    """The dense GEMM that is left when the kept weights close ranks."""
    return Gemms.of(gemms.m, gemms.n, gemms.keep * ceil_div(gemms.k, gemms.group))


DATAFLOWS.register("ws_gather")(WeightGather())
