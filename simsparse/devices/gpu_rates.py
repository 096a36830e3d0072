# SPDX-License-Identifier: Apache-2.0
"""Rates of a GPU for its products: peaks by type, and seconds of GEMMs at the rate that its power limit allows."""

from __future__ import annotations

from dataclasses import replace

from simsparse.config.parts.gpu import GpuCompute, GpuPart
from simsparse.config.parts.gpu_gemm import GpuGemm
from simsparse.core import DType
from simsparse.core.memo import by_identity
from simsparse.devices.gpu_gemm import GemmMachine, GemmParameters, GemmShapes, GemmTimes, gemm_seconds


@by_identity(maxsize=16)
def steady_times(part: GpuPart, gemms: GemmShapes) -> GemmTimes:
    """Seconds of each GEMM at the rate that the power limit lets the card hold."""
    return gemm_times(part, gemms)


def gemm_times(part: GpuPart, gemms: GemmShapes, speed: float = 1.0) -> GemmTimes:
    """Seconds of each GEMM; ``speed`` as of ``gemm_machine``."""
    return gemm_seconds(gemms, gemm_machine(part, speed))


def gemm_machine(part: GpuPart, speed: float = 1.0) -> GemmMachine:
    """What the GEMM model needs to know of the part; ``speed`` is its arithmetic rate over the one that its power
    limit lets it hold. Kernels are chosen for the card as its file states it."""
    machine = _machine(part, speed)
    return machine if part.stated is part else replace(machine, stated=_machine(part.stated, speed))


def _machine(part: GpuPart, speed: float) -> GemmMachine:
    compute = part.compute
    return GemmMachine(
        compute.sms.whole, compute.clock.si, peaks(compute), part.memory.bandwidth.si, part.l2.capacity.si,
        _parameters(part.gemm), speed, part.kernels.gemm, part.kernels.weight_only,
        part.kernels.weight_only_few, part.narrow,
    )  # fmt: skip


@by_identity(maxsize=64)
def peaks(compute: GpuCompute) -> tuple[float, ...]:
    """Dense peak of each GemmUnit, flop/s."""
    half = max(rate.si for dtype, rate in compute.tensor.items() if DType.parse(dtype).bits == 16)
    byte = max((rate.si for dtype, rate in compute.tensor.items() if DType.parse(dtype).bits == 8), default=half)
    tf32 = compute.tensor[DType.TF32].si if DType.TF32 in compute.tensor else compute.vector.si
    return half, byte, compute.vector.si, byte, byte, half, half, byte, tf32


@by_identity(maxsize=64)
def _parameters(gemm: GpuGemm) -> GemmParameters:
    return GemmParameters.of(gemm)


def peak(part: GpuPart, dtype: DType) -> float:
    return part.compute.vector.si if dtype is DType.FP32 else part.compute.tensor[dtype].si
