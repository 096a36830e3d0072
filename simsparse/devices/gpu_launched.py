# SPDX-License-Identifier: Apache-2.0
"""Kernels as a framework launches them, of any class in any order, and their seconds on a card.

One value per launched kernel says what it does; ``Launched`` sorts the kernels by class, so that each
class is evaluated at once. GEMMs and attention have models of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_pointwise import (
    GpuBsrKernels,
    GpuCsrKernels,
    GpuGatherKernels,
    GpuNormKernels,
    GpuReduceKernels,
    GpuSoftmaxKernels,
    GpuStreamKernels,
    GpuTopkKernels,
)
from simsparse.core.memo import by_identity
from simsparse.core.varying_arrays import array_of, scattered
from simsparse.devices.gpu_card import Card, Floats, KernelTimes, cached_share, fresh_share
from simsparse.devices.gpu_gather import GatherKernels, gather_times
from simsparse.devices.gpu_norm import Norm, NormKernels, norm_times
from simsparse.devices.gpu_reduce import ReduceKernels, Reduction, reduce_times
from simsparse.devices.gpu_softmax import SoftmaxKernels, softmax_times
from simsparse.devices.gpu_sparse_products import BsrProduct, CsrProduct, bsr_product_times, csr_product_times
from simsparse.devices.gpu_stream import Form, Function, StreamKernels, stream_times
from simsparse.devices.gpu_topk import SortKernels, TopkKernels, sort_times, topk_times


class Library(Protocol):
    """The sections of a kernel library that the classes here read."""

    @property
    def stream(self) -> GpuStreamKernels: ...
    @property
    def reduce(self) -> GpuReduceKernels: ...
    @property
    def norm(self) -> GpuNormKernels: ...
    @property
    def softmax(self) -> GpuSoftmaxKernels: ...
    @property
    def gather(self) -> GpuGatherKernels: ...
    @property
    def topk(self) -> GpuTopkKernels: ...
    @property
    def csr(self) -> GpuCsrKernels: ...
    @property
    def bsr(self) -> GpuBsrKernels: ...


class Stream(NamedTuple):
    """An elementwise kernel: ``elements`` written, bytes ``read`` and ``write``.

    ``fresh``, here and below: bytes read that the kernel before wrote. ``flops``: arithmetic apart from
    what form and function say. ``crossed``: elements read across the order in which they lie in memory.
    """

    elements: float
    read: float
    write: float
    form: Form = Form.VECTOR
    function: Function = Function.PLAIN
    fresh: float = 0.0
    flops: float = 0.0
    crossed: float = 0.0

    @property
    def moved(self) -> float:
        """Bytes read and written."""
        return self.read + self.write


class Reduce(NamedTuple):
    """A reduction of ``inputs`` values for each of ``outputs``; ``contiguous``: along the last dimension in memory."""

    outputs: float
    inputs: float
    value_bytes: float = 2.0
    reduction: Reduction = Reduction.SUM
    contiguous: bool = True
    fresh: float = 0.0
    flops: float = 0.0

    @property
    def moved(self) -> float:
        """Bytes read and written."""
        return self.outputs * (self.inputs + 1) * self.value_bytes


def _in_and_out(rows: float, columns: float, value_bytes: float) -> float:
    """Bytes of ``rows`` of ``columns`` values, once read and once written."""
    return 2 * rows * columns * value_bytes


class NormRows(NamedTuple):
    """A fused norm of ``rows`` of ``columns`` values."""

    norm: Norm
    rows: float
    columns: float
    value_bytes: float = 2.0
    fresh: float = 0.0

    @property
    def moved(self) -> float:
        """Bytes read and written."""
        return _in_and_out(self.rows, self.columns, self.value_bytes)


class SoftmaxRows(NamedTuple):
    """A softmax of ``rows`` of ``columns`` values."""

    rows: float
    columns: float
    value_bytes: float = 2.0
    fresh: float = 0.0

    @property
    def moved(self) -> float:
        """Bytes read and written."""
        return _in_and_out(self.rows, self.columns, self.value_bytes)


class Gather(NamedTuple):
    """``rows`` of ``row_bytes`` copied by index, or added by index to a target where ``adds``."""

    rows: float
    row_bytes: float
    value_bytes: float = 2.0
    adds: bool = False
    fresh: float = 0.0

    @property
    def moved(self) -> float:
        """Bytes read and written."""
        return (2 + self.adds) * self.rows * self.row_bytes


class Topk(NamedTuple):
    """The ``kept`` largest of ``columns`` values in each of ``rows``, sorted."""

    rows: float
    columns: float
    kept: float
    value_bytes: float = 4.0
    fresh: float = 0.0

    @property
    def moved(self) -> float:
        """Bytes read and written, indexes of eight bytes included."""
        return self.rows * (self.columns * self.value_bytes + self.kept * (self.value_bytes + 8))


class Sort(NamedTuple):
    """A sort of each of ``rows`` of ``columns`` values, with indexes of eight bytes."""

    rows: float
    columns: float
    value_bytes: float = 4.0

    @property
    def moved(self) -> float:
        """Bytes read and written."""
        return self.rows * self.columns * (2 * self.value_bytes + 8)


LaunchedKernel = Stream | Reduce | NormRows | SoftmaxRows | Gather | Topk | Sort | CsrProduct | BsrProduct
KernelColumns = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Launched:
    """Launched kernels sorted by class, ready for any card.

    ``groups``: of each class the kernels' places in the list, their fields as columns, the bytes moved.
    """

    count: int
    groups: tuple[tuple[type[LaunchedKernel], NDArray[np.int64], KernelColumns, Floats], ...]

    @classmethod
    def of(cls, kernels: Sequence[LaunchedKernel]) -> Self:
        """``kernels`` in columns."""
        groups = []
        for kind in _CLASSES:
            own = [i for i, kernel in enumerate(kernels) if type(kernel) is kind]
            if own:
                columns = [np.array(column) for column in zip(*(kernels[i] for i in own), strict=True)]
                moved = np.array([kernels[i].moved for i in own], np.float64)
                groups.append((kind, np.array(own, np.int64), columns, moved))
        return cls(len(kernels), tuple(groups))

    def times(self, card: Card, library: Library, cached: Floats | None = None) -> KernelTimes:
        """Seconds of each kernel, in the order given.

        ``cached``: share of each kernel's bytes that lies in L2, apart from fresh ones; by default what
        fits beside the rivals.
        """
        parts = []
        for kind, own, columns, moved in self.groups:
            share = cached_share(card, moved) if cached is None else cached[own]
            times = _CLASSES[kind](card, library, columns, share, moved)
            parts.append((own, (times.latency_s, times.compute_s, times.memory_s, times.launch_s)))
        return KernelTimes(*scattered(parts, 4, self.count))


def launched_times(
    card: Card, library: Library, kernels: Sequence[LaunchedKernel], cached: Floats | None = None
) -> KernelTimes:
    """Seconds of each kernel, as ``Launched.times``."""
    return Launched.of(kernels).times(card, library, cached)


def _streams(card: Card, library: Library, columns: KernelColumns, cached: Floats, _: Floats) -> KernelTimes:
    return stream_times(card, library.stream, _stream_kernels(columns, cached))


@by_identity(maxsize=64)
def _stream_kernels(columns: KernelColumns, cached: Floats) -> StreamKernels:
    elements, read, write, form, function, fresh, flops, crossed = columns
    return StreamKernels(form, function, elements, flops, read, write, fresh, cached, crossed)


def _reduces(card: Card, library: Library, columns: KernelColumns, cached: Floats, moved: Floats) -> KernelTimes:
    outputs, inputs, value_bytes, reduction, contiguous, fresh, flops = columns
    share = _with_fresh(card, cached, fresh, moved)
    kernels = ReduceKernels(reduction, outputs, inputs, contiguous, value_bytes, flops, share)
    return reduce_times(card, library.reduce, kernels)


def _norms(card: Card, library: Library, columns: KernelColumns, cached: Floats, moved: Floats) -> KernelTimes:
    norm, rows, width, value_bytes, fresh = columns
    share = _with_fresh(card, cached, fresh, moved)
    return norm_times(card, library.norm, NormKernels(norm, rows, width, value_bytes, share))


def _softmaxes(card: Card, library: Library, columns: KernelColumns, cached: Floats, moved: Floats) -> KernelTimes:
    rows, width, value_bytes, fresh = columns
    share = _with_fresh(card, cached, fresh, moved)
    return softmax_times(card, library.softmax, SoftmaxKernels(rows, width, value_bytes, share))


def _gathers(card: Card, library: Library, columns: KernelColumns, cached: Floats, moved: Floats) -> KernelTimes:
    rows, row_bytes, value_bytes, adds, fresh = columns
    share = _with_fresh(card, cached, fresh, moved)
    return gather_times(card, library.gather, GatherKernels(rows, row_bytes, value_bytes, adds, share))


def _topks(card: Card, library: Library, columns: KernelColumns, _: Floats, __: Floats) -> KernelTimes:
    rows, width, kept, value_bytes, _fresh = columns
    return topk_times(card, library.topk, TopkKernels(rows, width, kept, value_bytes))


def _sorts(card: Card, library: Library, columns: KernelColumns, _: Floats, __: Floats) -> KernelTimes:
    rows, width, value_bytes = columns
    return sort_times(card, library.topk, SortKernels(rows, width, value_bytes))


def _csr_products(card: Card, library: Library, columns: KernelColumns, _: Floats, __: Floats) -> KernelTimes:
    return csr_product_times(card, library.csr, tuple(columns))


def _bsr_products(card: Card, library: Library, columns: KernelColumns, _: Floats, __: Floats) -> KernelTimes:
    return bsr_product_times(card, library.bsr, tuple(columns))


def _with_fresh(card: Card, cached: Floats, fresh: Floats, moved: Floats) -> Floats:
    """Share of a kernel's bytes in L2, with those that the kernel before wrote."""
    return array_of(cached + (1.0 - cached) * fresh_share(card.l2_bytes, fresh) * fresh / moved)


_CLASSES: Mapping[type[LaunchedKernel], Callable[[Card, Library, KernelColumns, Floats, Floats], KernelTimes]] = {
    Stream: _streams, Reduce: _reduces, NormRows: _norms, SoftmaxRows: _softmaxes, Gather: _gathers, Topk: _topks,
    Sort: _sorts, CsrProduct: _csr_products, BsrProduct: _bsr_products,
}  # fmt: skip
