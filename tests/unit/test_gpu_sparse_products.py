# SPDX-License-Identifier: Apache-2.0
"""Weights in CSR and BSR on a GPU: measured times, what stays with the dense kernels, memory and counts."""

from __future__ import annotations

import pytest

import simsparse as ss
from simsparse.core import Op
from simsparse.devices.gpu_sparse_products import sparse_product

H100 = "gpu/h100-sxm5-80gb"


def linear(m: int, sparsity: str, storage: str, dtype: str = "bf16") -> Op:
    return ss.ops.linear(m, 4096, 4096, dtype, weight_sparsity=sparsity, weight_format=storage)


@pytest.mark.parametrize(
    ("m", "density", "seconds"), [(512, 0.5, 2.3988e-3), (512, 0.05, 2.5235e-4), (4096, 0.1, 3.9045e-3)]
)
def test_csr_weights_take_what_cusparse_was_measured_to_take(m: int, density: float, seconds: float) -> None:
    """An H100's measured times, which the kernel was not fitted to (section spmm of the given rows)."""
    one = ss.estimate(linear(m, f"unstructured:{density}", "csr"), H100)
    assert one.latency_s == pytest.approx(seconds, rel=0.1)
    assert one.validated == f"{H100} spmm" and not one.notes


def test_blocks_run_as_blocks_and_in_the_eager_stack_wait_for_the_host() -> None:
    fast, dense = (ss.estimate(linear(4096, *kind), H100) for kind in (("block64:0.05", "bsr:64"), ("dense", "usual")))
    assert fast.latency_s < dense.latency_s / 3 and fast.energy_j < dense.energy_j / 3
    trace = ss.TraceBuilder("one").add(linear(512, "block64:0.05", "bsr:64")).build()
    assert ss.simulate(trace, H100, stack="eager").latency_s > 2.6e-4  # measured: 2.8e-4, Python's dispatch


@pytest.mark.parametrize(
    ("sparsity", "storage", "dtype"),
    [("block32:0.1", "bsr:64", "bf16"), ("2:4", "bitmap", "bf16"), ("unstructured:0.1", "csr", "fp32")],
)
def test_what_no_sparse_kernel_takes_stays_with_dense_ones(sparsity: str, storage: str, dtype: str) -> None:
    assert sparse_product(linear(512, sparsity, storage, dtype)) is None


def test_a_gpu_keeps_the_stored_bytes() -> None:
    op = linear(512, "unstructured:0.05", "csr")
    result = ss.simulate(ss.TraceBuilder("one").add(op).build(), H100)
    assert result.memory["gpu0"]["weights"] == op.weight_bytes < 4096 * 4096 * 2 * 0.2
