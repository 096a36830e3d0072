# SPDX-License-Identifier: Apache-2.0
"""What goes into and comes out of the GPU's GEMM model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu import GpuNarrowGemm
from simsparse.config.parts.gpu_gemm import GpuDerating, GpuGemm
from simsparse.config.parts.gpu_tile_kernels import GpuGemmKernels
from simsparse.config.parts.gpu_weight_only import GpuWeightOnly, GpuWeightOnlyFew
from simsparse.core.varying_arrays import scattered
from simsparse.devices.part_numbers import PartNumbers

NO_KERNELS = GpuGemmKernels()
Floats = NDArray[np.float64]
DimArray = NDArray[np.int64]
Flags = NDArray[np.bool_]


class GemmUnit(IntEnum):
    """Which arithmetic a GEMM uses."""

    HALF = 0
    """bf16 or fp16 on tensor cores."""
    BYTE = 1
    """fp8 on tensor cores."""
    FP32 = 2
    """fp32 on CUDA cores."""
    INT8 = 3
    """int8 on tensor cores."""
    BYTE_ROW = 4
    """fp8 on tensor cores, with one scale per row of x and of w."""
    WEIGHT8 = 5
    """16-bit inputs on tensor cores, weights of 8 bits widened on the way."""
    WEIGHT4 = 6
    """The same with weights of 4 bits."""
    BYTE_BLOCK = 7
    """fp8 on tensor cores, with one scale per 128 values of a row of x and per square of 128 of w."""
    TF32 = 8
    """fp32 values rounded to tf32 on tensor cores, as torch runs fp32 where it may."""


WEIGHT_ONLY = {GemmUnit.WEIGHT8: "int8", GemmUnit.WEIGHT4: "int4"}
"""Type of the weights of units that widen them."""


UNITS_24 = (GemmUnit.HALF, GemmUnit.BYTE, GemmUnit.INT8)
"""Units that a library may have kernels of 2:4 weights for."""


class GemmGroup(NamedTuple):
    """The GEMMs of a list that run on the same kind of kernel, and where in the list they are."""

    unit: GemmUnit
    sparse24: bool
    place: NDArray[np.intp]
    shapes: GemmShapes


@dataclass(frozen=True)
class GemmShapes:
    """GEMMs ``y[m, n] = x[m, k] @ w[n, k].T``, one array element each.

    ``m`` tokens, ``n`` outputs, ``k`` inputs; ``unit`` is a GemmUnit; ``value_bytes`` of an element
    of x and w; ``sparse24``, the weight is stored 2:4; ``in_l2``, operands are in the L2 cache;
    ``batch`` products of this shape, each with operands of its own, run in one launch. ``weight_share``: bytes of w in
    device memory over those of a dense w; weights are decoded on their way to the tensor cores. None: all are dense.
    The kernel runs in a loop over ``weight_sets`` sets of weights and ``input_sets`` of inputs. None: nothing of them
    is left in the L2 when it starts.
    """

    m: DimArray
    n: DimArray
    k: DimArray
    unit: DimArray
    value_bytes: Floats
    sparse24: Flags
    in_l2: Flags
    batch: DimArray
    weight_share: Floats | None = None
    weight_sets: Floats | None = None
    input_sets: Floats | None = None

    @cached_property
    def stored(self) -> Floats:
        """``weight_share`` of each GEMM."""
        return np.ones(len(self.m)) if self.weight_share is None else self.weight_share

    @cached_property
    def sets(self) -> tuple[Floats, Floats]:
        """``weight_sets`` and ``input_sets`` as columns (GEMMs, 1), infinite where nothing is left."""
        cold = np.full(len(self.m), np.inf)
        weights, inputs = (cold if sets is None else sets for sets in (self.weight_sets, self.input_sets))
        return weights[:, None], inputs[:, None]

    @cached_property
    def columns(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """m, n, k, bytes of a value and batch as columns (GEMMs, 1)."""
        m, n, k, value_bytes, batch = (np.asarray(column, np.float64)[:, None] for column in
                                       (self.m, self.n, self.k, self.value_bytes, self.batch))  # fmt: skip
        return m, n, k, value_bytes, batch

    @cached_property
    def groups(self) -> tuple[GemmGroup, ...]:
        """The GEMMs by kind of kernel; only those of UNITS_24 have a 2:4 kernel."""
        sparse, found = self.sparse24 & np.isin(self.unit, UNITS_24), []
        for unit in GemmUnit:
            for kind in (False, True):
                place = np.flatnonzero((self.unit == unit) & (sparse == kind))
                if len(place):
                    found.append(GemmGroup(unit, kind, place, self.take(place)))
        return tuple(found)

    def take(self, chosen: NDArray[np.intp] | slice) -> GemmShapes:
        """The GEMMs at some places."""
        optional = (self.weight_share, self.weight_sets, self.input_sets)
        return GemmShapes(
            self.m[chosen], self.n[chosen], self.k[chosen], self.unit[chosen], self.value_bytes[chosen],
            self.sparse24[chosen], self.in_l2[chosen], self.batch[chosen],
            *(None if each is None else each[chosen] for each in optional),
        )  # fmt: skip


@dataclass(frozen=True)
class TensorParameters(PartNumbers):
    """Dense tensor-core kernels, SI units and bytes a cycle; see GpuTensorGemm. NaN: a library's own kernels run."""

    launch: float
    overhead: float
    tensor: float
    sustained: float
    port: float
    memory: float
    stream: float
    split_launch: float
    clustered: float
    spread: float


