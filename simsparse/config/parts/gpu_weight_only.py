# SPDX-License-Identifier: Apache-2.0
"""Kernels of products whose weights are narrower than their inputs and are widened on the way to the multipliers."""

from __future__ import annotations

from typing import Literal

from simsparse.config.parts.gpu_tile_kernels import GpuTileKernel, GpuVectorKernel
from simsparse.config.quantity import Frozen, Ratio, Seconds


class GpuRowKernel(Frozen):
    """A kernel without tiles that reuse weights over tokens (simsparse.devices.gpu_weight_only).

    ``launch``: fixed seconds. ``step``: cycles per k while an SM has at most ``outputs`` of the results; more take
    their turns, the more sharply the larger ``sharpness`` is. ``memory``: share of the HBM peak at which weights are
    read; ``weight_bytes``: bytes of a weight, scales included.
    """

    launch: Seconds
    step: Ratio
    outputs: Ratio
    sharpness: Ratio
    memory: Ratio
    weight_bytes: Ratio


GpuWeightOnlyFew = dict[Literal["int8", "int4"], GpuVectorKernel]
"""A library's kernels of 16-bit inputs of few tokens by the type of the weights."""
GpuWeightOnly = dict[Literal["int8", "int4"], GpuTileKernel | GpuRowKernel]
"""A library's kernels of 16-bit inputs by the type of the weights."""
