# SPDX-License-Identifier: Apache-2.0
"""Products of 16-bit inputs by 8-bit or 4-bit weights, which a library widens on their way to the multipliers.

Three forms: tiles like those of other GEMMs (TensorRT-LLM's CUTLASS kernels), beside them kernels of few tokens that
multiply rows of weights without tensor cores (its batched matrix-vector kernels), of which its build takes the faster;
and kernels that widen the weights again for every few tokens (PyTorch's ``_weight_int4pack_mm`` and
``_weight_int8pack_mm``), whose time grows with the tokens as if nothing were shared. Left out: the packing of weights.
"""

from __future__ import annotations

import numpy as np

from simsparse.config.parts.gpu_tile_kernels import GpuTileKernel
from simsparse.config.parts.gpu_weight_only import GpuRowKernel
from simsparse.core.memo import by_identity
from simsparse.core.varying_arrays import filled
from simsparse.devices.gpu_gemm_library import tile_card
from simsparse.devices.gpu_gemm_types import WEIGHT_ONLY, Flags, Floats, GemmMachine, GemmShapes, GemmTimes, GemmUnit
from simsparse.devices.gpu_tile_kernels import tile_kernel_seconds
from simsparse.devices.gpu_tile_numbers import TileKernel
from simsparse.devices.gpu_vector_kernels import vector_kernel_seconds
from simsparse.errors import MappingError


def weight_only_seconds(unit: GemmUnit, shapes: GemmShapes, machine: GemmMachine) -> GemmTimes:
    """Seconds of products of one unit of WEIGHT_ONLY. Raises MappingError where the library has no such kernel."""
    part = (machine.weight_only or {}).get(WEIGHT_ONLY[unit])  # type: ignore[call-overload]
    if part is None:
        raise MappingError(f"no kernel of 16-bit inputs and {WEIGHT_ONLY[unit]} weights")
    if isinstance(part, GpuRowKernel):
        return row_kernel_seconds(shapes, machine, part)
    tiled = tile_kernel_seconds(shapes, tile_card(unit, machine), _tile_kernel(part))
    few = (machine.weight_only_few or {}).get(WEIGHT_ONLY[unit])  # type: ignore[call-overload]
    return (
        tiled if few is None else _faster(tiled, vector_kernel_seconds(shapes, machine, few), shapes.m <= few.most.si)
    )


def _faster(tiled: GemmTimes, vector: GemmTimes, fits: Flags) -> GemmTimes:
    """The times of the faster kernel of each product, of the second only where it ``fits``."""
    takes = fits & (vector.latency_s < tiled.latency_s)
    pairs = zip(_columns(vector), _columns(tiled), strict=True)
    return GemmTimes(*(np.where(takes, few, many) for few, many in pairs))


def _columns(times: GemmTimes) -> tuple[Floats, Floats, Floats, Floats]:
    return times.latency_s, times.compute_s, times.memory_s, times.launch_s


@by_identity(maxsize=64)
def _tile_kernel(part: GpuTileKernel) -> TileKernel:
    return TileKernel.of(part)


def row_kernel_seconds(shapes: GemmShapes, machine: GemmMachine, part: GpuRowKernel) -> GemmTimes:
    """Seconds of a kernel whose outputs share nothing: as many steps of k as an SM has outputs to take in turns."""
    m, n, k, batch = (size.astype(np.float64) for size in (shapes.m, shapes.n, shapes.k, shapes.batch))
    turns = batch * m * n / (machine.sms * part.outputs.si)
    power = part.sharpness.si
    compute = part.step.si / machine.clock_hz * k * (1.0 + turns**power) ** (1.0 / power)
    memory = batch * part.weight_bytes.si * n * k / (part.memory.si * machine.hbm_bytes_per_s)
    launch = filled(len(m), part.launch.si)
    return GemmTimes(launch + compute + memory, compute, memory, launch)
