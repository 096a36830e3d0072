# SPDX-License-Identifier: Apache-2.0
"""What the threads of a host share, against sums by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from simsparse.config.hardware import load_hardware, override_part
from simsparse.core import Op, ops
from simsparse.devices.cpu import Cpu
from simsparse.errors import SpecError

PART = "cpu/h100-host"
NUMBERS = {
    "threads.bandwidth": "10 GB/s", "threads.vectors.bf16": "5 GB/s", "threads.matrices.bf16": "4 GB/s",
    "threads.serial": "0.1", "threads.fork": "10 us", "compute.launch": "5 us", "memory.bandwidth": "1 TB/s",
    "threads.csr.nonzero": "2 ns", "threads.csr.product": "0.5 ns",
}  # fmt: skip


def seconds(op: Op, threads: int) -> float:
    device = Cpu(override_part(load_hardware(PART), {**NUMBERS, "threads.count": str(threads)}))
    return device.costs([op])[0].latency_s


def test_one_token_takes_the_weights_at_the_rate_of_its_kernel() -> None:
    """A pass of 2 MB at 5 GB/s is 400 us; on four threads 40 us alone and 360 us shared by four."""
    op = ops.linear(1, 1000, 1000, "bf16")
    assert seconds(op, 1) == pytest.approx(5e-6 + 400e-6)
    assert seconds(op, 4) == pytest.approx(15e-6 + 40e-6 + 90e-6)


def test_several_tokens_take_the_rate_of_products_of_matrices() -> None:
    assert seconds(ops.linear(4, 1000, 1000, "bf16"), 1) == pytest.approx(5e-6 + 500e-6)


def test_many_tokens_are_bound_by_arithmetic() -> None:
    """What the threads share hides behind it; what one does alone, 10 % of 18.4 MB at 10 GB/s, does not."""
    op = ops.linear(4096, 1000, 1000, "bf16")
    assert seconds(op, 16) == pytest.approx(15e-6 + 184e-6 + op.flops / (4.13e12 * 0.93), rel=1e-3)


def test_memory_is_streamed_by_every_thread() -> None:
    op = ops.elementwise(1_000_000, 1_000_000, dtype="fp32")
    assert seconds(op, 1) == pytest.approx(5e-6 + 200e-6)
    assert seconds(op, 8) == pytest.approx(15e-6 + 20e-6 + 180e-6 / 8)


def test_csr_products_cost_by_nonzero() -> None:
    """100,000 nonzeros with 4 tokens: 4 ns each on one thread."""
    op = ops.linear(4, 1000, 1000, "fp32", weight_sparsity="unstructured:0.1", weight_format="csr")
    assert seconds(op, 1) == pytest.approx(5e-6 + 400e-6)


def test_csr_weights_of_another_type_run_as_dense_ones_with_a_note() -> None:
    device = Cpu(load_hardware(PART))
    sparse = ops.linear(4, 1000, 1000, "bf16", weight_sparsity="unstructured:0.1", weight_format="csr")
    assert any("multiplied as dense" in note for note in device.notes(sparse))
    assert not device.notes(sparse.with_(dtype="fp32"))


def test_an_expert_is_three_products() -> None:
    """Each forks and joins its threads."""
    op = ops.moe_ffn(1, 100, 100, 2, True, "bf16", routing=[[0]])
    weights = 3 * 100 * 100 * 2
    assert seconds(op, 4) == pytest.approx(3 * 15e-6 + weights / 5e9 * (0.1 + 0.9 / 4), rel=0.02)


def test_more_threads_are_never_slower_on_large_products() -> None:
    op = ops.linear(16, 4096, 4096, "fp32")
    times = [seconds(op, count) for count in range(1, 17)]
    assert all(later <= before for before, later in pairwise(times[1:]))


def test_more_threads_than_cores_are_refused() -> None:
    with pytest.raises(SpecError, match="17 threads on 16 cores"):
        override_part(load_hardware(PART), {"threads.count": "17"})
