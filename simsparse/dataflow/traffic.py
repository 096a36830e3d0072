# SPDX-License-Identifier: Apache-2.0
"""DRAM traffic of a tiled GEMM: what the buffers can't keep is read again."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

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
    """Bytes of each GEMM between DRAM and the chip; ``first`` must arrive before the array starts, ``piece`` before it
    has loaded them, which takes ``load`` cycles, and ``last`` leaves after it ends.

    ``orders`` (2, GEMMs): bytes read with outputs and with tokens in the outer loop; ``read`` is the lesser.
    """

    read: Floats
    write: Floats
    first: Floats
    piece: Floats
    load: Floats
    last: Floats
    orders: Floats

    def opening(self, rate: float) -> Floats:
        """Bytes that the array waits for, on end, when ``rate`` bytes come in a cycle."""
        waits: Floats = self.first + np.maximum(0.0, self.piece - self.load * rate)
        return waits

    def where(self, chosen: NDArray[np.bool_], other: Traffic) -> Traffic:
        """``other`` for the GEMMs that are ``chosen``, this for the rest."""
        pairs = ((getattr(other, each.name), getattr(self, each.name)) for each in fields(self))
        return Traffic(*(np.where(chosen, one, two) for one, two in pairs))


def dram_traffic(
    gemms: Gemms, array: PeArray, tile: tuple[Wholes, Wholes], buffers: Buffers,
    weight_bytes: Floats, input_bytes: Floats, output_bytes: Floats, streams: Literal["m", "n"] | None = "m",
) -> Traffic:  # fmt: skip
    """Traffic of GEMMs worked through in tiles of (tokens, outputs) with the whole of k in each.

    ``weight_bytes`` (stored, metadata included), ``input_bytes`` and ``output_bytes`` are those of
    the whole operands. Either loop may be the outer one; the cheaper is taken:

    * outputs outer: a tile's weights are read once if they fit, the inputs once if all of them fit
      and else once a tile of outputs;
    * tokens outer: the mirror image.

    Columns of several folds share what streams past only where a piece of it along k stays in half of its buffer.

    ``first`` is what the columns of one fold keep, ``piece`` what its rows take first, behind the load of the first;
    ``last`` the results of the last columns, of the last chunk of what ``streams`` past. Partial sums never leave the
    chip. Source: derived, standard reuse counting of a two-loop nest.
    """
    tokens, outputs = tile
    row_tiles, col_tiles = ceil_div(gemms.m, tokens), ceil_div(gemms.n, outputs)
    weight_room, input_room = buffers.weight // 2, buffers.input // 2
    span, interval = gemms.per_pe(array.macs)
    k_folds = ceil_div(gemms.k, array.rows * span)
    again = col_tiles
    if streams == "m":
        together = input_bytes * tokens / gemms.m / k_folds <= input_room
        again = np.where(together, col_tiles, ceil_div(gemms.n, array.cols))
    outputs_outer = _reread(weight_bytes, weight_bytes * outputs / gemms.n, weight_room, row_tiles) + _reread(
        input_bytes, input_bytes, input_room, again
    )
    tokens_outer = _reread(input_bytes, input_bytes * tokens / gemms.m, input_room, again) + _reread(
        weight_bytes, weight_bytes, weight_room, row_tiles
    )
    one_fold = weight_bytes * np.minimum(outputs, array.cols) / gemms.n
    one_piece = input_bytes * np.minimum(tokens, array.rows) / gemms.m
    first, piece = one_fold / k_folds, one_piece / k_folds
    if streams == "n":
        still, moving = input_bytes * np.minimum(gemms.m, array.cols) / gemms.m, weight_bytes / gemms.n
        first, piece = still / k_folds, moving * np.minimum(gemms.n, array.rows) / k_folds
    load = np.broadcast_to(array.rows * interval if streams else 0.0, np.shape(output_bytes))
    columns = (_edge(gemms.m, array.cols), _edge(gemms.n, array.cols))
    shares = {
        "m": columns[1] / row_tiles, "n": columns[0] / col_tiles, None: _edge(gemms.m, array.rows) * columns[1],
    }  # fmt: skip
    orders = np.stack([outputs_outer, tokens_outer])
    last = output_bytes * shares[streams]
    return Traffic(orders.min(axis=0), output_bytes, first, piece, load, last, orders)


def _edge(size: Wholes, tile: int) -> Floats:
    """The share that the last of tiles has of ``size``."""
    share: Floats = ((size - 1) % tile + 1) / size
    return share


def _reread(total: Floats, kept: Floats, room: int, times: Wholes) -> Floats:
    """``total`` bytes, read once if ``kept`` of them fit into ``room``, else ``times`` times."""
    return total * np.where(kept <= room, 1, times)
