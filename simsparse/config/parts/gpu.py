# SPDX-License-Identifier: Apache-2.0
"""GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import model_validator

from simsparse.config.hardware import PARTS
from simsparse.config.parts.followers import with_peaks
from simsparse.config.parts.gpu_gemm import GpuGemm
from simsparse.config.parts.gpu_kernels import KernelLibrary, read_library
from simsparse.config.parts.gpu_moe import GpuFusedMoe, GpuMoe
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    FlopsPerSecond,
    FormatName,
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
    Whole,
)
from simsparse.errors import SpecError


class GpuCompute(Frozen):
    """Streaming multiprocessors and dense peak rates.

    ``clock`` is the boost clock at which the peaks hold with ``sms`` multiprocessors: peaks follow where an override
    changes either, those apart that are overridden themselves. ``tensor`` are the matrix units by dtype,
    without sparsity; ``vector`` the fp32 rate of the CUDA cores; ``sparse24`` the factor by which
    2:4 weights raise the tensor peak, null where the card has no such path.
    """

    sms: Whole
    clock: Hertz
    tensor: dict[str, FlopsPerSecond]
    vector: FlopsPerSecond
    sparse24: Ratio | None = None


class GpuMemory(Frozen):
    """Device memory.

    ``efficiency``: share of ``bandwidth`` that long reads reach; ``mixed``: that reads and writes in equal
    parts reach; ``copied``: that copy engines reach, both counted. ``latency``: what a kernel takes longer
    whose data is in memory and not in L2.
    """

    capacity: Bytes
    bandwidth: BytesPerSecond
    efficiency: Share
    mixed: Share
    copied: Share
    latency: Seconds


class GpuCache(Frozen):
    """The L2 cache; ``bandwidth`` as a kernel that streams from it sees.

    ``kept``, ``lost``: share of ``capacity`` that a loop over buffers may touch and find whole in the cache,
    and from which it finds nothing. ``rivals``: how often as much as an operator touches passes before its
    data is used again, its own turn included.
    """

    capacity: Bytes
    bandwidth: BytesPerSecond
    kept: Ratio
    lost: Ratio
    rivals: Ratio


class GpuLaunch(Frozen):
    """Seconds from one kernel's start to the next of an empty kernel.

    ``graph`` inside a replayed CUDA graph, ``eager`` launched one by one from the host without
    waiting, ``sync`` with a wait for the device after each. ``replay``: what the boundary between two
    replayed graphs adds, where a step is cut into several. ``cold``: what a small kernel takes longer where more than
    the L2 holds has passed since it ran, so that its code and parameters come from memory.
    """

    graph: Seconds
    eager: Seconds
    sync: Seconds
    replay: Seconds
    cold: Seconds


class GpuNarrowGemm(Frozen):
    """fp32 GEMMs of two to ``tokens`` tokens (simsparse.devices.gpu_gemm_narrow).

    ``launch``: fixed seconds; ``step``: seconds per k of a thread block; ``memory``: share of the HBM
    peak.
    """

    tokens: Whole
    launch: Seconds
    step: Seconds
    memory: Share


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
    """A card. ``kernels``: the library that runs on it; a file gives its name. ``experts``: fused kernels of experts,
    where ``kernels`` has none; a file lists libraries of serving engines, of which the first that has a type of weights
    gives its kernel. ``decode``: bytes of dense weights per
    second that it decodes from a storage format; a format that is not there is decoded in no time."""

    kind: Literal["gpu"]
    architecture: Literal["turing", "ampere", "ada", "hopper", "blackwell"]
    kernels: KernelLibrary
    experts: GpuMoe | None = None
    compute: GpuCompute
    memory: GpuMemory
    l2: GpuCache
    launch: GpuLaunch
    gemm: GpuGemm
    narrow: GpuNarrowGemm
    power: GpuPower
    energy: GpuEnergy
    decode: dict[FormatName, BytesPerSecond] | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_kernels(cls, data: Any) -> Any:
        """Read the libraries that the file names. Raises ValueError."""
        if not isinstance(data, dict):
            return data
        found: dict[str, KernelLibrary | GpuMoe] = {}
        architecture = str(data.get("architecture"))
        try:
            if isinstance(data.get("kernels"), str):
                found["kernels"] = read_library(data["kernels"], architecture)
            if isinstance(data.get("experts"), list):
                found["experts"] = _first_of([read_library(str(name), architecture).moe for name in data["experts"]])
        except SpecError as error:
            raise ValueError(str(error)) from None
        return {**data, **found}

    @model_validator(mode="after")
    def _consistent(self) -> GpuPart:
        """Every tensor rate has a price, 2:4 prices go with 2:4 units, power at rest is within the limit, kernels
        are those of the architecture, and ``gemm`` has what they leave to it."""
        rates, prices = set(self.compute.tensor), set(self.energy.tensor_mac)
        if rates != prices:
            raise ValueError(
                f"compute.tensor has {_names(rates)}, energy.tensor_mac {_names(prices)}; expected the same"
            )
        if (self.compute.sparse24 is None) != (self.energy.tensor24_mac is None):
            raise ValueError("compute.sparse24 and energy.tensor24_mac: expected both or neither")
        if self.kernels.architecture != self.architecture:
            raise ValueError(f"kernels are those of {self.kernels.architecture}; expected {self.architecture}")
        if self.power.static.si > self.power.limit.si:
            raise ValueError(f"power.static {self.power.static.text} is over power.limit {self.power.limit.text}")
        self.gemm.check(self.kernels.gemm.described(self.narrow.tokens.whole))
        burst, sustained = self.power.burst, self.gemm.half.sustained
        if burst is not None and burst.rate.si < sustained.si:
            raise ValueError(f"power.burst.rate {burst.rate.text} is under gemm.half.sustained {sustained.text}")
        return self

    def with_followers(self, stated: Part) -> GpuPart:
        """With peaks at the clock and the multiprocessors that the part has now. What the power limit lets the card
        hold stays, so that its shares of a peak that rose fall."""
        assert isinstance(stated, GpuPart)
        if not {"compute.clock", "compute.sms"}.intersection(self.overridden):
            return self
        compute, before = self.compute, stated.compute
        rise = compute.clock.si * compute.sms.si / (before.clock.si * before.sms.si)
        return with_peaks(self, stated, rise, ("compute.tensor.", "compute.vector"), (".sustained", ".burst.rate"))

    @property
    def fused_experts(self) -> Mapping[str, GpuFusedMoe]:
        """Fused kernels of experts that the card runs, by type of weights; none where they run one by one."""
        own = self.kernels.moe
        return own.fused if own.kernel == "fused" else self.experts.fused if self.experts else {}

    @property
    def stated_power(self) -> Quantity | None:
        return self.power.limit


def _first_of(found: Sequence[GpuMoe]) -> GpuMoe:
    """All fused kernels of libraries, each of the first library that has its type of weights."""
    fused = {kind: kernel for own in reversed(found) for kind, kernel in own.fused.items()}
    return GpuMoe(kernel="fused", fused=fused)


def _names(keys: set[str]) -> str:
    return ", ".join(sorted(keys))
