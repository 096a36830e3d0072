# SPDX-License-Identifier: Apache-2.0
"""How long a host's threads take for an operator.

A product passes over its weights once; its threads share the pass, but for a serial part of it (Amdahl). A pass is as
slow as the DRAM of one thread, or as the kernel that takes the weights apart: conversion from bf16, or packing for
products of several tokens. The arithmetic of many tokens overlaps with the shared part. The sums were checked against
linear layers on 1, 4 and 16 threads (section ``cpu`` of the GPU measurements).

Left out: how rows fall on threads, NUMA, and weights that stay in a cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from simsparse.config.parts.cpu import CpuCsr, CpuPart, CpuThreads
from simsparse.core import DType, Op
from simsparse.devices.base import Floats

CSR = "csr"


def thread_arrays(
    part: CpuPart, threads: CpuThreads, ops: Sequence[Op], flop_s: Floats, bytes: Floats
) -> dict[str, Floats]:
    """Seconds of ops by contributor: ``launch``, and of the longer of ``compute`` and ``memory`` the serial part too.

    ``flop_s``: seconds of the arithmetic with all cores; ``bytes``: what the ops read and write.
    """
    share = threads.count.si / threads.cores.si
    serial, shared = threads.serial.si, (1 - threads.serial.si) / threads.count.si
    gemms = [op.gemms if op.definition.prunable else () for op in ops]
    vectors, matrices = (
        {name: rate.si for name, rate in rates.items()} for rates in (threads.vectors, threads.matrices)
    )
    taken = [_kernel_seconds(op, own, vectors, matrices) for op, own in zip(ops, gemms, strict=True)]
    pace = np.maximum(bytes / threads.bandwidth.si, taken)
    least = bytes / (part.memory.bandwidth.si * part.memory.efficiency.si)
    products = np.array([max(1, sum([gemm[0] for gemm in own])) for own in gemms])
    fork = threads.fork.si if threads.count.si > 1 else 0.0
    return {
        "launch": products * (part.compute.launch.si + fork),
        "compute": serial * pace + flop_s / share,
        "memory": np.maximum((serial + shared) * pace, least),
    }


def csr_seconds(csr: CpuCsr, threads: CpuThreads, op: Op) -> float:
    """Seconds of products with the nonzeros of CSR weights."""
    serial, shared = threads.serial.si, (1 - threads.serial.si) / threads.count.si
    seconds = 0.0
    for count, m, n, k in op.gemms:
        nonzeros = count * n * k * op.weight_sparsity.density
        seconds += nonzeros * (csr.nonzero.si + csr.product.si * m) * (serial + shared)
    return seconds


def _kernel_seconds(
    op: Op, gemms: Sequence[tuple[int, int, int, int]], vectors: Mapping[str, float], matrices: Mapping[str, float]
) -> float:
    """Seconds in which one thread's kernels take the weights or the cache of an op apart, at rates by type.

    ``gemms`` are (count, m, n, k).
    """
    if "kv_len" in op.dims:
        return op.kv_bytes / vectors[op.dtype] if op.dtype in vectors else 0.0
    dtype, seconds = op.w_dtype, 0.0
    for count, m, n, k in gemms:
        rate = (vectors if m == 1 else matrices).get(dtype)
        seconds += count * n * k * _bytes(dtype) / rate if rate else 0.0
    return seconds


def _bytes(dtype: DType) -> float:
    return dtype.bits / 8
