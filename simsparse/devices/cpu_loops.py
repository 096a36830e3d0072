# SPDX-License-Identifier: Apache-2.0
"""Which kernel a host runs for an operator with weights, and the seconds of its inner loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simsparse.core import Op, OpKind
from simsparse.core.kind import stored_bytes
from simsparse.devices.base import DENSE_FORMAT, Floats
from simsparse.devices.cpu_core import Cores, LoopSeconds, Products, Refills
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel
from simsparse.sparsity import USUAL

DEPTHWISE = "depthwise"


def sparse_kernel(cores: Cores | None, op: Op) -> CpuKernel | None:
    """The kernel that skips the zeros of ``op``'s weights, stored as the op states; None where there is none."""
    if cores is None or not op.definition.prunable or op.weight_format in (USUAL, DENSE_FORMAT) or is_depthwise(op):
        return None
    name = cores.core.kernels.get(op.weight_format.partition(":")[0])
    kernel = CPU_KERNELS.get(name) if name is not None else None
    return kernel if not op.weight_sparsity.is_factored else None


def is_depthwise(op: Op) -> bool:
    """Whether ``op`` is a convolution with one filter per channel."""
    return op.kind == OpKind.CONV2D and op.dims["groups"] == op.dims["c_out"] == op.dims["c_in"] > 1


def kernel_of(cores: Cores, op: Op) -> CpuKernel:
    """The kernel of ``op``: that of depthwise convolutions, the sparse one, that of narrow dense weights, else the
    dense library's."""
    if is_depthwise(op):
        return CPU_KERNELS.get(DEPTHWISE)
    dense = cores.core.kernels[DENSE_FORMAT]
    if op.kind == OpKind.LINEAR and op.weight_sparsity.is_dense:
        dense = cores.core.narrow.get(op.w_dtype, dense)
    return sparse_kernel(cores, op) or CPU_KERNELS.get(dense)


def loop_arrays(cores: Cores, ops: Sequence[Op]) -> Mapping[str, Floats]:
    """Seconds of ``ops`` with weights by contributor; those of the several products of one op add up."""
    by_kernel: dict[str, list[int]] = {}
    for i, op in enumerate(ops):
        by_kernel.setdefault(kernel_of(cores, op).name, []).append(i)
    names = ("launch", "compute", "memory", "total")
    found = {name: np.zeros(len(ops)) for name in names}
    start = cores.part.compute.launch.si + (cores.threads.fork.si if cores.count > 1 else 0.0)
    for name, places in by_kernel.items():
        own = [ops[i] for i in places]
        kernel = CPU_KERNELS.get(name)
        products, times, owner = products_of(cores, own, kernel)
        loops = kernel.loops(products, cores)
        seconds = cores.loop_seconds(replace(loops, traffic=(*loops.traffic, Refills(products.moved, products.moved))))
        parts = {"launch": start + seconds.calls, **_named(seconds)}
        for key, values in parts.items():
            found[key][places] = np.bincount(owner, times * values, len(own))
    return found


def _named(seconds: LoopSeconds) -> Mapping[str, Floats]:
    return {"compute": seconds.compute, "memory": seconds.memory, "total": seconds.total}


def products_of(cores: Cores, ops: Sequence[Op], kernel: CpuKernel) -> tuple[Products, Floats, NDArray[np.intp]]:
    """The products of ``ops``, how often each runs, and the place of its op."""
    rows: list[tuple[float, ...]] = []
    owner: list[int] = []
    dense = DENSE_FORMAT in kernel.formats
    for place, op in enumerate(ops):
        size, value = op.w_dtype.bits / 8, op.dtype.bits / 8
        lanes, flops = cores.lanes(op.dtype), cores.flops_per_cycle(op.dtype)
        for times, m, n, k, _, taken, given in op.products:
            if not (m and times):
                continue
            stored = n * k * size if dense else stored_bytes(op, n, k)
            kept, block = kernel.weights(op, n, k)
            together = times if kernel.joins else 1  # its groups are one loop
            sizes = (m * together, n, k, kept, size, value, lanes, stored, flops, block, (taken + given) * together)
            rows.append((times / together, *sizes))
            owner.append(place)
    columns = np.array(rows, np.float64).reshape(-1, 12).T
    return Products(*columns[1:]), columns[0], np.array(owner, np.intp)
