# SPDX-License-Identifier: Apache-2.0
"""Block-sparse products on matrix instructions: tiles of outputs whose steps are the blocks that are not empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.blocks import blocked
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.dataflow.tile_queue import last_end
from simsparse.dataflow.traffic import Floats
from simsparse.dataflow.typical import DRAWS, SAMPLE, draws_of, mean_work, typical_part
from simsparse.errors import SpecError
from simsparse.sparsity import Sparsity
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs

POINTER = 4
"""Bytes of the start of a row of blocks."""


class BlockMma(SparseEngine):
    """``rows`` SMs of ``cols`` MMA units with ``macs`` multiply-accumulates a cycle each; weights in blocked CSR.

    A tile is ``tile_m`` rows of the inputs times one row of blocks of the weights, made by ``team`` MMA units of one
    SM. For each k where neither the weights' block nor the inputs' (``tile_m`` x ``block_k``) is empty it takes a
    step: whole blocks in whole instructions, while block, inputs and index of a step of this tile (``stages`` - 1
    ahead) or of another arrive at the team's share of ``feed``. Tiles go in order, those of one tile of inputs after
    another or (``inputs_inside``) those of one row of blocks, to the team that has room first; each team holds
    ``resident`` of them, so that others compute while one waits ``fill`` cycles for operands. Load imbalance and the
    last, part-filled wave are those of that queue.

    Operands cross the DRAM into the shared cache in the order of the tiles, blocks stored whole with an index each:
    the inner operand once for all tiles in flight, and once in all where its buffer holds it, tile by tile whole
    before their first step. An input without an empty block is stored dense. A whole MoE layer runs as products with
    a sparse result (tokens times weights of their experts, tokens of each padded to ``tile_m``) and one with sparse
    inputs.

    Source: Okanovic et al., SMaT, SC 2024 (blocks of an MMA instruction); Gale et al., MegaBlocks, MLSys 2023 (blocks
    and tiles of 128, SDD and DSD products); tiles' schedule derived. Left out: clock throttling, conflicts in shared
    memory, hits in the first-level cache, gathering of tokens.
    """

    name: ClassVar[str] = "block_mma"
    settings: ClassVar[dict[str, str]] = {
        "block_n": "rows of a block of the weights, outputs of a tile",
        "block_k": "columns of a block of the weights",
        "tile_m": "rows of the inputs in a tile",
        "team": "MMA units that make a tile together",
        "resident": "tiles that a team holds at a time",
        "mma_m": "rows of the inputs in an instruction",
        "mma_n": "outputs in an instruction",
        "mma_k": "reduction indexes in an instruction",
        "stages": "steps of a tile whose operands are held or under way; 1: each step waits for its own",
        "fill": "cycles from a request for operands to their first byte",
        "feed": "bytes a cycle from the shared cache to an SM",
        "index_bits": "bits of the index of a block",
        "inputs_inside": "1: tiles of one row of blocks follow one another; 0: those of one tile of the inputs",
    }
    tolerance: ClassVar[float] = 0.15

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        shape, step = same_k(weights, inputs), Step.of(machine)
        w, x = blocked(weights, step.block_n, step.block_k), blocked(inputs, step.tile_m, step.block_k)
        return self.run_blocks(w, x, shape, effectual_macs(weights, inputs), machine)

    def run_blocks(
        self, weights: NonZeros, inputs: NonZeros, shape: tuple[int, int, int], macs: int, machine: PeConfig
    ) -> Work:
        """As run(), of operands that are given as the patterns of their blocks; ``shape`` (m, n, k) in elements."""
        (m, n, k), step = shape, Step.of(machine)
        steps = _common(inputs.pointers, inputs.columns, weights.pointers, weights.columns, weights.shape[1])
        w_bytes = weights.row_counts.astype(np.float64) * step.weight_bytes + POINTER
        x_bytes = _input_bytes(inputs.row_counts.astype(np.float64), inputs.shape, m, k, step)
        order = steps.T if step.inputs_inside else steps
        phase = _phase(order.reshape(-1), _reads(x_bytes, w_bytes, machine, step), m * n, machine, step)
        return _finish([phase], macs, machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        macs = products(shape, weights, inputs)
        if max(m, n) * k <= 8 * SAMPLE:
            works: list[Work] = []
            for draw in draws_of(works, max(m, n), k):
                blocks = _blocks(weights, inputs, shape, machine, draw)
                works.append(self.run_blocks(*blocks, shape, macs, machine))
            return mean_work(works)
        step = Step.of(machine)
        tall, wide, deep = -(-m // step.tile_m), -(-n // step.block_n), -(-k // step.block_k)
        share_w = _occupied(weights, min(n, step.block_n), min(k, step.block_k))
        share_x = _occupied(inputs, min(m, step.tile_m), min(k, step.block_k))
        w_bytes: Floats = np.full(wide, deep * share_w * step.weight_bytes + POINTER)
        counts = np.full(tall, deep * share_x)
        x_bytes = _input_bytes(counts, (tall, deep), m, k, step)
        reads = _reads(x_bytes, w_bytes, machine, step)
        mean = deep * share_w * share_x
        spread = (mean * (1 - share_w * share_x)) ** 0.5
        return _finish([_mean_phase(tall * wide, mean, spread, reads, m * n, machine, step)], macs, machine)

    def experts(self, counts: Sequence[int], d_model: int, d_ff: int, gated: bool, machine: PeConfig) -> Work | None:
        step, hit = Step.of(machine), [count for count in counts if count]
        up = _expert_phase(hit, d_ff, d_model, machine, step)
        down = _expert_phase(hit, d_model, d_ff, machine, step)
        macs = sum(hit) * d_model * d_ff * (3 if gated else 2)
        return _finish([up] * (2 if gated else 1) + [down], macs, machine)


def _blocks(
    weights: Sparsity, inputs: Sparsity, shape: tuple[int, int, int], machine: PeConfig, draw: int
) -> tuple[NonZeros, NonZeros]:
    """Blocks of drawn operands, small enough to be drawn whole."""
    (m, n, k), step = shape, Step.of(machine)
    w, x = (typical_part(one, rows, k, seed, 0, 8 * SAMPLE)
            for one, rows, seed in ((weights, n, draw), (inputs, m, DRAWS + draw)))  # fmt: skip
    return blocked(w, step.block_n, step.block_k), blocked(x, step.tile_m, step.block_k)


@dataclass(frozen=True)
class Step:
    """One block times one tile of the inputs: ``compute`` cycles of the team, bytes it loads, and the tile's sizes."""

    tile_m: int
    block_n: int
    block_k: int
    compute: int
    load: int
    bare_load: int
    drain: int
    teams: int
    resident: int
    stages: int
    fill: int
    value_bytes: float
    index_bytes: float
    inputs_inside: bool

    @classmethod
    def of(cls, machine: PeConfig) -> Step:
        """What the part's settings make of it."""
        tile_m, block_n, block_k = (machine.whole(name) for name in ("tile_m", "block_n", "block_k"))
        edges = [machine.whole(name) for name in ("mma_m", "mma_n", "mma_k")]
        team, value, index = machine.whole("team"), machine.value_bits / 8, machine.settings["index_bits"] / 8
        if team > machine.cols:
            raise SpecError(f"{team} warps; expected at most {machine.cols}, one a unit of a column", key="engine.team")
        instructions = int(
            np.prod([-(-size // edge) for size, edge in zip((tile_m, block_n, block_k), edges, strict=True)])
        )
        feed = machine.settings["feed"] * team / machine.cols
        operands = (block_n + tile_m) * block_k * value
        return cls(
            tile_m, block_n, block_k, -(-instructions // team) * -(-prod(edges) // machine.macs),
            ceil((operands + index) / feed), ceil(operands / feed),
            ceil(tile_m * block_n * machine.output_bits / 8 / feed),
            machine.rows * (machine.cols // team), machine.whole("resident"), machine.whole("stages"),
            int(machine.settings["fill"]), value, index, bool(machine.settings["inputs_inside"]),
        )  # fmt: skip

    @property
    def cycles(self) -> int:
        """Cycles of a step behind another."""
        return max(self.compute, self.load)

    @property
    def delay(self) -> int:
        """Cycles from a request for operands until a tile's steps can follow one another."""
        return self.fill + min(self.compute, self.load)

    @property
    def wait(self) -> int:
        """Cycles between steps of a tile: what loading ``stages`` - 1 steps ahead leaves of the delay."""
        return max(0, self.delay - (self.stages - 1) * self.cycles)

    @property
    def weight_bytes(self) -> float:
        """Bytes of a stored block of the weights."""
        return self.block_n * self.block_k * self.value_bytes + self.index_bytes

    @property
    def input_bytes(self) -> float:
        """Bytes of a stored block of the inputs."""
        return self.tile_m * self.block_k * self.value_bytes + self.index_bytes


@dataclass(frozen=True)
class Phase:
    """One launch of tiles: their steps, when the last ends (waiting for DRAM, not for it, for nothing), traffic."""

    tiles: int
    steps: float
    end: int
    alone: int
    unfilled: int
    read: int
    write: int


def _phase(steps: Ints, reads: Ints, outputs: int, machine: PeConfig, step: Step) -> Phase:
    arrive = np.ceil(np.cumsum(reads) / machine.dram_bytes).astype(np.int64)
    at_once, size = np.zeros_like(arrive), (step.teams, step.resident, step.cycles)
    alone = last_end(steps, at_once, *size, step.delay, step.wait, step.drain)
    read, write = int(reads.sum()), -(-outputs * machine.output_bits // 8)
    fed = last_end(steps, arrive, *size, step.delay, step.wait, step.drain)
    end = max(fed, alone, cycles_of(read + write, machine.dram_bytes))
    unfilled = last_end(steps, at_once, *size, 0, 0, step.drain)
    return Phase(steps.size, int(steps.sum()), end, alone, min(unfilled, alone), read, write)


def _mean_phase(
    tiles: int, mean: float, spread: float, reads: Ints, outputs: int, machine: PeConfig, step: Step
) -> Phase:
    """Closed form: full waves of mean tiles, and a last one that waits for its longest of Gaussian lengths.

    What arrives late delays its own wave and those behind.
    """
    waves, rounds = -(-tiles // step.teams), -(-tiles // (step.teams * step.resident))
    longest = mean + spread * (2 * np.log(max(1, min(tiles, step.teams)))) ** 0.5 if spread else mean
    busy, last = mean * step.cycles + step.drain, longest * step.cycles + step.drain
    waits = step.delay + (mean - 1) * step.wait if mean else 0.0
    unfilled = max(tiles / step.teams * busy, (waves - 1) * busy + last)
    alone = max(unfilled + (step.delay if mean else 0), rounds * (busy + waits) + last - busy)
    read, write = int(reads.sum()), -(-outputs * machine.output_bits // 8)
    wave = np.arange(tiles) // step.teams * step.teams
    late = np.cumsum(reads) / machine.dram_bytes + alone * (1 - wave / tiles)
    end = max(alone, float(late.max()), cycles_of(read + write, machine.dram_bytes))
    return Phase(tiles, tiles * mean, round(end), round(alone), min(round(unfilled), round(alone)), read, write)


def _expert_phase(hit: Sequence[int], n: int, k: int, machine: PeConfig, step: Step) -> Phase:
    """Every expert's tokens times its (n, k) weights."""
    wide, deep = -(-n // step.block_n), -(-k // step.block_k)
    tall = [-(-count // step.tile_m) for count in hit]
    bare = step.block_n * deep * step.block_k * step.value_bytes
    reads = [_reads(np.full(rows, deep * step.input_bytes), np.full(wide, bare), machine, step) for rows in tall]
    steps = np.full(sum(tall) * wide, deep, np.int64)
    return _phase(steps, np.concatenate([np.zeros(0, np.int64), *reads]), sum(hit) * n, machine, step)


def _finish(phases: Sequence[Phase], macs: int, machine: PeConfig) -> Work:
    step = Step.of(machine)
    steps, tiles = sum(phase.steps for phase in phases), sum(phase.tiles for phase in phases)
    bare = max(step.compute, step.bare_load)
    shares = [macs / machine.peak_macs]
    for busy in (steps * step.compute, steps * bare, steps * step.cycles, steps * step.cycles + tiles * step.drain):
        shares.append(max(shares[-1], busy / step.teams))
    ends = [sum(getattr(phase, name) for phase in phases) for name in ("unfilled", "alone", "end")]
    marks = [ceil(share) for share in shares]
    for end in ends:
        marks.append(max(marks[-1], end))
    names = ("compute", "padding", "feed", "metadata", "drain", "imbalance", "latency", "dram")
    causes = dict(zip(names, np.diff([0, *marks]).tolist(), strict=True))
    read, write = sum(phase.read for phase in phases), sum(phase.write for phase in phases)
    moved = steps * ((step.block_n + step.tile_m) * step.block_k * step.value_bytes + step.index_bytes)
    return Work(
        marks[-1], macs, causes, read, write, read + write + round(moved), {"blocks": round(steps), "tiles": tiles}
    )


def _input_bytes(blocks: Floats, grid: tuple[int, int], m: int, k: int, step: Step) -> Floats:
    """Bytes of each tile of the inputs, of that many blocks: dense where none is empty."""
    if blocks.sum() > grid[0] * grid[1] - 0.5:
        rows = np.minimum(step.tile_m, m - np.arange(grid[0]) * step.tile_m)
        return rows * k * step.value_bytes
    return blocks * step.input_bytes + POINTER


def _reads(x_bytes: Floats, w_bytes: Floats, machine: PeConfig, step: Step) -> Ints:
    """Bytes read before each tile, in the order of the tiles."""
    pair = ((x_bytes, machine.buffers.input), (w_bytes, machine.buffers.weight))
    (outer, outer_room), (inner, inner_room) = pair[::-1] if step.inputs_inside else pair
    flight = max(1, step.teams * step.resident)
    read = np.zeros((outer.size, inner.size))
    again = max(1, flight // inner.size) if inner.sum() > inner_room else outer.size
    read[::again] += inner
    once = outer <= outer_room
    read[once, 0] += outer[once]
    read[np.ix_(~once, np.arange(0, inner.size, flight))] += outer[~once, None]
    return np.ceil(read.reshape(-1)).astype(np.int64)


def _occupied(sparsity: Sparsity, rows: int, cols: int) -> float:
    """Expected share of blocks of ``rows`` x ``cols`` that keep an element."""
    if sparsity.is_dense:
        return 1.0
    if sparsity.groups is not None:
        whole = cols >= sparsity.groups[1]
        return 1.0 if whole else 1 - (1 - sparsity.density) ** (rows * cols)
    draws = -(-rows // sparsity.edge) * -(-cols // sparsity.edge)
    return float(1 - (1 - sparsity.density) ** draws)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _common(x_pointers: Ints, x_blocks: Columns, w_pointers: Ints, w_blocks: Columns, deep: int) -> Ints:
    """(row of input blocks, row of weight blocks): k where neither has an empty block."""
    steps = np.zeros((x_pointers.size - 1, w_pointers.size - 1), np.int64)
    there = np.zeros(deep, np.bool_)
    for i in range(x_pointers.size - 1):
        there[:] = False
        for at in range(x_pointers[i], x_pointers[i + 1]):
            there[x_blocks[at]] = True
        for j in range(w_pointers.size - 1):
            for at in range(w_pointers[j], w_pointers[j + 1]):
                steps[i, j] += there[w_blocks[at]]
    return steps


ENGINES.register("block_mma")(BlockMma())
