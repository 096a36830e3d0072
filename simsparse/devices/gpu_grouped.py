# SPDX-License-Identifier: Apache-2.0
"""Seconds of grouped GEMMs on a GPU: the tokens of many experts in one launch.

An expert's tokens are padded to whole tiles. Tiles run on the SMs as they come; a tile needs the time of its
products, of its operands through the SM's port to L2, and of the trips to memory that nothing hides. Over the
whole launch stand the weights of the experts that are hit, read once per group of row tiles that share them
where one expert's matrix does not fit in L2, and the activations.

Left out: how tiles of unlike experts follow one another on an SM, clocks under the power limit (the share of the
tensor peak is what a card of the library's measurement held).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_moe import GpuGroupedGemm
from simsparse.core.varying_arrays import array_of
from simsparse.devices.gpu_card import Card, Floats, KernelTimes
from simsparse.devices.gpu_moe_tiles import ExpertTiles

REGISTERS = 65536
"""Registers of an SM, all architectures from Turing on. Source: CUDA programming guide, compute capabilities."""
OTHER_REGISTERS = 64
"""Registers of a thread beside its accumulators; assumed."""
CACHE_SLOPE = 6.0
"""Steepness with which buffers fall out of L2 as they outgrow it; assumed."""


@dataclass(frozen=True)
class ExpertCounts:
    """Tokens of the experts that are hit: ``counts[i]`` tokens in launch ``owner[i]``; ``held`` experts by launch.

    ``touched``: experts whose weights a loop over the same buffers reads, by launch; at least those hit.
    """

    owner: NDArray[np.int64]
    counts: Floats
    held: Floats
    touched: Floats

    @classmethod
    def of(cls, counts: Sequence[tuple[int, ...]], touched: Sequence[int] | None = None) -> ExpertCounts:
        """Counts of the experts held in each launch. Without ``touched``, every launch has its own weights."""
        held = np.array([len(own) for own in counts], np.int64)
        owner = np.repeat(np.arange(len(counts)), held)
        flat = np.array([count for own in counts for count in own], np.float64)
        owner, flat = owner[flat > 0], flat[flat > 0]
        hit = np.bincount(owner, minlength=len(counts)) if touched is None else np.array(touched)
        return cls(owner, flat, held.astype(np.float64), hit.astype(np.float64))

    @cached_property
    def hit(self) -> Floats:
        """Experts that are hit, by launch."""
        return self._added(np.ones(len(self.counts)))

    @cached_property
    def rows(self) -> Floats:
        """Assignments of tokens to experts, by launch."""
        return self._added(self.counts)

    def tiles(self, rows: Floats) -> Floats:
        """Tiles of ``rows`` tokens (by launch) that hold each expert's tokens."""
        return self._added(np.ceil(self.counts / rows[self.owner]))

    def _added(self, values: Floats) -> Floats:
        return array_of(np.bincount(self.owner, values, len(self.held)), np.float64)


@dataclass(frozen=True)
class GroupedShapes:
    """``y = x w_e.T`` of each expert e, one array element per launch: ``n`` outputs, ``k`` inputs.

    Bytes of a weight and of an activation; ``flops``: the tensor peak; ``looped``: bytes that a loop over the same
    buffers passes before it comes back to them, infinite where operands come from memory.
    """

    experts: ExpertCounts
    n: Floats
    k: Floats
    weight_bytes: Floats
    value_bytes: Floats
    flops: Floats
    looped: Floats


def grouped_seconds(shapes: GroupedShapes, tiles: ExpertTiles, model: GpuGroupedGemm, card: Card) -> KernelTimes:
    """Seconds of each launch, launch overhead apart."""
    row_tiles = shapes.experts.tiles(tiles.rows)
    columns, steps = np.ceil(shapes.n / tiles.outputs), np.ceil(shapes.k / tiles.depth)
    splits = _splits(shapes, tiles, columns, steps, card)
    blocks, steps = row_tiles * columns * splits, np.ceil(steps / splits)
    queue = np.ceil(blocks / card.sms)
    compute = queue * steps * _step_seconds(shapes, tiles, model, card)
    compute = np.maximum(compute, _waiting_seconds(shapes, tiles, queue, steps, model, card))
    memory = _memory_bytes(shapes, tiles, row_tiles, model, card) / _memory_bytes_per_s(model, card)
    return KernelTimes.overlapped(np.zeros(len(compute)), compute, memory, model.join.si)


