# SPDX-License-Identifier: Apache-2.0
"""Seconds of ``y[m, n] = x[m, k] @ w[n, k].T`` on a GPU, replayed in a CUDA graph.

Dense GEMMs whose kernels the library describes: simsparse.devices.gpu_tile_kernels; others on tensor
cores: simsparse.devices.gpu_gemm_tiles. 2:4 sparse ones as PyTorch runs them:
simsparse.devices.gpu_gemm_sparse24. Weights narrower than inputs: simsparse.devices.gpu_weight_only.
fp32 runs on CUDA cores: the longer of bytes and arithmetic; of two to four tokens, simsparse.devices.gpu_gemm_narrow.
What 2:4 kernels leave over is a smooth derating on a coarse grid of m, n and k, for 16-bit GEMMs.

Parameters are fitted by tests/validation/fit_gpu_gemm.py. Left out: the library's odd choices (for
some m between 300 and 900 that no tile divides, cuBLAS picks tiles that take up to twice as long),
clocks that change with temperature, GEMMs that share the card.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simsparse.core.memo import by_identity
from simsparse.devices.gpu_gemm_library import (
    LibraryKernels,
    has_kernel,
    library_kernels,
    library_seconds,
    sparse24_byte_seconds,
)
from simsparse.devices.gpu_gemm_narrow import with_narrow
from simsparse.devices.gpu_gemm_sparse24 import sparse24_seconds
from simsparse.devices.gpu_gemm_tiles import TensorCard, dense_seconds
from simsparse.devices.gpu_gemm_types import (
    WEIGHT_ONLY,
    Derating,
    Floats,
    GemmGroup,
    GemmMachine,
    GemmParameters,
    GemmShapes,
    GemmTimes,
    GemmUnit,
    VectorParameters,
)
from simsparse.devices.gpu_weight_only import weight_only_seconds

__all__ = ["GemmMachine", "GemmParameters", "GemmShapes", "GemmTimes", "GemmUnit", "gemm_seconds"]


def gemm_seconds(shapes: GemmShapes, machine: GemmMachine) -> GemmTimes:
    """Seconds of each GEMM alone on the machine.

    ``sparse24`` counts for GEMMs on a machine whose library has such kernels of their type; others run dense.
    """
    kernels = library_kernels(machine.kernels)
    parts: list[tuple[NDArray[np.intp], GemmTimes]] = []
    for group in shapes.groups:
        if group.unit in WEIGHT_ONLY:
            parts.append((group.place, weight_only_seconds(group.unit, group.shapes, machine)))
            continue
        if group.sparse24 and group.unit in kernels.sparse24:
            parts.append((group.place, sparse24_byte_seconds(group.unit, group.shapes, machine, kernels)))
            continue
        sparse = group.sparse24 and group.unit is GemmUnit.HALF and machine.gemm.sparse24 is not None
        tiled, other = (None, group) if sparse else _split(group, kernels)
        if tiled:
            parts.append((tiled.place, library_seconds(tiled.unit, tiled.shapes, machine, kernels)))
        if other:
            parts.append((other.place, _group_seconds(other, machine)))
    return with_narrow(GemmTimes.joined(parts, len(shapes.m)), shapes, machine)


@by_identity(maxsize=64)
def _split(group: GemmGroup, kernels: LibraryKernels) -> tuple[GemmGroup | None, GemmGroup | None]:
    """Those of dense GEMMs for which the library has tiled kernels, and the others; None where there are none."""
    tiled = has_kernel(group.unit, group.shapes, kernels)
    if tiled.all() or not tiled.any():
        return (group, None) if tiled.all() else (None, group)
    own, others = (
        group._replace(place=group.place[chosen], shapes=group.shapes.take(chosen))
        for chosen in (np.flatnonzero(tiled), np.flatnonzero(~tiled))
    )
    return own, others


def _group_seconds(group: GemmGroup, machine: GemmMachine) -> GemmTimes:
    unit, shapes, gemm, peak = group.unit, group.shapes, machine.gemm, machine.flops[group.unit]
    if unit is GemmUnit.FP32:
        return vector_seconds(shapes, machine, gemm.vector, peak)
    if group.sparse24 and unit is GemmUnit.HALF and gemm.sparse24 is not None:
        return _derated(sparse24_seconds(shapes, machine, gemm.sparse24, 2.0 * peak), shapes, gemm.sparse24_derating)
    card = TensorCard.of(machine, unit)
    return dense_seconds(shapes, card, TensorCard.of(machine.stated, unit) if machine.stated else card)


def _derated(times: GemmTimes, shapes: GemmShapes, derating: Derating | None) -> GemmTimes:
    return times if derating is None else times.scaled(_factors(derating, shapes))


@by_identity(maxsize=64)
def _factors(derating: Derating, shapes: GemmShapes) -> Floats:
    """Factors of a grid at shapes; machines that differ in rates alone share both."""
    return derating.at(shapes.m, shapes.n, shapes.k)


def vector_seconds(shapes: GemmShapes, machine: GemmMachine, vector: VectorParameters, peak: float) -> GemmTimes:
    """Seconds of fp32 GEMMs on CUDA cores whose peak is ``peak`` flop/s."""
    m, n, k, batch = (size.astype(np.float64) for size in (shapes.m, shapes.n, shapes.k, shapes.batch))
    moved = batch * shapes.value_bytes * (np.where(shapes.in_l2, 0.0, k * (n * shapes.stored + m)) + m * n)
    single = m == 1
    memory = moved / (np.where(single, vector.stream, vector.memory) * machine.hbm_bytes_per_s)
    arithmetic = 2.0 * batch * m * n * k / (vector.arithmetic * peak)
    compute = np.where(single, arithmetic, np.maximum(arithmetic, vector.step * k))
    launch = np.where(single, vector.vector_launch, vector.launch)
    return GemmTimes(launch + np.maximum(compute, memory), compute, memory, launch)
