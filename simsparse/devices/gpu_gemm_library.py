# SPDX-License-Identifier: Apache-2.0
"""Which of a library's tiled kernels a GEMM runs, and its seconds there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_kernels import read_library
from simsparse.config.parts.gpu_tile_kernels import MATRIX_VECTOR_TOKENS, GpuGemmKernels, GpuTileKernel, GpuVectorKernel
from simsparse.core.memo import by_identity
from simsparse.devices.gpu_gemm_types import GemmMachine, GemmShapes, GemmTimes, GemmUnit
from simsparse.devices.gpu_sparse24 import stored_24
from simsparse.devices.gpu_tile_columns import TileCard, TileCore
from simsparse.devices.gpu_tile_kernels import tile_kernel_seconds
from simsparse.devices.gpu_tile_numbers import TileKernel
from simsparse.devices.gpu_vector_kernels import vector_kernel_seconds

KeyT = TypeVar("KeyT")
ALIGNED_BYTES = 16
"""Bytes of which rows must be multiples for the kernels that the tensor cores are at their best with."""
HALF_LOADS = (ALIGNED_BYTES, 4, 2)
"""Bytes that one load of a kernel takes: cuBLAS has kernels named align8, align2 and align1, none between. Seen
in profiles of an H200 for 300 shapes whose n and k were odd, even or multiples of 4, mixed; the odder one decides."""
WORD_BYTES = 4
OUTPUT_BYTES = 8
"""Alignment of int8 products whose outputs alone are no multiples of 16: of 132 such products of random shapes
profiled on an H200, 123 ran one kernel of 256 x 128 tiles."""
UNALIGNED = {
    "bytes4": (GemmUnit.HALF, WORD_BYTES), "bytes2": (GemmUnit.HALF, 2), "tf32": (GemmUnit.TF32, WORD_BYTES),
    "int8": (GemmUnit.INT8, WORD_BYTES), "int8_outputs": (GemmUnit.INT8, OUTPUT_BYTES),
}  # fmt: skip
"""Unit and bytes of a load of a library's kernels for rows that are no multiples of ALIGNED_BYTES, by name in YAML."""
TF32_RATE = 0.5
"""Rate of products of tf32 over that of 16 bits, on all cards since the A100."""
SPARSE24_UNITS = {"fp8": GemmUnit.BYTE, "int8": GemmUnit.INT8}
"""Units of 2:4 kernels by the type that a library's YAML names."""


@dataclass(frozen=True)
class LibraryKernels:
    """A library's tiled kernels by unit, those of unaligned GEMMs by unit and bytes of a load, and those of 2:4
    weights by unit, each with the share of the 2:4 peak that a card holds. ``rate``: 16-bit flop per cycle and
    multiprocessor of which the rate of ``unaligned`` is a share where they come from another architecture, else None.
    ``one``: of unaligned 16-bit GEMMs of one token.
    """

    by_unit: dict[GemmUnit, TileKernel]
    unaligned: dict[tuple[GemmUnit, int], TileKernel]
    rate: float | None
    sparse24: dict[GemmUnit, tuple[TileKernel, float]]
    one: GpuVectorKernel | None

    def loading(self, unit: GemmUnit, size: int) -> TileKernel | None:
        """The kernel of a unit whose loads take ``size`` bytes; None where it runs the one of aligned rows.

        tf32 without kernels of its own is taken to run the 16-bit ones with values of four bytes.
        """
        if size == ALIGNED_BYTES:
            return None
        found = self.unaligned.get((unit, size)) or self.unaligned.get((unit, WORD_BYTES))
        return self.unaligned.get((GemmUnit.HALF, size)) if found is None and unit is GemmUnit.TF32 else found


@by_identity(maxsize=64)
def library_kernels(section: GpuGemmKernels) -> LibraryKernels:
    """The kernels that a library's ``gemm`` section describes."""
    parts = {
        GemmUnit.HALF: section.half, GemmUnit.BYTE: section.fp8, GemmUnit.BYTE_ROW: section.fp8_row,
        GemmUnit.BYTE_BLOCK: section.fp8_block, GemmUnit.INT8: section.int8, GemmUnit.FP32: section.fp32,
        GemmUnit.TF32: section.tf32 or section.half,
    }  # fmt: skip
    own, rate = section.unaligned, None
    if own is None and (other := section.transferred) is not None:
        own, rate = read_library(other.library, other.architecture).gemm.unaligned, other.rate.si
    unaligned: dict[tuple[GemmUnit, int], GpuTileKernel | None] = {
        UNALIGNED[name]: part for name, part in (own or {}).items()
    }
    sparse24 = {
        SPARSE24_UNITS[name]: (TileKernel.of(part), part.sustained.si)
        for name, part in (section.sparse24 or {}).items()
    }
    return LibraryKernels(_kernels(parts), _kernels(unaligned), rate, sparse24, section.unaligned_one)


def _kernels(parts: Mapping[KeyT, GpuTileKernel | None]) -> dict[KeyT, TileKernel]:
    return {key: TileKernel.of(part) for key, part in parts.items() if part is not None}


def alignment(shapes: GemmShapes) -> NDArray[np.int64]:
    """Bytes of the widest loads of HALF_LOADS that the rows of all three matrices are multiples of; OUTPUT_BYTES of
    int8 ones that would take the widest but for their outputs."""
    size = shapes.value_bytes.astype(np.int64)
    bits = (shapes.n * np.maximum(size, 2)) | (shapes.k * size)
    loads = np.select([bits % load == 0 for load in HALF_LOADS[:-1]], HALF_LOADS[:-1], HALF_LOADS[-1])
    narrow = (shapes.unit == GemmUnit.INT8) & (loads == ALIGNED_BYTES) & (shapes.n % ALIGNED_BYTES > 0)
    return np.where(narrow, OUTPUT_BYTES, loads)


