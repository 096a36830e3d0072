# SPDX-License-Identifier: Apache-2.0
"""A training step with N:M weights in both directions."""

from __future__ import annotations

import pytest

from simsparse.core import Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.bdwp import (
    Generation,
    Layer,
    LayerTime,
    ProductTimes,
    Trainer,
    TrainingStage,
    shapes,
    train_step,
)
from simsparse.dataflow.sparse_engine import PeConfig

MACHINE = PeConfig(8, 8, 1, Buffers(1 << 16, 1 << 16, 1 << 16), 1e9, 16, 16,
                  {"group": 8, "add_latency": 1, "interleave": 1, "skew": 0.0, "drain": 8})  # fmt: skip
CONV = {"batch": 1, "c_in": 16, "c_out": 32, "h_in": 16, "w_in": 16, "h_out": 8, "w_out": 8, "kh": 3, "kw": 3}


def conv(stage: TrainingStage, pruned: bool = True) -> Layer:
    return Layer("conv", stage, "conv2d", CONV, pruned, 1000, 500)


STEP = [conv(TrainingStage.FORWARD), conv(TrainingStage.BACKWARD), conv(TrainingStage.GRADIENT)]
UPDATE = Layer(
    "conv", TrainingStage.UPDATE, "vector", {"weights": 16 * 32 * 9}, True, 16 * 32 * 9 * 20, 16 * 32 * 9 * 4
)


def trainer(vector_flops: float = 1e9, sort_rate: float = 1e9, vector_overlaps: bool = True) -> Trainer:
    return Trainer(ProductTimes(MACHINE), vector_flops, sort_rate, vector_overlaps)


def times(layers: list[Layer], generation: Generation, machine: Trainer, batch: int = 4) -> list[LayerTime]:
    return train_step(layers, batch, Sparsity.parse("2:8"), generation, machine)


@pytest.mark.parametrize("stage", [TrainingStage.FORWARD, TrainingStage.BACKWARD, TrainingStage.GRADIENT])
@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (2, 1), (2, 7), (4, 4)])
def test_all_stages_have_the_macs_of_the_forward_pass(stage: TrainingStage, stride: int, kernel: int) -> None:
    dims = {**CONV, "h_in": 8 * stride, "w_in": 8 * stride, "kh": kernel, "kw": kernel}
    found = list(shapes(Layer("conv", stage, "conv2d", dims, True, 0, 0), 4, MACHINE))
    macs = sum(shape.count * shape.slices * shape.m * shape.n * shape.k for shape in found)
    assert macs == pytest.approx(4 * 64 * 16 * 32 * kernel * kernel, rel=0.02)


def test_a_layer_alone_is_twice_as_fast_at_two_of_eight() -> None:
    dense = sum(layer.total for layer in times(STEP, Generation.NONE, trainer()))
    sparse = sum(layer.total for layer in times(STEP, Generation.BEFORE, trainer()))
    assert dense / sparse == pytest.approx(2.0, rel=0.02)


def test_gradients_of_weights_and_unpruned_layers_stay_dense() -> None:
    layers = [conv(TrainingStage.GRADIENT), conv(TrainingStage.FORWARD, pruned=False)]
    assert times(layers, Generation.BEFORE, trainer()) == times(layers, Generation.NONE, trainer())


def test_attention_counts_two_products_forward_and_four_backward() -> None:
    dims = {"batch": 1, "heads": 3, "kv_heads": 3, "head_dim": 16, "v_head_dim": 16, "q_len": 20, "kv_len": 20}
    counts = [
        sum(shape.count for shape in shapes(Layer("a", stage, "attention", dims, False, 0, 0), 2, MACHINE))
        for stage in (TrainingStage.FORWARD, TrainingStage.BACKWARD)
    ]
    assert counts == [2 * 3 * 2, 4 * 3 * 2]


def test_generation_costs_when_it_is_slow() -> None:
    slow = trainer(sort_rate=1.0)
    before, online = (times([*STEP, UPDATE], when, slow) for when in (Generation.BEFORE, Generation.ONLINE))
    assert before[-1].total == 2 * UPDATE.dims["weights"]
    assert online[0].total > before[0].total
    assert online[0].causes["generation"] > 0 and before[0].causes["generation"] == 0


def test_pre_generation_writes_both_forms() -> None:
    none, before = (times([UPDATE], when, trainer())[0] for when in (Generation.NONE, Generation.BEFORE))
    assert before.dram_bytes - none.dram_bytes == 2 * (16 * 32 * 9 // 4) * (16 + 3) // 8


def test_vector_work_beside_or_behind_the_array() -> None:
    beside, behind = (times([conv(TrainingStage.FORWARD)], Generation.NONE, trainer(0.05, vector_overlaps=each))[0]
                      for each in (True, False))  # fmt: skip
    assert beside.vector == 4 * 500 / 0.05
    assert beside.total == max(beside.array, beside.vector)
    assert behind.total == behind.array + behind.vector
