# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows of single kernels that are no GEMM and no attention: what PyTorch launches for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simsparse.config.parts.cpu import CpuPart
from simsparse.config.parts.link import LinkPart
from simsparse.core import Op, ops
from simsparse.devices.cpu import gather_seconds
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_card import Card, Floats, cached_share
from simsparse.devices.gpu_launched import (
    Gather,
    LaunchedKernel,
    Library,
    NormRows,
    Reduce,
    SoftmaxRows,
    Stream,
    Topk,
    launched_times,
)
from simsparse.devices.gpu_norm import Norm
from simsparse.devices.gpu_reduce import Reduction
from simsparse.devices.gpu_spmm import BsrKernels, CsrKernels, bsr_times, csr_times
from simsparse.devices.gpu_stream import Form, Function
from simsparse.devices.gpu_zerocopy import zerocopy_seconds
from simsparse.devices.link import copy_seconds
from simsparse.validate.comparison import Prediction, Unsupported
from simsparse.validate.measurement import Measurement

ROPE_HEADS = 32
"""Heads of a row ``rope_hf``, over which cosine and sine are broadcast."""


MEMORY_SETS = 8
"""Sets of buffers over which rows of section ``mem`` rotate. They don't say; copies of 2 MiB lie in L2, 4 MiB don't."""
DISPATCHED = "dispatch by the host takes longer than the kernel"


