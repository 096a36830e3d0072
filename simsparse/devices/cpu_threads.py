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
from itertools import chain

import numpy as np

from simsparse.config.parts.cpu import CpuCsr, CpuPart, CpuThreads
from simsparse.core import Op
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
    products, taken = _products(threads, ops)
    pace = np.maximum(bytes / threads.bandwidth.si, taken)
    least = bytes / (part.memory.bandwidth.si * part.memory.efficiency.si)
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


def _products(threads: CpuThreads, ops: Sequence[Op]) -> tuple[Floats, Floats]:
    """Of each op its products, one where it has none, and the seconds in which one thread takes its weights apart.

    Of an attention the seconds are those of its cache.
    """
    vectors, matrices = (
        {name: rate.si for name, rate in rates.items()} for rates in (threads.vectors, threads.matrices)
    )
    places = [i for i, op in enumerate(ops) if op.definition.prunable]
    gemms, types = [ops[i].gemms for i in places], [ops[i].w_dtype for i in places]
    number = {dtype: i for i, dtype in enumerate(dict.fromkeys(types))}
    lengths = list(map(len, gemms))
    owner, kind = (np.repeat(np.array(of_op, np.intp), lengths) for of_op in (places, [number[each] for each in types]))
    count, m, n, k = np.array(list(chain.from_iterable(gemms)), np.int64).reshape(-1, 4).T
    rates = [(vectors.get(each, np.inf), matrices.get(each, np.inf), each.bits / 8) for each in number]
    vector, matrix, size = np.array(rates, np.float64).reshape(-1, 3)[kind].T
    apart = count * n * k * size / np.where(m == 1, vector, matrix)
    seconds = np.asarray(np.bincount(owner, apart, len(ops)), np.float64)
    for i, op in enumerate(ops):
        if "kv_len" in op.dims and op.dtype in vectors:
            seconds[i] = op.kv_bytes / vectors[op.dtype]
    return np.maximum(np.bincount(owner, count, len(ops)), 1.0), seconds
