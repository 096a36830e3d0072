# SPDX-License-Identifier: Apache-2.0
"""What engines of unstructured operands have in common: memory that grows with the non-zeros, levels that agree."""

from __future__ import annotations

import tracemalloc

import pytest

import simsparse as ss
from simsparse.config.hardware import load_hardware
from simsparse.core import Sparsity
from simsparse.devices.sparse_engine import SparseEngineDevice

PARTS = {
    "accel/dstc": "fp16", "accel/sigma": "bf16", "accel/sparten": "int8", "accel/extensor": "fp32",
    "accel/scnn": "fp16", "accel/eyeriss-v2-pe": "int8",
}  # fmt: skip


def _peak_bytes(part: str, size: int) -> float:
    """Memory that a walk of two operands (size, size) takes, a non-zero."""
    device = SparseEngineDevice(load_hardware(part))
    sparsity = Sparsity.parse("unstructured:0.1")
    weights, inputs = sparsity.draw(size, size, 0), sparsity.draw(size, size, 1)
    device.engine.run(weights, inputs, device.machine(PARTS[part]))
    tracemalloc.start()
    device.engine.run(weights, inputs, device.machine(PARTS[part]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (weights.nnz + inputs.nnz)


@pytest.mark.parametrize("part", PARTS)
def test_memory_grows_no_faster_than_the_non_zeros(part: str) -> None:
    assert _peak_bytes(part, 320) <= 1.05 * _peak_bytes(part, 160) + 1


@pytest.mark.parametrize("part", PARTS)
def test_both_levels_gain_from_zeros_and_agree(part: str) -> None:
    dense, sparse = (
        ss.ops.linear(m=64, n=256, k=256, dtype=PARTS[part], weight_sparsity=w, input_sparsity=x)
        for w, x in (("dense", "dense"), ("unstructured:0.2", "unstructured:0.4"))
    )
    for op in (dense, sparse):
        closed, walked = (ss.estimate(op, part, level=level) for level in (0, 2))
        assert closed.latency_s == pytest.approx(walked.latency_s, rel=0.15)
        assert walked.level == 2
    assert ss.cycles(sparse, part).cycles < ss.cycles(dense, part).cycles