def has_kernel(unit: GemmUnit, shapes: GemmShapes, kernels: LibraryKernels) -> NDArray[np.bool_]:
    """Whether the library has a tiled kernel for each GEMM of one unit."""
    if unit not in kernels.by_unit:
        return np.zeros(len(shapes.m), np.bool_)
    return shapes.m > MATRIX_VECTOR_TOKENS if unit is GemmUnit.FP32 else np.ones(len(shapes.m), np.bool_)


def library_seconds(unit: GemmUnit, shapes: GemmShapes, machine: GemmMachine, kernels: LibraryKernels) -> GemmTimes:
    """Seconds of GEMMs of one unit for which the library has kernels."""
    card = tile_card(unit, machine)
    if all(kernels.loading(unit, size) is None for size in (*HALF_LOADS, OUTPUT_BYTES)):
        return tile_kernel_seconds(shapes, card, kernels.by_unit[unit])
    parts = [
        (place, _with_one(_loaded_seconds(unit, own, card, kernels, size), own, machine, kernels.one, size))
        for size, place, own in _by_alignment(shapes)
    ]
    return GemmTimes.joined(parts, len(shapes.m))


def _with_one(
    times: GemmTimes, shapes: GemmShapes, machine: GemmMachine, one: GpuVectorKernel | None, size: int
) -> GemmTimes:
    """``times`` with those of unaligned 16-bit GEMMs of one token by kernel ``one``; batches keep theirs.

    All 9 such products of random shapes profiled on an H200 ran cuBLAS's gemv.
    """
    if one is None or size == ALIGNED_BYTES or shapes.unit[0] != GemmUnit.HALF:
        return times
    chosen = (shapes.m <= one.most.si) & (shapes.batch == 1)
    return vector_kernel_seconds(shapes, machine, one).where(chosen, times) if chosen.any() else times


def _loaded_seconds(
    unit: GemmUnit, shapes: GemmShapes, card: TileCard, kernels: LibraryKernels, size: int
) -> GemmTimes:
    """Seconds of GEMMs of a unit whose loads take ``size`` bytes."""
    own = kernels.loading(unit, size)
    if own is None or kernels.rate is None:
        return tile_kernel_seconds(shapes, card, own or kernels.by_unit[unit])
    rate = kernels.rate * (TF32_RATE if unit is GemmUnit.TF32 else 1.0)
    return _transferred_seconds(shapes, card, (own, kernels.by_unit[unit]), rate)


def _transferred_seconds(
    shapes: GemmShapes, card: TileCard, kernels: tuple[TileKernel, TileKernel], rate: float
) -> GemmTimes:
    """Seconds of unaligned GEMMs by the first of ``kernels``, another architecture's, of the cycles that they take
    there at ``rate`` flop per cycle and multiprocessor.

    They are compiled for older instructions, which all cards run alike; none is faster than the second, the card's
    aligned ones.
    """
    core, seen = (each._replace(flops=rate * each.sms * each.clock_hz) for each in (card.core, card.seen))
    slow = tile_kernel_seconds(shapes, card._replace(core=core, seen=seen), kernels[0])
    fast = tile_kernel_seconds(shapes, card, kernels[1])
    return slow.where(slow.latency_s > fast.latency_s, fast)


def sparse24_byte_seconds(
    unit: GemmUnit, shapes: GemmShapes, machine: GemmMachine, kernels: LibraryKernels
) -> GemmTimes:
    """Seconds of 2:4 GEMMs of 8-bit values, for which the library has kernels."""
    kernel, sustained = kernels.sparse24[unit]
    card = tile_card(unit, machine)
    core, seen = (each._replace(flops=2.0 * each.flops) for each in (card.core, card.seen))
    return tile_kernel_seconds(_stored24(shapes), card._replace(core=core, seen=seen, sustained=sustained), kernel)


@by_identity(maxsize=64)
def _stored24(shapes: GemmShapes) -> GemmShapes:
    """The GEMMs with the bytes of 2:4 weights of their type."""
    return replace(shapes, weight_share=stored_24(8.0 * shapes.value_bytes))


@by_identity(maxsize=64)
def _by_alignment(shapes: GemmShapes) -> tuple[tuple[int, NDArray[np.intp], GemmShapes], ...]:
    """The GEMMs of each alignment: bytes, places, shapes."""
    aligned = alignment(shapes)
    places = {size: np.flatnonzero(aligned == size) for size in np.unique(aligned).tolist()}
    return tuple((size, place, shapes.take(place)) for size, place in places.items())


def tile_card(unit: GemmUnit, machine: GemmMachine) -> TileCard:
    """The card as the kernels of a unit see it; CUDA cores are never held down by the power limit."""
    gemm = machine.gemm
    tensor = {GemmUnit.INT8: gemm.int8, GemmUnit.BYTE: gemm.fp8, GemmUnit.BYTE_ROW: gemm.fp8,
              GemmUnit.BYTE_BLOCK: gemm.fp8}.get(unit, gemm.half)  # fmt: skip
    sustained = 1.0 if unit is GemmUnit.FP32 else tensor.sustained
    core, seen = (
        TileCore(each.sms, each.clock_hz, each.flops[unit], each.l2_bytes) for each in (machine, machine.chosen_for)
    )
    return TileCard(
        core, machine.hbm_bytes_per_s, gemm.half.memory, sustained, machine.speed, seen,
        machine.chosen_for.hbm_bytes_per_s,
    )  # fmt: skip
