# SPDX-License-Identifier: Apache-2.0
"""The kernel that each op kind without matrix products is on a GPU, by kind."""

from __future__ import annotations

from collections.abc import Callable

from simsparse.core import Op
from simsparse.devices.gpu_aten import launched_kernel
from simsparse.devices.gpu_launched import Gather, LaunchedKernel, NormRows, Reduce, SoftmaxRows, Stream, Topk
from simsparse.devices.gpu_norm import Norm
from simsparse.devices.gpu_reduce import Reduction
from simsparse.registry import Registry

OP_KERNELS: Registry[Callable[[Op], LaunchedKernel]] = Registry("gpu kernel")
"""The kernel of an op by its kind; a kind that is registered here runs on every GPU."""
REDUCED = 64
"""An op known by its bytes alone that reads at least so many times what it writes is a reduction."""


@OP_KERNELS.register("elementwise")
@OP_KERNELS.register("other")
@OP_KERNELS.register("scan")
def _by_bytes(op: Op) -> LaunchedKernel:
    """An elementwise kernel of contiguous operands, or a sum where little is written.

    The steps of a scan are taken to run in parallel, which nothing validates.
    """
    read, write, flops = op.weight_bytes + op.input_bytes, op.output_bytes, op.flops
    size = op.dtype.bits / 8
    if read >= REDUCED * write and read >= REDUCED * size:
        outputs = max(1.0, write / size)
        return Reduce(outputs, read / size / outputs, size, flops=max(0.0, flops - read / size))
    return Stream(max(read, write) / size, read, write, flops=flops)


@OP_KERNELS.register("norm")
def _norm(op: Op) -> LaunchedKernel:
    norm = Norm.LAYER if op.dims["centred"] else Norm.RMS
    return NormRows(norm, op.dims["rows"], op.dims["cols"], op.dtype.bits / 8)


@OP_KERNELS.register("softmax")
def _softmax(op: Op) -> LaunchedKernel:
    return SoftmaxRows(op.dims["rows"], op.dims["cols"], op.dtype.bits / 8)


@OP_KERNELS.register("reduce")
def _reduce(op: Op) -> LaunchedKernel:
    reduction = Reduction.MAX if op.label in ("max", "min") else Reduction.SUM
    return Reduce(op.dims["rows"], op.dims["cols"], op.dtype.bits / 8, reduction)


@OP_KERNELS.register("gather")
def _gather(op: Op) -> LaunchedKernel:
    return Gather(op.dims["rows"], op.dims["row_bytes"], op.dtype.bits / 8)


@OP_KERNELS.register("topk")
def _topk(op: Op) -> LaunchedKernel:
    return Topk(op.dims["rows"], op.dims["cols"], op.dims["kept"], op.dtype.bits / 8)


OP_KERNELS.register("launched")(launched_kernel)
