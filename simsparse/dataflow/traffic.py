# SPDX-License-Identifier: Apache-2.0
"""DRAM traffic of a tiled GEMM: what the buffers can't keep is read again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.base import Gemms, PeArray, Wholes, ceil_div

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Buffers:
    """On-chip bytes for each operand, and bytes of a partial sum. Half of each is being refilled."""

    input: int
    weight: int
    output: int
    partial_sum: int = 4

    def partial_sums(self) -> int:
        """How many partial sums a half of the output buffer holds."""
        return max(1, self.output // 2 // self.partial_sum)


@dataclass(frozen=True)
class Traffic:
    """Bytes of each GEMM between DRAM and the chip; ``first`` must arrive before the array starts,
    ``last`` leaves after it ends."""

    read: Floats
    write: Floats
    first: Floats
    last: Floats

    def where(self, chosen: NDArray[np.bool_], other: Traffic) -> Traffic:
        """``other`` for the GEMMs that are ``chosen``, this for the rest."""
        pairs = ((getattr(other, name), getattr(self, name)) for name in ("read", "write", "first", "last"))
        return Traffic(*(np.where(chosen, one, two) for one, two in pairs))


def dram_traffic(
    gemms: Gemms, array: PeArray, tile: tuple[Wholes, Wholes], buffers: Buffers,
    weight_bytes: Floats, input_bytes: Floats, output_bytes: Floats,
) -> Traffic:  # fmt: skip
    """Traffic of GEMMs worked through in tiles of (tokens, outputs) with the whole of k in each.

    ``weight_bytes`` (stored, metadata included), ``input_bytes`` and ``output_bytes`` are those of
    the whole operands. Either loop may be the outer one; the cheaper is taken:

    * outputs outer: a tile's weights are read once if they fit, the inputs once if all of them fit
      and else once a tile of outputs;
    * tokens outer: the mirror image.

    ``first`` is what the columns of one fold keep and the rows
    take first. Partial sums never leave the chip. Source: derived, standard reuse counting of a two-loop nest.
    """
    tokens, outputs = tile
    row_tiles, col_tiles = ceil_div(gemms.m, tokens), ceil_div(gemms.n, outputs)
    weight_room, input_room = buffers.weight // 2, buffers.input // 2
    outputs_outer = _reread(weight_bytes, weight_bytes * outputs / gemms.n, weight_room, row_tiles) + _reread(
        input_bytes, input_bytes, input_room, col_tiles
    )
    tokens_outer = _reread(input_bytes, input_bytes * tokens / gemms.m, input_room, col_tiles) + _reread(
        weight_bytes, weight_bytes, weight_room, row_tiles
    )
    k_folds = ceil_div(gemms.k, array.rows * gemms.per_pe(array.macs)[0])
    one_fold = weight_bytes * np.minimum(outputs, array.cols) / gemms.n
    one_piece = input_bytes * np.minimum(tokens, array.rows) / gemms.m
    first = (one_fold + one_piece) / k_folds
    return Traffic(np.minimum(outputs_outer, tokens_outer), output_bytes, first, output_bytes / row_tiles / col_tiles)


def _reread(total: Floats, kept: Floats, room: int, times: Wholes) -> Floats:
    """``total`` bytes, read once if ``kept`` of them fit into ``room``, else ``times`` times."""
    return total * np.where(kept <= room, 1, times)
