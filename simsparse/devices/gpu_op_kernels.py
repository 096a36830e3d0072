"""The kernel that each op kind without matrix products is on a GPU, by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simsparse.core import Op
from simsparse.devices.gpu_aten import launched_kernel
from simsparse.devices.gpu_launched import Gather, Kernel, NormRows, Reduce, SoftmaxRows, Stream, Topk
from simsparse.devices.gpu_norm import Norm
from simsparse.devices.gpu_reduce import Reduction

REDUCED = 64
"""An op known by its bytes alone that reads at least so many times what it writes is a reduction."""


def _by_bytes(op: Op) -> Kernel:
    """An elementwise kernel of contiguous operands, or a sum where little is written."""
    read, write, flops = op.weight_bytes + op.input_bytes, op.output_bytes, op.flops
    size = op.dtype.bits / 8
    if read >= REDUCED * write and read >= REDUCED * size:
        outputs = max(1.0, write / size)
        return Reduce(outputs, read / size / outputs, size, flops=max(0.0, flops - read / size))
    return Stream(max(read, write) / size, read, write, flops=flops)


def _norm(op: Op) -> Kernel:
    norm = Norm.LAYER if op.dims["centred"] else Norm.RMS
    return NormRows(norm, op.dims["rows"], op.dims["cols"], op.dtype.bits / 8)


def _softmax(op: Op) -> Kernel:
    return SoftmaxRows(op.dims["rows"], op.dims["cols"], op.dtype.bits / 8)


def _reduce(op: Op) -> Kernel:
    reduction = Reduction.MAX if op.label in ("max", "min") else Reduction.SUM
    return Reduce(op.dims["rows"], op.dims["cols"], op.dtype.bits / 8, reduction)


def _gather(op: Op) -> Kernel:
    return Gather(op.dims["rows"], op.dims["row_bytes"], op.dtype.bits / 8)


def _topk(op: Op) -> Kernel:
    return Topk(op.dims["rows"], op.dims["cols"], op.dims["kept"], op.dtype.bits / 8)


OP_KERNELS: Mapping[str, Callable[[Op], Kernel]] = {
    "elementwise": _by_bytes, "other": _by_bytes, "launched": launched_kernel, "norm": _norm,
    "softmax": _softmax, "reduce": _reduce, "gather": _gather, "topk": _topk, "scan": _by_bytes,
}  # fmt: skip
"""A scan is priced by its bytes and FLOPs, its steps taken to run in parallel; that is unvalidated."""
