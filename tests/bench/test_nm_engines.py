# SPDX-License-Identifier: Apache-2.0
"""Speed of the engines for N:M weights: all layers of ResNet-50 on drawn 2:4 masks, and the cost of a non-zero."""

from __future__ import annotations

import time

import pytest

import simsparse as ss
from simsparse.core import Sparsity
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.validate.cases.s4 import products

pytestmark = pytest.mark.bench
PARTS = {"sat": "fp16", "vegeta": "bf16", "sparse-tensor-core": "int8", "s4": "int8"}
LIMIT_CPU_S, LIMIT_GROWTH = 2.0, 3.0


@pytest.fixture(scope="module")
def operands() -> list[tuple[NonZeros, NonZeros]]:
    pattern = Sparsity.parse("2:4")
    return [(pattern.draw(n, k, 0), NonZeros.dense(m, k)) for _, m, n, k, _ in products("ResNet-50")]


@pytest.mark.parametrize("part", PARTS)
def test_resnet50_is_walked_within_two_seconds(part: str, operands: list[tuple[NonZeros, NonZeros]]) -> None:
    device = SparseEngineDevice(ss.load_hardware(f"accel/{part}"))
    machine = device.machine(PARTS[part])
    device.engine.run(*operands[5], machine)
    start = time.process_time()
    assert sum(device.engine.run(weights, inputs, machine).cycles for weights, inputs in operands) > 0
    assert time.process_time() - start < LIMIT_CPU_S


@pytest.mark.parametrize("part", PARTS)
def test_a_non_zero_costs_the_same_in_a_large_matrix(part: str) -> None:
    device = SparseEngineDevice(ss.load_hardware(f"accel/{part}"))
    machine, cost = device.machine(PARTS[part]), []
    for edge in (1024, 1024, 4096):
        weights, inputs = Sparsity.parse("2:4").draw(edge, edge, 0), NonZeros.dense(256, edge)
        start = time.process_time()
        device.engine.run(weights, inputs, machine)
        cost.append((time.process_time() - start) / weights.nnz)
    assert cost[2] < LIMIT_GROWTH * cost[1]
