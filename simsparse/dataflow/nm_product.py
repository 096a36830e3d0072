# SPDX-License-Identifier: Apache-2.0
"""One product on an N:M systolic array with its buffers and DRAM, by the fastest of its schedules."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.nm_array import NmArray, Parts, folded_intervals, output_stationary, weight_stationary
from simsparse.dataflow.sparse_engine import PeConfig, Work, double_buffered

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LoopOrder:
    """One way to run a product: what stays in the PEs, ``weights`` or outputs, and whether zeros are skipped."""

    weights: bool
    sparse: bool

    def __str__(self) -> str:
        return ("ws" if self.weights else "os") + ("" if self.sparse else " dense")


SCHEDULES = tuple(LoopOrder(weights, sparse) for sparse in (True, False) for weights in (False, True))


@dataclass(frozen=True)
class NMGemm:
    """``y[m, n] = x[m, k] @ w[n, k].T`` as the array sees it.

    ``fullest`` (blocks, groups) of weights in the fullest PE, one row when all blocks are alike; ``kept`` weights of
    each block, each stored with ``index_bits``; ``macs`` effectual. ``input_bytes`` are those of all inputs, fewer
    than m * k of a convolution's. ``sort_rate``: weights a cycle of the sorter that prunes them whenever they come
    in; 0 when they come pruned.
    """

    m: int
    n: int
    k: int
    fullest: Ints
    kept: Ints
    macs: int
    input_bytes: float
    index_bits: int
    sort_rate: float = 0.0

    def stored_bytes(self, machine: PeConfig, schedule: LoopOrder) -> Floats:
        """DRAM bytes of each block of weights, which are stored with indexes where some are left out."""
        if schedule.sparse and not self.sort_rate and self.kept.sum() < self.n * self.k:
            return np.asarray(self.kept * (machine.weight_bits + self.index_bits) / 8, np.float64)
        return self.outputs(machine.cols) * (self.k * machine.weight_bits / 8)

    def outputs(self, cols: int) -> Floats:
        """Outputs of each block of up to ``cols``."""
        edges = np.minimum(np.arange(ceil_div(self.n, cols) + 1) * cols, self.n)
        return np.asarray(np.diff(edges), np.float64)


@dataclass(frozen=True)
class FoldGrid:
    """Steps (tiles of outputs, stretches of tokens): cycles of the array, bytes in and out, weights to sort."""

    compute: Ints
    read: Floats
    write: Floats
    sorted: Floats
    tiles_outer: bool

    def flat(self, values: Floats | Ints) -> NDArray[np.float64]:
        """``values`` in the order in which the steps run."""
        return np.asarray(values.ravel("C" if self.tiles_outer else "F"), np.float64)


def fastest_schedule(
    product: NMGemm, array: NmArray, machine: PeConfig, schedules: tuple[LoopOrder, ...] = SCHEDULES
) -> tuple[Work, LoopOrder]:
    """Work by the fastest of ``schedules``, the first of equals: a scheduler that knows all shapes ahead."""
    works = [(run_product(product, array, machine, each), each) for each in schedules]
    return min(works, key=lambda found: found[0].cycles)


def run_product(product: NMGemm, array: NmArray, machine: PeConfig, schedule: LoopOrder) -> Work:
    """Walk the tiles of a product: one computes while the next one's operands come and earlier results leave.

    Tokens come in stretches that fill half of the input buffer (and whose partial sums fit, weight-stationary), outputs
    in tiles of blocks whose weights fill half of the weight buffer. Either loop may be outer; that with fewer bytes is.
    """
    tokens = _tokens(product, array, machine, schedule)
    rest = product.m - (ceil_div(product.m, tokens) - 1) * tokens
    parts = tuple(_parts(product, array, schedule, count) for count in (tokens, rest))
    grid = _grid(product, array, machine, schedule, parts)
    compute = np.concatenate([grid.flat(grid.compute).astype(np.int64), [0, 0]])
    moved = np.concatenate([grid.flat(grid.read), [0, 0]]) + np.concatenate([[0, 0], grid.flat(grid.write)])
    load = np.ceil(moved / machine.dram_bytes).astype(np.int64)
    _, dram = double_buffered(load, compute)
    sorting = np.concatenate([grid.flat(grid.sorted), [0, 0]]) / product.sort_rate if product.sort_rate else 0 * moved
    total, waiting = double_buffered(np.maximum(load, np.ceil(sorting).astype(np.int64)), compute)
    causes = _causes(product, machine, parts, len(grid.compute[0]))
    causes |= {"dram": dram, "generation": waiting - dram}
    read, write = int(np.ceil(grid.read.sum())), int(np.ceil(grid.write.sum()))
    sums = product.m * product.n * machine.output_bits // 8
    return Work(total, product.macs, causes, read, write, read + write + sums, {"steps": compute.size - 2})


def _tokens(product: NMGemm, array: NmArray, machine: PeConfig, schedule: LoopOrder) -> int:
    """Tokens of one stretch."""
    fits = int(machine.buffers.input // 2 * product.m / max(1.0, product.input_bytes))
    if schedule.weights:
        sums = machine.buffers.partial_sums() // min(product.n, array.cols)
        return int(np.clip(min(fits, sums), 1, product.m))
    depth = array.rows * array.interleave
    return min(product.m, max(depth, fits // depth * depth))


def _parts(product: NMGemm, array: NmArray, schedule: LoopOrder, tokens: int) -> Parts:
    fullest = product.fullest if schedule.sparse else np.ones((1, product.k), np.int64)
    if schedule.weights:
        return weight_stationary(folded_intervals(fullest, array.rows, array.macs), tokens, array)
    return output_stationary(fullest, tokens, array)


def _grid(
    product: NMGemm, array: NmArray, machine: PeConfig, schedule: LoopOrder, parts: tuple[Parts, ...]
) -> FoldGrid:  # fmt: skip
    blocks = ceil_div(product.n, array.cols)
    stored = product.stored_bytes(machine, schedule)
    starts = _tile_starts(stored, machine.buffers.weight // 2)
    full, last = (np.add.reduceat(np.broadcast_to(each.total, blocks), starts) for each in parts)
    tokens = _tokens(product, array, machine, schedule)
    stretches = ceil_div(product.m, tokens)
    compute = np.concatenate([np.repeat(full[:, None], stretches - 1, axis=1), last[:, None]], axis=1)
    counts = np.full(stretches, tokens, np.float64)
    counts[-1] = product.m - (stretches - 1) * tokens
    outputs = np.add.reduceat(product.outputs(machine.cols), starts)
    write = outputs[:, None] * counts * (machine.output_bits / 8)
    weights = np.add.reduceat(stored, starts)
    tiles_in, stretches_in, tiles_outer = _loads(product, machine, weights, counts)
    read = weights[:, None] * tiles_in + (counts * product.input_bytes / product.m) * stretches_in
    pruned = outputs[:, None] * (product.k * float(schedule.sparse)) * tiles_in
    return FoldGrid(compute, read, write, pruned, tiles_outer)


def _tile_starts(stored: Floats, room: int) -> Ints:
    """First block of each tile: as many blocks as fit into ``room``, at least one."""
    starts, held = [0], 0.0
    for block, size in enumerate(stored.tolist()):
        if held and held + size > room:
            starts.append(block)
            held = 0.0
        held += size
    return np.array(starts, np.int64)


def _loads(
    product: NMGemm, machine: PeConfig, weights: Floats, counts: Floats
) -> tuple[Floats, Floats, bool]:  # fmt: skip
    """How often each step (tile, stretch) loads its weights and its inputs, and whether tiles are the outer loop."""
    shape = (weights.size, counts.size)
    first_stretch, first_tile, every = np.zeros(shape), np.zeros(shape), np.ones(shape)
    first_stretch[:, 0], first_tile[0, :] = 1, 1
    weight_room, input_room = machine.buffers.weight // 2, machine.buffers.input // 2
    longest = counts.max() * product.input_bytes / product.m
    outer = (
        first_stretch if weights.max() <= weight_room else every,
        first_tile if product.input_bytes <= input_room else every,
    )
    inner = (
        first_stretch if weights.size == 1 and weights[0] <= weight_room else every,
        first_tile if longest <= input_room else every,
    )
    sizes = weights[:, None], counts * product.input_bytes / product.m
    moved = [float((sizes[0] * w + sizes[1] * x).sum()) for w, x in (outer, inner)]
    return (*outer, True) if moved[0] <= moved[1] else (*inner, False)


def _causes(product: NMGemm, machine: PeConfig, parts: tuple[Parts, ...], stretches: int) -> dict[str, int]:
    """Cycles of all steps by cause; what is busy is split into effectual work and idle slots."""
    blocks = ceil_div(product.n, machine.cols)
    sums: dict[str, int] = {}
    for times, part in zip((stretches - 1, 1), parts, strict=True):
        for each in fields(part):
            values = np.broadcast_to(getattr(part, each.name), blocks)
            sums[each.name] = sums.get(each.name, 0) + times * int(values.sum())
    busy, even = sums.pop("busy"), ceil_div(product.macs, machine.peak_macs)
    return {"compute": even, "idle": busy - even, **sums}
