# SPDX-License-Identifier: Apache-2.0
"""A training step with bidirectional N:M weight pruning (BDWP) on an N:M systolic array with a sorter of weights.

Weights are pruned in groups along the input channels for the forward pass (FF) and along the output channels for the
gradients of inputs (BP); gradients of weights (WU) are dense. Source: Fang et al., arXiv 2309.13015.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from simsparse.dataflow.base import ceil_div
from simsparse.dataflow.engines.sat import expected_product, nm_array
from simsparse.dataflow.nm_product import SCHEDULES, LoopOrder, run_product
from simsparse.dataflow.sparse_engine import PeConfig, Work, cycles_of
from simsparse.sparsity import DENSE, Sparsity

VALUE_BYTES, GRADIENT_BITS = 2, 32


class Generation(StrEnum):
    """When N:M weights are made of dense ones: never (dense training), once after the update, or at each use."""

    NONE = "none"
    BEFORE = "before"
    ONLINE = "online"


class TrainingStage(StrEnum):
    """Part of a training step."""

    FORWARD = "FF"
    BACKWARD = "BP"
    GRADIENT = "WU"
    UPDATE = "update"


@dataclass(frozen=True)
class Layer:
    """A product of a training step for one sample, with the vector work that follows it.

    ``kind``: conv2d, linear, matmul, attention or vector (no product); ``dims`` are those of the op of that kind.
    ``pruned``: its weights are N:M. Vector work moves ``vector_bytes`` and does ``vector_flops``.
    """

    name: str
    stage: TrainingStage
    kind: str
    dims: Mapping[str, int]
    pruned: bool
    vector_bytes: int
    vector_flops: int


@dataclass(frozen=True)
class Shape:
    """``count`` products (m, n, k) whose inputs are ``input_bytes`` in memory, in ``slices`` along k."""

    count: int
    m: int
    n: int
    k: int
    input_bytes: float
    slices: int = 1


@dataclass(frozen=True)
class ProductTimes:
    """Work of products on ``machine``, each walked once."""

    machine: PeConfig
    known: dict[tuple[object, ...], Work] = field(default_factory=dict, compare=False)

    def work(self, shape: Shape, sparsity: Sparsity, gradient: bool, sort_rate: float, schedule: LoopOrder) -> Work:
        """Work of one slice of ``shape``; a ``gradient`` of weights leaves in fp32."""
        key = (shape.m, shape.n, shape.k, shape.input_bytes, sparsity, gradient, sort_rate, schedule)
        if key not in self.known:
            machine = replace(self.machine, output_bits=GRADIENT_BITS) if gradient else self.machine
            product = expected_product((shape.m, shape.n, shape.k), sparsity, machine)
            product = replace(product, input_bytes=shape.input_bytes, sort_rate=sort_rate)
            self.known[key] = run_product(product, nm_array(machine), machine, schedule)
        return self.known[key]


@dataclass(frozen=True)
class Trainer:
    """A machine that trains: its array, ``vector_flops`` a cycle, ``sort_rate`` weights a cycle through the sorter.

    ``vector_overlaps``: vector work runs beside the array of its layer, else behind it. ``schedules``: those that the
    offline scheduler may pick from.
    """

    products: ProductTimes
    vector_flops: float
    sort_rate: float
    vector_overlaps: bool = True
    schedules: tuple[LoopOrder, ...] = SCHEDULES


@dataclass(frozen=True)
class LayerTime:
    """Cycles of a layer: ``total``, and what each resource needed: array, vector unit, DRAM, sorter."""

    layer: Layer
    total: int
    array: int
    causes: Mapping[str, int]
    vector: int
    dram_bytes: int
    macs: int
    schedule: str


def train_step(
    layers: Sequence[Layer], batch: int, sparsity: Sparsity, generation: Generation, trainer: Trainer
) -> list[LayerTime]:
    """Time of each layer of one step on ``batch`` samples, with weights of ``sparsity`` where a layer is pruned."""
    return [
        _update(layer, sparsity, generation, trainer) if layer.stage is TrainingStage.UPDATE
        else _layer(layer, batch, sparsity, generation, trainer)
        for layer in layers
    ]  # fmt: skip


def shapes(layer: Layer, batch: int, machine: PeConfig) -> Iterator[Shape]:
    """The products of a layer on ``batch`` samples."""
    d = layer.dims
    if layer.kind == "conv2d":
        yield from _convolution(layer, batch, machine)
    elif layer.kind == "attention":
        yield from _attention(layer, batch)
    elif layer.stage is TrainingStage.GRADIENT:
        yield _sliced(d["n"], d["m"], d["k"] * batch, VALUE_BYTES * d["n"] * d["k"] * batch, machine)
    elif layer.kind != "vector":
        yield Shape(1, d["m"] * batch, d["n"], d["k"], VALUE_BYTES * d["m"] * d["k"] * batch)


def _convolution(layer: Layer, batch: int, machine: PeConfig) -> Iterator[Shape]:
    """im2col forward; backward one product a phase of the stride, each with the taps that hit it."""
    d = layer.dims
    pixels = batch * d["h_out"] * d["w_out"]
    before, after = batch * d["c_in"] * d["h_in"] * d["w_in"], pixels * d["c_out"]
    if layer.stage is TrainingStage.FORWARD:
        yield Shape(1, pixels, d["c_out"], d["c_in"] * d["kh"] * d["kw"], VALUE_BYTES * before)
    elif layer.stage is TrainingStage.GRADIENT:
        yield _sliced(d["c_in"] * d["kh"] * d["kw"], d["c_out"], pixels, VALUE_BYTES * before, machine)
    else:
        stride = max(1, round(d["h_in"] / d["h_out"]))
        taps = [
            len(range(y, d["kh"], stride)) * len(range(x, d["kw"], stride))
            for y in range(stride) for x in range(stride)
        ]  # fmt: skip
        used = [count for count in taps if count]
        for count in used:
            yield Shape(1, pixels, d["c_in"], d["c_out"] * count, VALUE_BYTES * after / len(used))


def _attention(layer: Layer, batch: int) -> Iterator[Shape]:
    """Scores and context of each head; backward the two gradients of each."""
    d = layer.dims
    heads, queries, keys, size = batch * d["heads"], d["q_len"], d["kv_len"], d["head_dim"]
    times = 1 if layer.stage is TrainingStage.FORWARD else 2
    yield Shape(heads * times, queries, keys, size, VALUE_BYTES * queries * size)
    yield Shape(heads * times, queries, size, keys, VALUE_BYTES * queries * keys)


def _sliced(m: int, n: int, k: int, input_bytes: float, machine: PeConfig) -> Shape:
    """A gradient of weights: if its sums fit on chip, k is cut so that both operands cross the DRAM once."""
    room = machine.buffers
    fits = m * n * room.partial_sum <= room.output // 2
    wanted = max(input_bytes / (room.input // 2), n * k * VALUE_BYTES / (room.weight // 2))
    slices = max(1, int(np.ceil(wanted))) if fits else 1
    return Shape(1, m, n, ceil_div(k, slices), input_bytes / slices, slices)


def _layer(layer: Layer, batch: int, sparsity: Sparsity, generation: Generation, trainer: Trainer) -> LayerTime:
    pruned = layer.pruned and layer.stage is not TrainingStage.GRADIENT and generation is not Generation.NONE
    pattern = sparsity if pruned else DENSE
    sort = trainer.sort_rate if pruned and generation is Generation.ONLINE else 0.0
    machine, gradient = trainer.products.machine, layer.stage is TrainingStage.GRADIENT
    cycles = moved = macs = 0
    causes: dict[str, int] = {}
    names: list[str] = []
    for shape in shapes(layer, batch, machine):
        works = [trainer.products.work(shape, pattern, gradient, sort, each) for each in trainer.schedules]
        work = min(works, key=lambda found: found.cycles)
        times = shape.count * shape.slices
        write = shape.count * cycles_of(work.dram_write, machine.dram_bytes) if shape.slices > 1 else 0
        cycles, macs = cycles + times * work.cycles + write, macs + times * work.macs
        moved += times * work.dram_read + (shape.count if shape.slices > 1 else times) * work.dram_write
        for cause, value in work.causes.items():
            causes[cause] = causes.get(cause, 0) + times * value + (write if cause == "dram" else 0)
        names.append(str(trainer.schedules[works.index(work)]))
    vector = int(np.ceil(batch * layer.vector_flops / trainer.vector_flops))
    moved += batch * layer.vector_bytes
    beside = max(cycles, vector) if trainer.vector_overlaps else cycles + vector
    total = max(beside, cycles_of(moved, trainer.products.machine.dram_bytes))
    return LayerTime(layer, total, cycles, causes, vector, moved, macs, "+".join(names))


def _update(layer: Layer, sparsity: Sparsity, generation: Generation, trainer: Trainer) -> LayerTime:
    """The optimizer's update; with pre-generation, weights pass the sorter once for each direction and both forms are
    written."""
    vector, moved, sort = int(np.ceil(layer.vector_flops / trainer.vector_flops)), layer.vector_bytes, 0
    if generation is Generation.BEFORE and layer.pruned:
        _, group = sparsity.groups or (1, 1)
        weights, bits = layer.dims["weights"], 8 * VALUE_BYTES + (group - 1).bit_length()
        moved += 2 * ceil_div(sparsity.kept(1, weights) * bits, 8)
        sort = int(np.ceil(2 * weights / trainer.sort_rate))
    total = max(vector, sort, cycles_of(moved, trainer.products.machine.dram_bytes))
    return LayerTime(layer, total, 0, {"generation": sort}, vector, moved, 0, "")
