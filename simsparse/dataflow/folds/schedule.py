# SPDX-License-Identifier: Apache-2.0
"""Level 2 of a systolic array with its scratchpads and DRAM interface: the schedule of every fold.

A product is worked through fold by fold, as its dataflow says (ws, os, is). Operands come over a DRAM interface of so
many bytes a cycle into double-buffered scratchpads, ahead of their use as far as there is room; the array waits for
what is not there yet. Results go back tile by tile. Without waiting, cycles are those of the dataflow's closed form.

What stays on chip is not read again: an operand of which all, or all that one turn of the outer loop needs, fits into
half of its buffer. Everything else is read again whenever it is used. Partial sums never leave the chip: where the
output buffer can't hold those of a whole stream, the stream is cut into chunks and the stationary operand is loaded
again for each.

Left out: DRAM latency and row buffers (simsparse.dram has them), bank conflicts in the scratchpads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.base import CUTS, DATAFLOWS, Gemms, Ints, PeArray
from simsparse.dataflow.folds.dma import INPUT, WEIGHT, Interface
from simsparse.dataflow.traffic import Buffers
from simsparse.errors import SpecError

Floats = NDArray[np.float64]
Outer = Literal["weights", "inputs", "fitted", "blocked"]
NAMES = ("input", "weight", "output")


@dataclass(frozen=True)
class FoldGemm:
    """``y[m, n] = x[m, k] @ w[n, k].T`` and the bits of each whole operand as DRAM holds it, metadata included.

    A weight row keeps ``keep`` of every ``group`` elements along k.
    """

    m: int
    n: int
    k: int
    input_bits: int
    weight_bits: int
    output_bits: int
    keep: int = 1
    group: int = 1

    def __post_init__(self) -> None:
        sizes = (self.m, self.n, self.k, self.input_bits, self.weight_bits, self.output_bits)
        if min(sizes) < 1 or not 1 <= self.keep <= self.group:
            raise SpecError(f"{self}; expected positive sizes and keep <= group", key="product")

    @classmethod
    def dense(cls, m: int, n: int, k: int, bits: int) -> FoldGemm:
        """Operands and results of ``bits`` an element."""
        return cls(m, n, k, m * k * bits, n * k * bits, m * n * bits)

    @property
    def gemms(self) -> Gemms:
        """The shape alone."""
        return Gemms.of(self.m, self.n, self.k, self.keep, self.group)


@dataclass(frozen=True)
class Scratchpad:
    """``buffers`` in bytes, half of each being refilled, and the DRAM ``interface`` in bits a cycle.

    ``prefill``: the array starts only once half of each read buffer is full, or all of its operand is there.
    """

    buffers: Buffers
    interface: Interface
    prefill: bool = False


@dataclass(frozen=True)
class FoldSchedule:
    """A product's schedule. Cycles: ``prefetch`` before the array starts, ``compute``, ``stall`` in between, and
    ``drain`` after it ends, until the last result is written.

    ``folds``: one array each of ``start`` (of the stationary load), ``end`` (past the last cycle), ``stall``, and of
    ``input``, ``weight``, ``output`` bits moved. ``sram``: elements that cross the array's edge, by buffer and
    direction. ``dram``: bits by operand. ``traffic``: (3, bins) bits a cycle of input, weight, output, over bins of
    ``bin_cycles``.
    """

    prefetch: int
    compute: int
    stall: int
    drain: int
    macs: int
    peak_macs: int
    folds: Mapping[str, Ints]
    sram: Mapping[str, int]
    dram: Mapping[str, int]
    traffic: Floats = field(repr=False)
    bin_cycles: int = 1

    @property
    def cycles(self) -> int:
        """From the first bit read to the last bit written."""
        return self.prefetch + self.compute + self.stall + self.drain

    @property
    def utilization(self) -> float:
        """Share of the multiply-accumulate slots of all cycles that did a useful one."""
        return self.macs / (self.cycles * self.peak_macs)


def schedule(
    dataflow: str, product: FoldGemm, array: PeArray, scratchpad: Scratchpad, outer: Outer | None = None, cut: int = 1
) -> FoldSchedule:
    """The folds of ``product``, run one after another.

    ``outer``: the operand of the outer loop, each part of which is used up before the next one;
    ``fitted``: the one that streams, in chunks that half of its buffer holds (ws and is); ``blocked``: pieces of k
    stream past as many columns' tiles as the output buffer has room for, in streams ``cut`` times shorter than they
    could be (ws and is). Without it all of these orders that the buffers allow, blocked ones with the CUTS of
    Dataflow.cuts, are run until one comes within a hundredth of the closed form's cycles and moves every bit once. Of
    those within a hundredth of the fewest cycles, or of the closed form's, the one with the fewest DRAM bits is taken.

    Raises SpecError for another dataflow than ws, os and is, and for buffers too small for one piece of an operand.
    """
    if outer is not None:
        return _in_order(dataflow, product, array, scratchpad, outer, cut)
    orders: list[tuple[Outer, int]] = [("weights", 1), ("inputs", 1)]
    if dataflow != "os":
        orders += [("fitted", 1), *(("blocked", each) for each in (1, *CUTS))]
    least = int(DATAFLOWS.get(dataflow).cycles(product.gemms, array)[()])
    once = product.input_bits + product.weight_bits + product.output_bits
    found, faults = [], []
    for order in orders:
        try:
            found.append(_in_order(dataflow, product, array, scratchpad, *order))
        except SpecError as error:
            faults.append(error)
            continue
        if found[-1].cycles <= 1.01 * least and _dram_bits(found[-1]) <= once:
            break
    if not found:
        raise faults[0]
    enough = 1.01 * max(least, min(one.cycles for one in found))
    return min((one for one in found if one.cycles <= enough), key=lambda one: (_dram_bits(one), one.cycles))


def _dram_bits(run: FoldSchedule) -> int:
    return sum(run.dram.values())


def _in_order(
    dataflow: str, product: FoldGemm, array: PeArray, scratchpad: Scratchpad, outer: Outer, cut: int
) -> FoldSchedule:
    from simsparse.dataflow.folds.dma import BINS, BIT_TICKS, MOVED, dma_state
    from simsparse.dataflow.folds.fold_core import END, STALL, START, run_plan
    from simsparse.dataflow.folds.fold_plan import plan_folds

    plan = plan_folds(dataflow, product, array, scratchpad.buffers, outer, cut)
    sizes = scratchpad.buffers
    ticks, state = dma_state(scratchpad.interface, (8 * sizes.input, 8 * sizes.weight, 8 * sizes.output))
    table = np.zeros((len(plan.rows), 3), np.int64)
    first = _prefill(product, scratchpad) if scratchpad.prefill else 0
    shape = (plan.piece, plan.interval, plan.fill, array.overlap, first)
    end, waited, written = run_plan(state, ticks, plan.rows, plan.operands, plan.held, shape, table)
    start, end = int(table[0, START]), int(end) + array.once_fill
    stall = int(waited) - (start - first)
    ports, _, _, bins, width = state
    traffic = bins / ports[:, BIT_TICKS, None] / (int(width[0]) // ticks)
    used = -(-max(end * ticks, int(written)) // int(width[0]))
    folds = {"start": table[:, START], "end": table[:, END], "stall": table[:, STALL], **plan.moved()}
    folds["stall"][0] -= start - first
    return FoldSchedule(
        start, end - start - stall, stall, max(0, -(-int(written) // ticks) - end), int(product.gemms.macs),
        array.pes * array.macs, folds, plan.sram, {name: int(ports[i, MOVED]) for i, name in enumerate(NAMES)},
        traffic[:, : min(BINS, used)], int(width[0]) // ticks,
    )  # fmt: skip


def _prefill(product: FoldGemm, scratchpad: Scratchpad) -> int:
    """Cycles until half of each read buffer, or all of its operand, is there."""
    ticks, bit_ticks, channels = scratchpad.interface.ticks()
    busy = [0, 0, 0]
    for operand, bits, size in (
        (INPUT, product.input_bits, scratchpad.buffers.input), (WEIGHT, product.weight_bits, scratchpad.buffers.weight)
    ):  # fmt: skip
        busy[channels[operand]] += min(bits, 4 * size) * bit_ticks[operand]
    return -(-max(busy) // ticks)
