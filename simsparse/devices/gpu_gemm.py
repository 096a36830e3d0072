"""Seconds of ``y[m, n] = x[m, k] @ w[n, k].T`` on a GPU, replayed in a CUDA graph."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_gemm import GpuGemm

Floats = NDArray[np.float64]


class GemmUnit(IntEnum):
    """Which arithmetic a GEMM uses."""

    HALF = 0
    """bf16 or fp16 on tensor cores."""
    BYTE = 1
    """fp8 or int8 on tensor cores."""
    FP32 = 2
    """fp32 on CUDA cores."""


@dataclass(frozen=True)
class GemmShapes:
    """GEMMs, one array element each; scalars are broadcast.

    ``m`` tokens, ``n`` outputs, ``k`` inputs; ``unit`` is a GemmUnit; ``value_bytes`` of an element of
    x and w; ``sparse24``, the weight is stored 2:4; ``in_l2``, the weight is already in the L2 cache.
    """

    m: NDArray[np.int64]
    n: NDArray[np.int64]
    k: NDArray[np.int64]
    unit: NDArray[np.int64]
    value_bytes: Floats
    sparse24: NDArray[np.bool_]
    in_l2: NDArray[np.bool_]


@dataclass(frozen=True)
class GemmParameters:
    """Fitted parameters, SI units; see GpuGemm."""

    launch: float
    memory: float
    compute: float

    @classmethod
    def of(cls, gemm: GpuGemm) -> GemmParameters:
        """The parameters that a part's YAML gives."""
        return cls(gemm.launch.si, gemm.memory.si, gemm.compute.si)


@dataclass(frozen=True)
class GemmMachine:
    """The datasheet side of the model, SI units.

    ``flops``: dense peak at boost clock by GemmUnit (HALF, BYTE, FP32), flop/s.
    """

    sms: int
    clock_hz: float
    flops: tuple[float, float, float]
    hbm_bytes_per_s: float
    l2_bytes: float
    gemm: GemmParameters


@dataclass(frozen=True)
class GemmTimes:
    """Seconds of each GEMM, and of what it consists of; compute and memory overlap."""

    latency_s: Floats
    compute_s: Floats
    memory_s: Floats
    launch_s: Floats


def gemm_seconds(shapes: GemmShapes, machine: GemmMachine) -> GemmTimes:
    """Seconds of each GEMM alone on the machine."""
    m, n, k = (np.asarray(size, dtype=np.float64) for size in (shapes.m, shapes.n, shapes.k))
    gemm = machine.gemm
    weight = n * k * shapes.value_bytes * np.where(shapes.sparse24, 0.5625, 1.0)
    moved = np.where(shapes.in_l2, 0.0, weight) + shapes.value_bytes * m * k + 2.0 * m * n
    memory = moved / (gemm.memory * machine.hbm_bytes_per_s)
    compute = 2.0 * m * n * k / (gemm.compute * np.asarray(machine.flops)[shapes.unit])
    launch = np.full(compute.shape, gemm.launch)
    return GemmTimes(launch + np.maximum(compute, memory), compute, memory, launch)
