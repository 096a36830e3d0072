# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of the cores that walk sparse times sparse products."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from simsparse.config.hardware import load_hardware
from simsparse.core import Sparsity
from simsparse.dataflow.sparse_engine import Work
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.sparsity.nonzeros import NonZeros

pytestmark = pytest.mark.bench

ROW_WISE = ("accel/gamma", "accel/matraptor")
TENTH = Sparsity.parse("unstructured:0.1")


def operands(size: int, sparsity: Sparsity) -> tuple[NonZeros, NonZeros]:
    """Weights and inputs of a square product."""
    return sparsity.draw(size, size, 1), sparsity.draw(size, size, 2)


def walk(part: str, weights: NonZeros, inputs: NonZeros) -> tuple[float, Work]:
    """(CPU seconds, work); the second of two runs, the first compiles."""
    device = SparseEngineDevice(load_hardware(part))
    machine = device.machine("fp16")
    device.engine.run(*operands(64, TENTH), machine)
    fresh = NonZeros(weights.shape, weights.pointers, weights.columns)
    start = time.process_time()
    work = device.engine.run(fresh, inputs, machine)
    return time.process_time() - start, work


@pytest.mark.parametrize("part", ROW_WISE)
def test_a_product_of_4096_cubed_at_a_tenth_takes_5_s(part: str) -> None:
    seconds, work = walk(part, *operands(4096, TENTH))
    print(f"{part}: {work.macs / 1e6:.0f} M effectual MACs in {seconds:.2f} s, {work.macs / seconds / 1e6:.0f} M/s")
    assert work.macs == pytest.approx(4096**3 * 0.01, rel=0.01)
    assert seconds <= 5.0


@pytest.mark.parametrize("part", ROW_WISE)
def test_memory_grows_with_the_non_zeros(part: str) -> None:
    """Arrays beside the operands: their transpose, its bitmaps, counts; a core adds a few rows to that."""
    walk(part, *operands(64, TENTH))
    used = []
    for size in (1024, 2048, 4096):
        weights, inputs = operands(size, TENTH)
        device = SparseEngineDevice(load_hardware(part))
        tracemalloc.start()
        device.engine.run(weights, inputs, device.machine("fp16"))
        used.append(tracemalloc.get_traced_memory()[1] / (weights.nnz + inputs.nnz))
        tracemalloc.stop()
    print(f"{part}: {', '.join(f'{each:.1f}' for each in used)} peak bytes a non-zero of the operands")
    assert max(used) <= 32
    assert used[-1] <= 1.2 * used[0]


@pytest.mark.parametrize("part", ROW_WISE)
def test_the_cost_of_a_non_zero_stays_flat(part: str) -> None:
    """Rows of 16 non-zeros on average, so that the work of one stays the same while the matrix grows."""
    costs = []
    for size in (2048, 4096, 8192, 16384):
        weights, inputs = operands(size, Sparsity.parse(f"unstructured:{16 / size}"))
        seconds = min(walk(part, weights, inputs)[0] for _ in range(3))
        costs.append(seconds / (weights.nnz + inputs.nnz))
    print(f"{part}: {', '.join(f'{1e9 * cost:.0f}' for cost in costs)} ns a non-zero from 2,048 to 16,384 rows")
    assert max(costs[1:]) <= 2 * costs[0]
