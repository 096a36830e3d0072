# SPDX-License-Identifier: Apache-2.0
"""Sparse tensor cores: kept weights of N:M groups pick their inputs, which a shared memory brings at a limited rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.expected import most_kept, products
from simsparse.dataflow.nm_array import fullest
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, double_buffered, same_k
from simsparse.dataflow.typical import draws_of, mean_work, typical_part
from simsparse.sparsity import Sparsity
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs


@dataclass(frozen=True)
class Mode:
    """``keep`` of ``group`` weights are stored with ``index_bits`` each; 1 of 1 is dense."""

    keep: int
    group: int
    index_bits: int


class SparseTensorCore(SparseEngine):
    """``rows`` outputs x ``cols`` kept weights of each work at one token a cycle.

    Weights of a pass (a window of cols / keep groups of k) stay in the PEs for ``tokens`` tokens; every token brings
    the whole window, kept or not, over the shared memory's ``sram_bytes`` a cycle: the wider M, the more. With
    ``compress_inputs`` a bitmap and the non-zeros come instead; the PEs still spend a cycle on each token. Groups of
    M = 4, 6, .. up to ``widest`` of which all weights of the matrix keep at most ``keep``, or dense, whichever is
    fastest; so one group too full makes the matrix dense, and a denser operand is never faster. Source: Sparseloop's
    artifact, fig15. Left out: instruction issue, bank conflicts of the shared memory.
    """

    name: ClassVar[str] = "sparse_tensor_core"
    volume: ClassVar[int] = 2**38
    widens: ClassVar[bool] = True
    settings: ClassVar[dict[str, str]] = {
        "keep": "weights kept of a group (N)",
        "widest": "largest group (M)",
        "tokens": "tokens whose sums stay in the registers",
        "sram_bytes": "bytes a cycle from the shared memory",
        "compress_inputs": "1: inputs cross as bitmap and non-zeros; 0: as they are",
    }

    tolerance: ClassVar[float] = 0.15

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, k = same_k(weights, inputs)
        works: list[Work] = []
        for mode in modes(machine):
            if mode.group > 1 and fullest(weights, n, mode.group).max(initial=0) > mode.keep:
                continue
            window, block = window_of(mode, machine), machine.whole("tokens")
            held = _held(inputs.pointers, inputs.columns, block, window, -(-m // block), -(-k // window))
            works.append(_work((m, n, k), held, mode, effectual_macs(weights, inputs), inputs.nnz, machine))
        return min(works, key=lambda work: work.cycles)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        kept_x = inputs.nonzeros(m, k)
        macs, known = products(shape, weights, inputs), {}
        for mode in modes(machine):
            tokens = np.diff(_edges(m, machine.whole("tokens")))
            columns = np.diff(_edges(k, window_of(mode, machine)))
            held = np.round(tokens[:, None] * columns * (kept_x / (m * k))).astype(np.int64)
            known[mode] = _work(shape, held, mode, macs, kept_x, machine)
        works: list[Work] = []
        for draw in draws_of(works, n, k):
            fitting = [known[mode] for mode in known if _fits(mode, weights, n, k, draw)]
            works.append(min(fitting, key=lambda work: work.cycles))
        return mean_work(works)


def _fits(mode: Mode, weights: Sparsity, n: int, k: int, draw: int) -> bool:
    """Whether no group keeps more than the mode has room for: of any matrix of the pattern, or of a part of a draw."""
    if mode.group == 1 or weights.is_dense:
        return mode.group == 1
    most = most_kept(weights, mode.group)
    if most is not None and most <= mode.keep:
        return True
    part = typical_part(weights, n, k, draw)
    return int(fullest(part, part.shape[0], mode.group).max(initial=0)) <= mode.keep


def modes(machine: PeConfig) -> list[Mode]:
    """What the machine can run: dense, and its N:M."""
    keep, widest = machine.whole("keep"), machine.whole("widest")
    return [Mode(1, 1, 0), *(Mode(keep, group, (group - 1).bit_length()) for group in range(2 * keep, widest + 1, 2))]


def window_of(mode: Mode, machine: PeConfig) -> int:
    """Columns of k of one pass."""
    return machine.cols // mode.keep * mode.group


def _edges(size: int, step: int) -> Ints:
    return np.append(np.arange(0, size, step), size)


def _work(
    shape: tuple[int, int, int], held: Ints, mode: Mode, macs: int, kept_inputs: int, machine: PeConfig
) -> Work:  # fmt: skip
    """Passes over (blocks of outputs, blocks of tokens, windows of k), windows innermost.

    ``held`` are the inputs' non-zeros of each (block of tokens, window). Each pass computes its tokens while the next
    one's weights and inputs come from the shared memory.
    """
    m, n, k = shape
    bits, packed = machine.value_bits, bool(machine.settings["compress_inputs"])
    outputs, tokens = np.diff(_edges(n, machine.rows)), np.diff(_edges(m, machine.whole("tokens")))
    columns = np.diff(_edges(k, window_of(mode, machine)))
    slots = ceil_div(columns, mode.group) * mode.keep
    weight_bits = outputs[:, None, None] * slots * (machine.weight_bits + mode.index_bits)
    input_bits = held * bits + tokens[:, None] * columns if packed else tokens[:, None] * columns * bits
    moved = np.ceil((weight_bits + input_bits) / 8)
    load = np.ceil(moved / machine.settings["sram_bytes"]).astype(np.int64).ravel()
    depth = ceil_div(slots, machine.cols * machine.macs)
    compute = np.broadcast_to(tokens[:, None] * depth, moved.shape).astype(np.int64).ravel()
    total, waiting = double_buffered(load, compute)
    stored = int(outputs.sum() * slots.sum()) * (machine.weight_bits + mode.index_bits)
    read, write = _dram(stored, m * k + kept_inputs * bits if packed else m * k * bits, m * n, machine)
    dram = max(0, cycles_of(read + write, machine.dram_bytes) - total)
    even = ceil_div(macs, machine.peak_macs)
    causes = {"compute": even, "idle": int(compute.sum()) - even, "sram": waiting, "dram": dram}
    return Work(total + dram, macs, causes, read, write, int(moved.sum()) + read + write, {"passes": compute.size})


def _dram(weight_bits: int, input_bits: int, outputs: int, machine: PeConfig) -> tuple[int, int]:
    """(read, written) bytes: operands once if one of them fits, else the inputs for every load of the weights."""
    weights, inputs = ceil_div(weight_bits, 8), ceil_div(input_bits, 8)
    if weights > machine.buffers.weight and inputs > machine.buffers.input:
        inputs *= ceil_div(weights, machine.buffers.weight)
    return weights + inputs, ceil_div(outputs * machine.output_bits, 8)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _held(pointers: Ints, columns: Columns, block: int, window: int, blocks: int, windows: int) -> Ints:
    """Non-zeros of each (block of rows, window of columns)."""
    found = np.zeros((blocks, windows), np.int64)
    for row in range(pointers.size - 1):
        for at in range(pointers[row], pointers[row + 1]):
            found[row // block, columns[at] // window] += 1
    return found


ENGINES.register("sparse_tensor_core")(SparseTensorCore())
