# SPDX-License-Identifier: Apache-2.0
"""How long a host's threads take for an operator.

A product passes over its weights once; its threads share the pass, but for a serial part of it (Amdahl). A pass is as
slow as the DRAM of one thread, or as the kernel that takes the weights apart: conversion from bf16, or packing for
products of several tokens. The arithmetic of many tokens overlaps with the shared part. The sums were checked against
linear layers on 1, 4 and 16 threads (section ``cpu`` of the GPU measurements).

Left out: how rows fall on threads, NUMA, and weights that stay in a cache.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    pace = np.array([_pass_seconds(threads, op, moved) for op, moved in zip(ops, bytes, strict=True)])
    least = bytes / (part.memory.bandwidth.si * part.memory.efficiency.si)
    products = np.array([_products(op) for op in ops])
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


def _pass_seconds(threads: CpuThreads, op: Op, moved: float) -> float:
    """Seconds in which one thread passes over what an op reads and writes."""
    streamed = moved / threads.bandwidth.si
    if op.kv_bytes:
        rate = threads.vectors.get(str(op.dtype))
        return max(streamed, op.kv_bytes / rate.si) if rate else streamed
    taken = 0.0
    for count, m, n, k in op.gemms if op.weight_bytes else ():
        rate = (threads.vectors if m == 1 else threads.matrices).get(str(op.w_dtype))
        taken += count * n * k * _bytes(op.w_dtype) / rate.si if rate else 0.0
    return max(streamed, taken)


def _products(op: Op) -> int:
    """Kernels that an op becomes: one for each product with weights, else one."""
    return max(1, sum(count for count, *_ in op.gemms)) if op.weight_bytes else 1


def _bytes(dtype: DType) -> float:
    return dtype.bits / 8
