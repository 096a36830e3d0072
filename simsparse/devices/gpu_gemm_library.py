# SPDX-License-Identifier: Apache-2.0
"""Which of a library's tiled kernels a GEMM runs, and its seconds there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_tile_kernels import GpuGemmKernels, GpuTileKernel
from simsparse.core.memo import by_identity
from simsparse.devices.gpu_gemm_types import GemmMachine, GemmShapes, GemmTimes, GemmUnit
from simsparse.devices.gpu_tile_kernels import TileCard, TileCore, tile_kernel_seconds
from simsparse.devices.gpu_tile_numbers import TileKernel

KeyT = TypeVar("KeyT")
ALIGNED_BYTES = 16
"""Bytes of which rows must be multiples for the kernels that the tensor cores are at their best with."""
MATRIX_VECTOR_TOKENS = 4
"""fp32 GEMMs of at most so many tokens run kernels for narrow matrices instead of tiles."""


@dataclass(frozen=True)
class LibraryKernels:
    """A library's tiled kernels by unit, and those of unaligned 16-bit GEMMs by the bytes rows are multiples of."""

    by_unit: dict[GemmUnit, TileKernel]
    unaligned: dict[int, TileKernel]


@by_identity(maxsize=64)
def library_kernels(section: GpuGemmKernels) -> LibraryKernels:
    """The kernels that a library's ``gemm`` section describes."""
    parts = {
        GemmUnit.HALF: section.half, GemmUnit.BYTE: section.fp8, GemmUnit.BYTE_ROW: section.fp8_row,
        GemmUnit.INT8: section.int8, GemmUnit.FP32: section.fp32,
    }  # fmt: skip
    unaligned: dict[int, GpuTileKernel | None] = {
        int(name.removeprefix("bytes")): part for name, part in (section.unaligned or {}).items()
    }
    return LibraryKernels(_kernels(parts), _kernels(unaligned))


def _kernels(parts: Mapping[KeyT, GpuTileKernel | None]) -> dict[KeyT, TileKernel]:
    return {key: TileKernel.of(part) for key, part in parts.items() if part is not None}


def alignment(shapes: GemmShapes) -> NDArray[np.int64]:
    """Bytes, at most 16, of which the rows of all three matrices are multiples."""
    size = shapes.value_bytes.astype(np.int64)
    bits = (shapes.n * np.maximum(size, 2)) | (shapes.k * size) | ALIGNED_BYTES
    return np.asarray(bits & -bits, np.int64)


def has_kernel(unit: GemmUnit, shapes: GemmShapes, kernels: LibraryKernels) -> NDArray[np.bool_]:
    """Whether the library has a tiled kernel for each GEMM of one unit."""
    if unit not in kernels.by_unit:
        return np.zeros(len(shapes.m), np.bool_)
    return shapes.m > MATRIX_VECTOR_TOKENS if unit is GemmUnit.FP32 else np.ones(len(shapes.m), np.bool_)


def library_seconds(unit: GemmUnit, shapes: GemmShapes, machine: GemmMachine, kernels: LibraryKernels) -> GemmTimes:
    """Seconds of GEMMs of one unit for which the library has kernels."""
    card = tile_card(unit, machine)
    if unit is not GemmUnit.HALF or not kernels.unaligned:
        return tile_kernel_seconds(shapes, card, kernels.by_unit[unit])
    by_size = {**kernels.unaligned, ALIGNED_BYTES: kernels.by_unit[unit]}
    parts = [(place, tile_kernel_seconds(own, card, by_size[size])) for size, place, own in _by_alignment(shapes)]
    return GemmTimes.joined(parts, len(shapes.m))


@by_identity(maxsize=64)
def _by_alignment(shapes: GemmShapes) -> tuple[tuple[int, NDArray[np.intp], GemmShapes], ...]:
    """The GEMMs of each alignment: bytes, places, shapes."""
    aligned = alignment(shapes)
    places = {size: np.flatnonzero(aligned == size) for size in np.unique(aligned).tolist()}
    return tuple((size, place, shapes.take(place)) for size, place in places.items())


def tile_card(unit: GemmUnit, machine: GemmMachine) -> TileCard:
    """The card as the kernels of a unit see it; CUDA cores are never held down by the power limit."""
    gemm = machine.gemm
    tensor = {GemmUnit.INT8: gemm.int8, GemmUnit.BYTE: gemm.fp8, GemmUnit.BYTE_ROW: gemm.fp8}.get(unit, gemm.half)
    sustained = 1.0 if unit is GemmUnit.FP32 else tensor.sustained
    core = TileCore(machine.sms, machine.clock_hz, machine.flops[unit], machine.l2_bytes)
    return TileCard(core, machine.hbm_bytes_per_s, gemm.half.memory, sustained, machine.speed)
