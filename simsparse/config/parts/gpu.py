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
    Quantity,
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
    waiting, ``sync`` with a wait for the device after each. ``replay``: what the boundary between two
    replayed graphs adds, where a step is cut into several.
    """

    graph: Seconds
    eager: Seconds
    sync: Seconds
    replay: Seconds


class GpuStream(Frozen):
    """Kernels that only move data.

    ``launch`` and ``reduction_launch``: fixed seconds of a kernel, and of a reduction (to at most a
    64th of what it reads). ``reduction_bandwidth`` and ``reduction_limit``: a reduction takes its
    bytes over that rate longer, at most that time. ``latency``: extra seconds of a kernel whose data
    is in device memory; ``mixed``: share of the memory's peak where reads and writes mix.
    ``resident``: share of the L2 up to which an operator's data is taken to lie there.
    """

    launch: Seconds
    reduction_launch: Seconds
    reduction_bandwidth: BytesPerSecond
    reduction_limit: Seconds
    latency: Seconds
    mixed: Share
    resident: Share


class GpuNarrowGemm(Frozen):
    """fp32 GEMMs of two to ``tokens`` tokens (simsparse.devices.gpu_gemm_narrow).

    ``launch``: fixed seconds; ``step``: seconds per k of a thread block; ``memory``: share of the HBM
    peak.
    """

    tokens: Count
    launch: Seconds
    step: Seconds
    memory: Share


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


class GpuBurst(Frozen):
    """What the card does while there is power to spare.

    ``rate``: share of the tensor peak that all SMs then hold; under the power limit it is
    ``gemm.half.sustained``. ``window``: seconds over which the limit averages.
    """

    rate: Share
    window: Seconds


class GpuPower(Frozen):
    """Power limit of the card, and what it draws at working clocks whatever kernels do.

    ``burst`` is null where it was not measured: the card is then always at the rate of its limit.
    """

    limit: Watts
    static: Watts
    burst: GpuBurst | None = None


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
    narrow: GpuNarrowGemm
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
        burst, sustained = self.power.burst, self.gemm.half.sustained
        if burst is not None and burst.rate.si < sustained.si:
            raise ValueError(f"power.burst.rate {burst.rate.text} is under gemm.half.sustained {sustained.text}")
        return self

    @property
    def stated_power(self) -> Quantity | None:
        return self.power.limit


def _names(keys: set[str]) -> str:
    return ", ".join(sorted(keys))
