# SPDX-License-Identifier: Apache-2.0
"""Kernels of mixture-of-experts layers in a kernel library: which one runs, its tiles, and what they cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from simsparse.config.quantity import Bytes, Frozen, Ratio, Seconds, Share, Whole

MoeKernel = Literal["loop", "grouped", "fused"]
"""``loop``: one GEMM per matrix and expert that is hit; ``grouped``: one grouped GEMM per matrix;
``fused``: a serving engine's kernels, which sort the assignments, gather tokens and add up the experts' outputs."""

TileRule = Literal["vllm", "vllm-fp8", "vllm-fp8-block", "sglang", "triton-kernels", "cutlass"]
"""How a library picks the tile: simsparse.devices.gpu_moe_tiles."""


class GpuGroupedGemm(Frozen):
    """A GEMM kernel that takes the tokens of many experts in one launch (simsparse.devices.gpu_grouped).

    ``block``: cycles to start and end a tile; ``latency``: cycles of a step along k whose operands are not
    there yet; ``port``: bytes per cycle that an SM reads from L2; ``tensor_R``: share of the tensor peak that
    tiles of R rows reach; ``memory``: share of the HBM peak; ``stream``: most bytes per cycle that an SM draws from
    memory, where that is known; ``resident``: share of the L2 below which buffers
    that are used in a loop stay there; ``join``: exponent of the norm that joins times of overlapping
    resources, 1 where they add up; ``unaligned``: how much longer loads of weights take whose rows are not
    multiples of 16 bytes, ``unaligned_16`` of 16 elements; ``empty``: cycles of a thread block without work.
    ``shared`` and ``warps``: shared memory and warps of an SM, which bound the thread blocks on it.
    """

    block: Ratio
    latency: Ratio
    port: Ratio
    tensor_16: Share
    tensor_32: Share
    tensor_64: Share
    tensor_128: Share
    memory: Share
    stream: Ratio | None = None
    resident: Ratio
    join: Ratio
    unaligned: Ratio
    unaligned_16: Ratio
    empty: Ratio
    shared: Bytes
    warps: Whole

    @model_validator(mode="after")
    def _joins(self) -> GpuGroupedGemm:
        if self.join.si < 1:
            raise ValueError(
                f"join {self.join.text!r} is under 1: overlapping resources can't take longer than their sum"
            )
        return self


class GpuFusedMoe(Frozen):
    """A fused kernel of one type of weights (simsparse.devices.gpu_moe.fused_seconds).

    ``weight_bits``: bits per weight, scales included. ``launch``: fixed seconds of all kernels of a layer;
    ``few``: the same where so few experts are hit that the library does not sort; ``sort``: seconds per
    assignment of a token to an expert; ``quantize``: fixed seconds of kernels that quantize activations, 0
    where there are none. ``activation``, ``combine``: share of the HBM peak of the kernels between the GEMMs
    and of the one that adds up the experts' outputs.
    """

    tiles: TileRule
    weight_bits: Ratio
    launch: Seconds
    few: Seconds
    sort: Seconds
    quantize: Seconds
    activation: Share
    combine: Share
    gemm: GpuGroupedGemm


class GpuGroupedMoe(Frozen):
    """A grouped GEMM as a kernel of its own; ``launch`` is its fixed seconds."""

    tiles: TileRule
    launch: Seconds
    gemm: GpuGroupedGemm


class GpuMoe(Frozen):
    """MoE layers in a library: the ``kernel`` that runs, fused kernels by type of weights, the grouped GEMM."""

    kernel: MoeKernel
    fused: dict[str, GpuFusedMoe] = Field(default_factory=dict)
    grouped: GpuGroupedMoe | None = None
