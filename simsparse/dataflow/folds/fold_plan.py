# SPDX-License-Identifier: Apache-2.0
"""Plans of folds: what each fold of a dataflow loads, streams and writes, before anything has a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints, PeArray, ceil_div
from simsparse.dataflow.folds.dma import INPUT, WEIGHT
from simsparse.dataflow.folds.fold_core import (
    FIRST_BITS,
    LOAD,
    OPENS,
    SECOND_BITS,
    STILL_BITS,
    STREAM,
    STREAMED,
    TURN,
    TURNS,
    WHOLE,
    WRITE_BITS,
)
from simsparse.dataflow.traffic import Buffers
from simsparse.errors import SpecError

if TYPE_CHECKING:
    from simsparse.dataflow.folds.schedule import FoldGemm, Outer


@dataclass(frozen=True)
class FoldPlan:
    """``rows`` (folds, 8) as fold_core.run_plan reads them, and what holds for all folds.

    ``operands``: (stationary, streamed, streamed second); ``held``: how each lies in its buffer. ``piece`` steps of
    the stream are loaded at once; a step takes ``interval`` cycles; a fold fills for ``fill``. ``sram``: elements that
    cross the array's edge.
    """

    rows: Ints
    operands: Ints
    held: Ints
    piece: int
    interval: int
    fill: int
    sram: Mapping[str, int]

    def moved(self) -> dict[str, Ints]:
        """Bits that each fold reads of inputs and weights, and writes."""
        found = {"input": np.zeros(len(self.rows), np.int64), "weight": np.zeros(len(self.rows), np.int64)}
        for slot, column in enumerate((STILL_BITS, FIRST_BITS, SECOND_BITS)):
            found["input" if self.operands[slot] == INPUT else "weight"] += self.rows[:, column]
        return {**found, "output": self.rows[:, WRITE_BITS]}


@dataclass(frozen=True)
class _Cut:
    """A dim cut into tiles: ``at`` where each begins, ``size`` of each."""

    at: Ints
    size: Ints

    @classmethod
    def of(cls, total: int, tile: int) -> _Cut:
        at = np.arange(0, total, tile, dtype=np.int64)
        return cls(at, np.minimum(tile, total - at))

    @property
    def count(self) -> int:
        return len(self.at)


@dataclass(frozen=True)
class _Operand:
    """An operand of ``lines`` along m or n, ``extent`` elements along k each, and its bits in all.

    ``cut`` are its lines' tiles; ``along`` what a line holds of each tile of k.
    """

    lines: _Cut
    along: _Cut
    bits: int

    def tile_bits(self, line: Ints, k: Ints) -> Ints:
        """Bits of tiles; those of all tiles add up to ``bits``."""
        extent = int(self.along.size.sum())
        before = self.lines.at[line] * extent + self.lines.size[line] * self.along.at[k]
        return _share(self.bits, int(self.lines.size.sum()) * extent, before, self.elements(line, k))

    def elements(self, line: Ints, k: Ints) -> Ints:
        found: Ints = self.lines.size[line] * self.along.size[k]
        return found

    def line_bits(self) -> int:
        """Bits of the largest tile of lines, over all of k."""
        return -(-self.bits * int(self.lines.size[0]) // int(self.lines.size.sum()))


def plan_folds(
    dataflow: str, product: FoldGemm, array: PeArray, buffers: Buffers, outer: Outer, cut: int = 1
) -> FoldPlan:
    """The folds of ``product`` in order, a blocked order's streams ``cut`` times shorter than need be.

    Raises SpecError; see schedule.schedule.
    """
    if dataflow in ("ws", "is") and outer == "blocked":
        return _blocked(dataflow, product, array, buffers, cut)
    if dataflow in ("ws", "is"):
        return _stationary(dataflow, product, array, buffers, outer)
    if dataflow == "os" and outer not in ("fitted", "blocked"):
        return _output_stationary(product, array, buffers, outer)
    raise SpecError(f"{dataflow!r} has no schedule; expected ws, is, or os with an outer operand", key="dataflow")


def _stationary(dataflow: str, product: FoldGemm, array: PeArray, buffers: Buffers, outer: Outer) -> FoldPlan:
    """Columns hold tiles of the stationary operand; tokens (ws) or outputs (is) stream past in chunks."""
    weights_stay = dataflow == "ws"
    span, interval, load = _per_pe(product, array, weights_stay)
    columns, flow = (product.n, product.m) if weights_stay else (product.m, product.n)
    rooms, order = _rooms(buffers), [WEIGHT, INPUT, INPUT] if weights_stay else [INPUT, WEIGHT, WEIGHT]
    chunk = max(1, min(flow, buffers.partial_sums() // min(columns, array.cols)))
    if outer == "fitted":
        whole = product.input_bits if weights_stay else product.weight_bits
        chunk = max(1, min(chunk, rooms[order[1]] * flow // whole))
    ks = _Cut.of(product.k, array.rows * span)
    cols, chunks = _Cut.of(columns, array.cols), _Cut.of(flow, -(-flow // -(-flow // chunk)))
    inputs = _Operand(chunks if weights_stay else cols, ks, product.input_bits)
    weights = _Operand(cols if weights_stay else chunks, _kept(ks, product), product.weight_bits)
    still, moving = (weights, inputs) if weights_stay else (inputs, weights)
    still_first = outer == ("weights" if weights_stay else "inputs")
    of_still = _held(still, rooms[order[0]], still_first, chunks.count)
    held = [of_still, _held(moving, rooms[order[1]], not still_first, cols.count), STREAMED]
    col, part, k, turn = _loops(cols, chunks, ks, still_first)
    rows = np.zeros((len(k), 8), np.int64)
    rows[:, LOAD], rows[:, STREAM], rows[:, OPENS], rows[:, TURN] = load, chunks.size[part], k == 0, turn
    rows[:, STILL_BITS] = still.tile_bits(col, k) * ((part == 0) | (held[0] == STREAMED))
    rows[:, FIRST_BITS] = moving.tile_bits(part, k) * ((col == 0) | (held[1] == STREAMED))
    rows[:, WRITE_BITS] = _results(product, cols, chunks, col, part, still_first) * (k == ks.count - 1)
    if held[0] == STREAMED:
        _require(int(rows[:, STILL_BITS].max()), rooms[order[0]], "tile of the stationary operand")
    piece = _piece(array, rows, FIRST_BITS, rooms[order[1]], held[1])
    sums = int((cols.size[col] * chunks.size[part]).sum())
    crossing = [int(still.elements(col, k).sum()), int(moving.elements(part, k).sum())]
    sram = {"input_read": crossing[weights_stay], "weight_read": crossing[not weights_stay],
            "output_write": sums, "output_read": sums - product.m * product.n}  # fmt: skip
    return FoldPlan(rows, np.array(order), np.array(held), piece, interval, _fill(product, array), sram)


def _blocked(dataflow: str, product: FoldGemm, array: PeArray, buffers: Buffers, cut: int) -> FoldPlan:
    """As _stationary, with the partial sums of several columns' tiles on chip: each piece of k streams past all of
    them before the next piece is read."""
    weights_stay = dataflow == "ws"
    span, interval, load = _per_pe(product, array, weights_stay)
    columns, flow = (product.n, product.m) if weights_stay else (product.m, product.n)
    rooms, order = _rooms(buffers), [WEIGHT, INPUT, INPUT] if weights_stay else [INPUT, WEIGHT, WEIGHT]
    ks, cols = _Cut.of(product.k, array.rows * span), _Cut.of(columns, array.cols)
    width, moving_bits = min(columns, array.cols), product.input_bits if weights_stay else product.weight_bits
    step_bits = -(-moving_bits * int(ks.size[0]) // (flow * product.k))
    chunk = max(1, min(flow, buffers.partial_sums() // width, rooms[order[1]] // step_bits) // cut)
    chunks = _Cut.of(flow, -(-flow // -(-flow // chunk)))
    inputs = _Operand(chunks if weights_stay else cols, ks, product.input_bits)
    weights = _Operand(cols if weights_stay else chunks, _kept(ks, product), product.weight_bits)
    still, moving = (weights, inputs) if weights_stay else (inputs, weights)
    together = max(1, buffers.partial_sums() // (int(chunks.size[0]) * width))
    part, block, k, col = _block_loops(chunks.count, cols.count, ks.count, together)
    held = [WHOLE if still.bits <= rooms[order[0]] else STREAMED, WHOLE if moving.bits <= rooms[order[1]] else TURNS]
    lead = col == block * together
    rows = np.zeros((len(k), 8), np.int64)
    rows[:, LOAD], rows[:, STREAM], rows[:, OPENS] = load, chunks.size[part], (k == 0) & lead
    rows[:, TURN] = lead & (np.arange(len(k)) > 0)
    rows[:, STILL_BITS] = still.tile_bits(col, k) * ((part == 0) | (held[0] == STREAMED))
    rows[:, FIRST_BITS] = moving.tile_bits(part, k) * (lead & ((block == 0) | (held[1] == TURNS)))
    rows[:, WRITE_BITS] = _results(product, cols, chunks, col, part, False) * (k == ks.count - 1)
    if held[0] == STREAMED:
        _require(int(rows[:, STILL_BITS].max()), rooms[order[0]], "tile of the stationary operand")
    if held[1] == TURNS:
        _require(int(rows[:, FIRST_BITS].max()), rooms[order[1]], "piece of the stream")
    sums = int((cols.size[col] * chunks.size[part]).sum())
    crossing = [int(still.elements(col, k).sum()), int(moving.elements(part, k).sum())]
    sram = {"input_read": crossing[weights_stay], "weight_read": crossing[not weights_stay],
            "output_write": sums, "output_read": sums - product.m * product.n}  # fmt: skip
    held = [*held, STREAMED]
    return FoldPlan(rows, np.array(order), np.array(held), array.rows, interval, _fill(product, array), sram)


def _block_loops(parts: int, cols: int, ks: int, together: int) -> tuple[Ints, Ints, Ints, Ints]:
    """(part, block, k, col) of each fold: parts, blocks of ``together`` columns' tiles, pieces of k, columns."""
    found = []
    for block, first in enumerate(range(0, cols, together)):
        k, col = np.divmod(np.arange(ks * min(together, cols - first)), min(together, cols - first))
        found.append(np.stack([np.full(len(k), block), k, first + col]))
    block, k, col = np.tile(np.concatenate(found, axis=1).astype(np.int64), parts)
    return np.repeat(np.arange(parts), len(k) // parts), block, k, col


def _output_stationary(product: FoldGemm, array: PeArray, buffers: Buffers, outer: Outer) -> FoldPlan:
    """Rows hold tokens and columns outputs; both operands stream past along k."""
    span, interval, _ = _per_pe(product, array, weights_stay=True)
    ks = _Cut.of(product.k, product.k)
    outputs, tokens = _Cut.of(product.n, array.cols), _Cut.of(product.m, array.rows)
    inputs = _Operand(tokens, ks, product.input_bits)
    weights = _Operand(outputs, _kept(ks, product), product.weight_bits)
    rooms, weights_first = _rooms(buffers), outer == "weights"
    of_inputs = _held(inputs, rooms[INPUT], not weights_first, outputs.count)
    held = [STREAMED, of_inputs, _held(weights, rooms[WEIGHT], weights_first, tokens.count)]
    col, row, k, turn = _loops(outputs, tokens, ks, weights_first)
    rows = np.zeros((len(k), 8), np.int64)
    rows[:, STREAM], rows[:, OPENS], rows[:, TURN] = -(-product.k // span), 1, turn
    rows[:, FIRST_BITS] = inputs.tile_bits(row, k) * ((col == 0) | (held[1] == STREAMED))
    rows[:, SECOND_BITS] = weights.tile_bits(col, k) * ((row == 0) | (held[2] == STREAMED))
    rows[:, WRITE_BITS] = _results(product, outputs, tokens, col, row, weights_first)
    piece = min(_piece(array, rows, FIRST_BITS, rooms[INPUT], held[1]),
                _piece(array, rows, SECOND_BITS, rooms[WEIGHT], held[2]))  # fmt: skip
    sram = {"input_read": int(inputs.elements(row, k).sum()), "weight_read": int(weights.elements(col, k).sum()),
            "output_write": product.m * product.n, "output_read": 0}  # fmt: skip
    order = np.array([INPUT, INPUT, WEIGHT])
    return FoldPlan(rows, order, np.array(held), piece, interval, _fill(product, array), sram)


def _per_pe(product: FoldGemm, array: PeArray, weights_stay: bool) -> tuple[int, int, int]:
    """(elements of k that a PE takes on, cycles of a step, cycles of a stationary load)."""
    if weights_stay:
        span, interval = (int(each) for each in product.gemms.per_pe(array.macs))
        return span, interval, array.rows * interval
    span = max(1, array.macs // product.group) * product.group
    return span, -(-span // product.group * product.keep // array.macs), array.rows * -(-span // array.macs)


def _fill(product: FoldGemm, array: PeArray) -> int:
    return array.fold_fill + (array.decode if product.keep < product.group else 0)


def _kept(ks: _Cut, product: FoldGemm) -> _Cut:
    """What a row of weights keeps of tiles of whole groups of k."""
    full, rest = np.divmod(ks.size, product.group)
    return _Cut(ks.at // product.group * product.keep, full * product.keep + np.minimum(product.keep, rest))


def _rooms(buffers: Buffers) -> dict[int, int]:
    """Bits of half of each read buffer."""
    return {INPUT: 4 * buffers.input, WEIGHT: 4 * buffers.weight}


def _held(operand: _Operand, room: int, outer: bool, uses: int) -> int:
    """How an operand lies in a buffer of which half has ``room`` bits.

    Each of its tiles of lines is used ``uses`` times, with ``outer`` one after another, else once in each turn.
    """
    if operand.bits <= room:
        return WHOLE
    return TURNS if outer and uses > 1 and operand.line_bits() <= room else STREAMED


def _loops(cols: _Cut, parts: _Cut, ks: _Cut, cols_first: bool) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
    """(col, part, k, whether the outer loop went on) of each fold."""
    group, k = np.divmod(np.arange(cols.count * parts.count * ks.count), ks.count)
    one, two = np.divmod(group, parts.count if cols_first else cols.count)
    col, part = (one, two) if cols_first else (two, one)
    return col, part, k, np.diff(one, prepend=0) > 0


def _results(product: FoldGemm, cols: _Cut, parts: _Cut, col: Ints, part: Ints, cols_first: bool) -> Ints:
    """Bits of each tile's results; those of all tiles add up to the whole."""
    width, length = cols.size[col], parts.size[part]
    columns, flow = int(cols.size.sum()), int(parts.size.sum())
    by_col, by_part = cols.at[col] * flow + width * parts.at[part], parts.at[part] * columns + length * cols.at[col]
    return _share(product.output_bits, columns * flow, by_col if cols_first else by_part, width * length)


def _share(total: int, whole: int, before: Ints, size: Ints) -> Ints:
    """Bits of ``size`` elements behind ``before`` others, of ``whole`` that take ``total`` bits."""
    common = gcd(total, whole)
    bits, elements = total // common, whole // common
    if bits * whole >= 1 << 62:
        raise SpecError(f"{total} bits in {whole} elements are too odd to be shared out", key="product")
    found: Ints = bits * (before + size) // elements - bits * before // elements
    return found


def _piece(array: PeArray, rows: Ints, column: int, room: int, held: int) -> int:
    """Steps of the stream loaded at once: as many as the array has rows, fewer where half a buffer has no room."""
    if held != STREAMED:
        return array.rows
    step = int((ceil_div(rows[:, column], rows[:, STREAM])).max())
    _require(step, room, "step of the stream")
    return min(array.rows, room // step)


def _require(bits: int, room: int, what: str) -> None:
    if bits > room:
        raise SpecError(f"half a buffer holds {room // 8} bytes; a {what} has {-(-bits // 8)}", key="buffers")