def _splits(shapes: GroupedShapes, tiles: ExpertTiles, columns: Floats, steps: Floats, card: Card) -> Floats:
    """Parts of k: as many as fill the card, each of at least four steps. Source: triton_kernels, compute_split_k."""
    if not tiles.fills:
        return np.ones(len(columns))
    grid = np.ceil(shapes.experts.rows / tiles.rows) * columns
    return np.clip(np.floor(card.grid_sms / grid), 1.0, np.maximum(np.floor(steps / 4), 1.0))


def _step_seconds(shapes: GroupedShapes, tiles: ExpertTiles, model: GpuGroupedGemm, card: Card) -> Floats:
    """Seconds of an SM in one step of a tile along k: products, or operands through the port."""
    share = np.select(
        [tiles.rows <= 16, tiles.rows <= 32, tiles.rows <= 64],
        [model.tensor_16.si, model.tensor_32.si, model.tensor_64.si], model.tensor_128.si,
    )  # fmt: skip
    products = 2.0 * tiles.rows * tiles.outputs * tiles.depth * card.sms / (share * shapes.flops)
    operands = tiles.depth * (tiles.rows * shapes.value_bytes + tiles.outputs * shapes.weight_bytes)
    return np.maximum(products, operands * _unaligned(shapes, model) / (model.port.si * card.clock_hz))


def _unaligned(shapes: GroupedShapes, model: GpuGroupedGemm) -> Floats:
    """How much longer loads take by the length of a row; Triton vectorizes rows of whole 16 elements only."""
    return np.select([shapes.k % 8 != 0, shapes.k % 16 != 0], [model.unaligned.si, model.unaligned_16.si], 1.0)


def _waiting_seconds(
    shapes: GroupedShapes, tiles: ExpertTiles, queue: Floats, steps: Floats, model: GpuGroupedGemm, card: Card
) -> Floats:
    """Seconds of an SM that runs its queue of tiles, as many at once as fit, when memory answers late."""
    resident = _resident_blocks(shapes, tiles, model)
    step = model.latency.si / np.maximum(tiles.stages - 1.0, 0.7) * _unaligned(shapes, model)
    return array_of(np.ceil(queue / resident) * (model.block.si + steps * step) / card.clock_hz)


def _resident_blocks(shapes: GroupedShapes, tiles: ExpertTiles, model: GpuGroupedGemm) -> Floats:
    """Thread blocks that an SM holds: bound by shared memory, registers and warps."""
    shared = tiles.stages * tiles.depth * (tiles.rows * shapes.value_bytes + tiles.outputs * shapes.weight_bytes)
    registers = np.minimum(tiles.rows * tiles.outputs / (32.0 * tiles.warps) + OTHER_REGISTERS, 255.0)
    fitting = [
        model.shared.si / (shared + 1024.0), REGISTERS / (np.ceil(registers / 8) * 8 * 32.0 * tiles.warps),
        model.warps.si / tiles.warps,
    ]  # fmt: skip
    return array_of(np.maximum(np.floor(np.minimum.reduce(fitting)), 1.0), np.float64)


def _memory_bytes_per_s(model: GpuGroupedGemm, card: Card) -> float:
    """What the card's memory gives the kernel, or all SMs together draw if that is less."""
    rate = model.memory.si * card.memory_bytes_per_s
    return rate if model.stream is None else np.minimum(rate, model.stream.si * card.sms * card.clock_hz)


def _memory_bytes(
    shapes: GroupedShapes, tiles: ExpertTiles, row_tiles: Floats, model: GpuGroupedGemm, card: Card
) -> Floats:
    """Bytes from and to memory: weights per pass over them that finds none in L2, and activations."""
    experts = shapes.experts
    matrix = shapes.n * shapes.k * shapes.weight_bytes
    hit = np.maximum(experts.hit, 1.0)
    sharing = np.clip(row_tiles / hit, 1.0, tiles.group)
    again = np.maximum(row_tiles / sharing, hit) - hit
    activations = experts.rows * (2.0 * shapes.n + shapes.k * shapes.value_bytes)
    kept = model.resident.si * card.l2_bytes
    passed = np.minimum(activations + matrix * experts.touched, shapes.looped)
    weights = matrix * (experts.hit + again * missing(matrix, card.l2_bytes)) * missing(shapes.looped, kept)
    return weights + activations * missing(passed, kept)


def missing(used: Floats, cache: float) -> Floats:
    """Share of accesses that miss a cache of ``cache`` bytes when ``used`` bytes pass before data is used again."""
    with np.errstate(divide="ignore"):
        outgrown = np.clip(CACHE_SLOPE * np.log(used / cache), -50.0, 50.0)
    return array_of(1.0 / (1.0 + np.exp(-outgrown)))
