"""GPUs."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from simsparse.config.hardware import PARTS
from simsparse.config.parts.gpu_gemm import GpuGemm
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    Count,
    FlopsPerSecond,
    Frozen,
    Hertz,
    Joules,
    JoulesPerByte,
    Part,
    Ratio,
    Seconds,
    Share,
    Watts,
)


class GpuCompute(Frozen):
    """Streaming multiprocessors and dense peak rates.

    ``clock`` is the boost clock at which the peaks hold. ``tensor`` are the matrix units by dtype,
    without sparsity; ``vector`` the fp32 rate of the CUDA cores; ``sparse24`` the factor by which
    2:4 weights raise the tensor peak, null where the card has no such path.
    """

    sms: Count
    clock: Hertz
    tensor: dict[str, FlopsPerSecond]
    vector: FlopsPerSecond
    sparse24: Ratio | None = None


class GpuMemory(Frozen):
    """Device memory; ``efficiency`` is the share of ``bandwidth`` that long streams reach."""

    capacity: Bytes
    bandwidth: BytesPerSecond
    efficiency: Share


class GpuCache(Frozen):
    """The L2 cache; ``bandwidth`` as a kernel that streams from it sees."""

    capacity: Bytes
    bandwidth: BytesPerSecond


class GpuLaunch(Frozen):
    """Seconds from one kernel's start to the next of an empty kernel.

    ``graph`` inside a replayed CUDA graph, ``eager`` launched one by one from the host without
    waiting, ``sync`` with a wait for the device after each.
    """

    graph: Seconds
    eager: Seconds
    sync: Seconds


class GpuStream(Frozen):
    """Kernels that only move data.

    ``resident`` is the share of the L2 up to which an operator's data is taken to lie there.
    ``reduction_bandwidth`` and ``reduction_limit``: a reduction to few values takes its bytes over
    that rate longer than a copy, at most that time.
    """

    resident: Share
    reduction_bandwidth: BytesPerSecond
    reduction_limit: Seconds


class GpuDecode(Frozen):
    """Attention of one query token per sequence (simsparse.devices.gpu_attention.decode_seconds).

    ``launch``: kernel alone, start of the pipeline included; ``combine``: the second kernel where
    the keys are split; ``tile_latency`` and ``tile_bandwidth``: time of a tile of 128 keys and values
    in one thread block; ``turnover``: time for a thread block to follow another; ``memory``: share of
    the HBM peak.
    """

    launch: Seconds
    combine: Seconds
    tile_latency: Seconds
    tile_bandwidth: BytesPerSecond
    turnover: Seconds
    memory: Share


class GpuPrefill(Frozen):
    """Attention of many query tokens (simsparse.devices.gpu_attention.prefill_seconds).

    ``launch``: kernel alone; ``tile_latency``: softmax and hand-over of a 128 x 128 tile;
    ``tensor``: share of the tensor peak in the products of a tile; ``prologue``: start of a row of
    tiles, in tiles; ``imbalance``: share of the longest row by which the last SM finishes late.
    """

    launch: Seconds
    tile_latency: Seconds
    tensor: Share
    prologue: Ratio
    imbalance: Share


class GpuAttention(Frozen):
    """Parameters of the attention models; fitted to measured attention where the part was measured."""

    decode: GpuDecode
    prefill: GpuPrefill


class GpuPower(Frozen):
    """Power limit of the card, and what it draws at working clocks whatever kernels do."""

    limit: Watts
    static: Watts


class GpuEnergy(Frozen):
    """Price of each action, power at rest left out.

    ``tensor_mac`` and ``tensor24_mac`` (2:4 weights) are joules of an executed product by dtype.
    """

    hbm_read_byte: JoulesPerByte
    hbm_write_byte: JoulesPerByte
    tensor_mac: dict[str, Joules]
    tensor24_mac: dict[str, Joules] | None = None
    vector_flop: Joules


@PARTS.register("gpu")
class GpuPart(Part):
    kind: Literal["gpu"]
    compute: GpuCompute
    memory: GpuMemory
    l2: GpuCache
    launch: GpuLaunch
    gemm: GpuGemm
    stream: GpuStream
    attention: GpuAttention
    power: GpuPower
    energy: GpuEnergy

    @model_validator(mode="after")
    def _consistent(self) -> GpuPart:
        """Every tensor rate has a price, 2:4 prices go with 2:4 units, power at rest is within the limit."""
        rates, prices = set(self.compute.tensor), set(self.energy.tensor_mac)
        if rates != prices:
            raise ValueError(
                f"compute.tensor has {_names(rates)}, energy.tensor_mac {_names(prices)}; expected the same"
            )
        if (self.compute.sparse24 is None) != (self.energy.tensor24_mac is None):
            raise ValueError("compute.sparse24 and energy.tensor24_mac: expected both or neither")
        if self.power.static.si > self.power.limit.si:
            raise ValueError(f"power.static {self.power.static.text} is over power.limit {self.power.limit.text}")
        return self


def _names(keys: set[str]) -> str:
    return ", ".join(sorted(keys))