@dataclass(frozen=True)
class Sparse24Parameters(PartNumbers):
    """2:4 kernels, SI units and bytes a cycle; see GpuSparse24Gemm."""

    launch: float
    tensor: float
    sustained: float
    cache: float
    sharing: float
    concurrency: float
    padding_0: float
    padding_64: float
    padding_128: float
    padding_192: float
    padding_concurrency: float
    padding_share: float
    memory: float
    pad_launch: float
    pad_memory: float
    schedule_launch: float
    split_launch: float
    reduce_launch: float


@dataclass(frozen=True)
class VectorParameters(PartNumbers):
    """fp32 kernels on CUDA cores, SI units; see GpuVectorGemm. NaN: a library's own kernels run."""

    vector_launch: float
    stream: float
    launch: float
    step: float
    memory: float
    arithmetic: float


@dataclass(frozen=True)
class Derating:
    """Measured time over modelled time on a grid: ``factor[i, j, l]`` at ``m[i]``, ``n[j]``, ``k[l]``."""

    m: Floats
    n: Floats
    k: Floats
    factor: Floats

    @classmethod
    def of(cls, part: GpuDerating | None) -> Derating | None:
        """The grid that a part's YAML gives."""
        return (
            None
            if part is None
            else cls(*(np.array(values, dtype=np.float64) for values in (part.m, part.n, part.k, part.factor)))
        )

    def at(self, m: DimArray, n: DimArray, k: DimArray) -> Floats:
        """Factors at shapes: trilinear in the logarithms, constant beyond the grid."""
        corners = [_bracket(grid, size) for grid, size in ((self.m, m), (self.n, n), (self.k, k))]
        total = np.zeros(np.shape(m))
        for i, wi in corners[0]:
            for j, wj in corners[1]:
                for h, wh in corners[2]:
                    total += wi * wj * wh * self.factor[i, j, h]
        return total


def _bracket(grid: Floats, size: DimArray) -> tuple[tuple[NDArray[np.intp], Floats], ...]:
    """The grid indexes below and above each size, and their weights."""
    place = np.interp(np.log(size), np.log(grid), np.arange(len(grid)))
    below = np.minimum(place.astype(np.intp), len(grid) - 2)
    above = place - below
    return (below, 1.0 - above), (below + 1, above)


@dataclass(frozen=True)
class GemmParameters:
    """Fitted parameters by kind of kernel; ``sparse24`` is None where the card has no such path."""

    half: TensorParameters
    fp8: TensorParameters
    int8: TensorParameters
    vector: VectorParameters
    sparse24: Sparse24Parameters | None
    sparse24_derating: Derating | None

    @classmethod
    def of(cls, gemm: GpuGemm) -> GemmParameters:
        """The parameters that a part's YAML gives."""
        sparse24 = None if gemm.sparse24 is None else Sparse24Parameters.of(gemm.sparse24)
        return cls(
            TensorParameters.of(gemm.half), TensorParameters.of(gemm.fp8), TensorParameters.of(gemm.int8),
            VectorParameters.of(gemm.vector), sparse24, Derating.of(gemm.sparse24_derating),
        )  # fmt: skip


@dataclass(frozen=True)
class GemmMachine:
    """The datasheet side of the model, SI units.

    ``flops``: dense peak at ``clock_hz`` by GemmUnit, flop/s. ``speed``: arithmetic rate of
    the tensor cores over the one that the power limit lets them hold. ``stated``: the machine for which the library
    chooses kernels, where that is another one: as its file has it, before overrides.
    """

    sms: int
    clock_hz: float
    flops: tuple[float, ...]
    hbm_bytes_per_s: float
    l2_bytes: float
    gemm: GemmParameters
    speed: float = 1.0
    kernels: GpuGemmKernels = NO_KERNELS
    weight_only: GpuWeightOnly | None = None
    weight_only_few: GpuWeightOnlyFew | None = None
    narrow: GpuNarrowGemm | None = None
    stated: GemmMachine | None = None

    @property
    def chosen_for(self) -> GemmMachine:
        """The machine for which the library chooses kernels."""
        return self.stated or self


@dataclass(frozen=True)
class GemmTimes:
    """Seconds of each GEMM, and of what it consists of; compute and memory overlap."""

    latency_s: Floats
    compute_s: Floats
    memory_s: Floats
    launch_s: Floats

    @classmethod
    def joined(cls, parts: Sequence[tuple[NDArray[np.intp], GemmTimes]], count: int) -> GemmTimes:
        """The times of ``count`` GEMMs from those of parts, each with the places of its GEMMs in ascending order."""
        if len(parts) == 1:
            return parts[0][1]
        rows = [(place, (own.latency_s, own.compute_s, own.memory_s, own.launch_s)) for place, own in parts]
        return cls(*scattered(rows, 4, count))

    def where(self, chosen: Flags, other: GemmTimes) -> GemmTimes:
        """These times where ``chosen``, those of ``other`` elsewhere."""
        return GemmTimes(
            np.where(chosen, self.latency_s, other.latency_s), np.where(chosen, self.compute_s, other.compute_s),
            np.where(chosen, self.memory_s, other.memory_s), np.where(chosen, self.launch_s, other.launch_s),
        )  # fmt: skip

    def scaled(self, factor: Floats) -> GemmTimes:
        """All times multiplied by ``factor``."""
        return GemmTimes(
            self.latency_s * factor, self.compute_s * factor, self.memory_s * factor, self.launch_s * factor
        )