def predict_kernels(gpu: Gpu, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's kernels; the reason where an op is not known."""
    known = [row for row in rows if row.text("op") in _ROWS]
    rivals = {True: MEMORY_SETS, False: None}[bool(rows) and rows[0].section == "mem"]
    seconds = iter(launched_seconds(Card.of(gpu.part, rivals), gpu.part.kernels, known))
    return [
        Prediction(row, row.number("s"), float(next(seconds))) if row.text("op") in _ROWS else f"op {row.text('op')}"
        for row in rows
    ]


def predict_spmm(gpu: Gpu, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of sparse products; not of eager BSR calls that Python's dispatch outlasts."""
    return [_spmm(gpu, row) for row in rows]


def _spmm(gpu: Gpu, row: Measurement) -> Prediction | str:
    card, library = Card.of(gpu.part), gpu.part.kernels
    if row.text("op") == "spmm_csr":
        nonzeros = row.number("nnz") if "nnz" in row.fields else row.number("density") * row.whole("n") * row.whole("k")
        m, n = _columns(row, "m", "n")
        csr = CsrKernels(m, n, np.array([nonzeros]))
        return Prediction(row, row.number("s"), float(csr_times(card, library.csr, csr).latency_s[0]))
    if row.text("op") != "spmm_bsr":
        return f"op {row.text('op')}"
    bsr = BsrKernels(*_columns(row, "m", "n", "k", "block", "nnzb"))
    seconds = float(bsr_times(card, library.bsr, bsr).latency_s[0])
    eager = row.fields.get("mode", "eager") == "eager"
    if eager and seconds < library.bsr.dispatch.si:
        return DISPATCHED
    return Prediction(row, row.number("s"), seconds)


def _columns(row: Measurement, *names: str) -> tuple[Floats, ...]:
    return tuple(np.array([row.whole(name)], np.float64) for name in names)


def predict_zerocopy(gpu: Gpu, link: LinkPart, host: CpuPart, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of gathers from host memory: by the GPU's threads, or by the host with one copy after."""
    return [_zerocopy(gpu, link, host, row) for row in rows]


def _zerocopy(gpu: Gpu, link: LinkPart, host: CpuPart, row: Measurement) -> Prediction | str:
    rows, size = row.whole("rows"), row.whole("row_bytes")
    match row.text("op"):
        case "zerocopy_gather":
            shape = (np.array(float(value)) for value in (rows, size, row.count("offset")))
            seconds = float(zerocopy_seconds(gpu.part.kernels.zerocopy, link.bandwidth.si, *shape))
        case "cpu_gather_then_copy":
            gathered = gather_seconds(host, rows, size)
            if gathered is None:
                return f"{host.name} states no gather"
            seconds = gathered + copy_seconds(link, rows * size)
        case other:
            return f"op {other}"
    return Prediction(row, row.number("s"), seconds)


@dataclass(frozen=True)
class Launches:
    """The kernels of one row, and the bytes of all tensors that they touch."""

    kernels: Sequence[LaunchedKernel]
    touched: float


def launched_seconds(card: Card, library: Library, rows: Sequence[Measurement]) -> Floats:
    """Seconds of each row's kernels together. Raises Unsupported for an unknown op."""
    found = [launches_of(row) for row in rows]
    cached = cached_share(card, np.array([launches.touched for launches in found]))
    kernels = [kernel for launches in found for kernel in launches.kernels]
    owner = np.repeat(np.arange(len(rows)), [len(launches.kernels) for launches in found])
    times = launched_times(card, library, kernels, cached[owner])
    return np.asarray(np.bincount(owner, times.latency_s, len(rows)), np.float64)


def launches_of(row: Measurement) -> Launches:
    """The kernels of a row. Raises Unsupported for an unknown op."""
    try:
        build = _ROWS[row.text("op")]
    except KeyError:
        raise Unsupported(f"op {row.text('op')}") from None
    return build(row)


def _one(kernel: LaunchedKernel) -> Launches:
    return Launches([kernel], kernel.moved)


def _elementwise(reads: int, writes: float, form: Form = Form.VECTOR, function: Function = Function.PLAIN
                 ) -> Callable[[Measurement], Launches]:  # fmt: skip
    """One kernel that reads and writes so many tensors of ``bytes``, of 16-bit elements."""

    def build(row: Measurement) -> Launches:
        size = row.whole("bytes")
        return _one(Stream(size / 2, reads * size, writes * size, form, function))

    return build


def _silu_mul(row: Measurement) -> Launches:
    size = row.whole("bytes")
    silu = Stream(size / 2, size, size, function=Function.SILU)
    return Launches([silu, Stream(size / 2, 2 * size, size, fresh=size)], 4 * size)


def _rope(row: Measurement) -> Launches:
    """x * cos + rotate_half(x) * sin: product, negated half, concatenation, product, sum."""
    size = row.whole("bytes")
    elements, angles = size / 2, size / ROPE_HEADS
    return Launches(
        [
            Stream(elements, size + angles, size, Form.STRIDED),
            Stream(elements / 2, size / 2, size / 2, Form.STRIDED),
            Stream(elements, size, size, Form.CONCATENATED, fresh=size / 2),
            Stream(elements, size + angles, size, Form.STRIDED, fresh=size),
            Stream(elements, 2 * size, size, fresh=2 * size),
        ],
        6 * size,
    )  # fmt: skip


def _unfused_rms(row: Measurement) -> Launches:
    """To fp32, square, mean, sum and root of one value per row, product, to 16 bits, weight."""
    rows, columns = row.whole("rows"), row.whole("d")
    elements = rows * columns
    wide, narrow = 4.0 * elements, 2.0 * elements
    scalars = Stream(rows, 4.0 * rows, 4.0 * rows, fresh=4.0 * rows)
    return Launches(
        [
            Stream(elements, narrow, wide, Form.WIDENING), Stream(elements, wide, wide, fresh=wide),
            Reduce(rows, columns, 4.0, fresh=wide), scalars, scalars,
            Stream(elements, wide, wide, Form.STRIDED, fresh=wide),
            Stream(elements, wide, narrow, fresh=wide),
            Stream(elements, narrow, narrow, Form.STRIDED, fresh=narrow),
        ],
        13 * narrow,
    )  # fmt: skip


def _norm(norm: Norm) -> Callable[[Measurement], Launches]:
    return lambda row: _one(NormRows(norm, row.whole("rows"), row.whole("d"), _value_bytes(row)))


def _reduce(reduction: Reduction) -> Callable[[Measurement], Launches]:
    return lambda row: _one(Reduce(row.whole("rows"), row.whole("cols"), _value_bytes(row), reduction))


def _sum_all(row: Measurement) -> Launches:
    return _one(Reduce(1, row.whole("rows") * row.whole("cols"), _value_bytes(row)))


def _sum_first(row: Measurement) -> Launches:
    return _one(Reduce(row.whole("cols"), row.whole("rows"), _value_bytes(row), contiguous=False))


def _value_bytes(row: Measurement) -> float:
    return row.dtype().bits / 8


def _softmax(row: Measurement) -> Launches:
    return _one(SoftmaxRows(row.whole("rows"), row.whole("cols"), _value_bytes(row)))


def _topk(row: Measurement) -> Launches:
    return _one(Topk(row.whole("rows"), row.whole("cols"), row.whole("k"), _value_bytes(row)))


def _gather(row: Measurement) -> Launches:
    return _one(Gather(row.whole("rows"), row.whole("row_bytes"), _value_bytes(row)))


def _index_add(row: Measurement) -> Launches:
    size = _value_bytes(row)
    return _one(Gather(row.whole("rows"), row.whole("d") * size, size, adds=True))


def _copy(row: Measurement) -> Launches:
    size = row.whole("bytes")
    return _one(Stream(size / 4, size, size, Form.COPY))


def _sum_of_fp32(row: Measurement) -> Launches:
    return _one(Reduce(1, row.whole("bytes") // 4, 4.0))


_ROWS: Mapping[str, Callable[[Measurement], Launches]] = {
    "add": _elementwise(2, 1), "mul_scalar": _elementwise(1, 1), "gelu": _elementwise(1, 1, function=Function.GELU),
    "silu_mul": _silu_mul, "silu_mul_fused": _elementwise(2, 1, Form.COMPILED), "rope_hf": _rope,
    "to_fp32": _elementwise(1, 2, Form.WIDENING),
    "rms_norm": _norm(Norm.RMS), "layer_norm": _norm(Norm.LAYER), "rms_norm_hf": _unfused_rms, "softmax": _softmax,
    "sum_last": _reduce(Reduction.SUM), "amax_last": _reduce(Reduction.MAX), "argmax_last": _reduce(Reduction.ARGMAX),
    "sum_first": _sum_first, "sum_all": _sum_all, "topk": _topk,
    "embedding": _gather, "index_select": _gather, "index_add": _index_add,
    "d2d_copy": _copy, "reduce_read": _sum_of_fp32,
}  # fmt: skip


def conv_op(row: Measurement) -> Op:
    """The convolution of a row."""
    return ops.conv2d(
        row.whole("batch"), row.whole("c_in"), row.whole("c_out"), row.whole("h_in"), row.whole("w_in"),
        row.whole("kh"), row.whole("kw"), stride=row.whole("stride"), padding=row.count("padding"),
        groups=row.whole("groups") if "groups" in row.fields else 1, dtype=row.dtype(),
    )  # fmt: skip
