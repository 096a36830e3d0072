# SPDX-License-Identifier: Apache-2.0
"""Host processors."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from simsparse.config.hardware import PARTS
from simsparse.config.parts.cpu_core import CpuCore
from simsparse.config.parts.followers import with_peaks
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    DTypeName,
    Efficiency,
    FlopsPerSecond,
    FormatName,
    Frozen,
    Joules,
    JoulesPerByte,
    Part,
    Seconds,
    Share,
    Watts,
    Whole,
)
from simsparse.core.role import Role


class CpuMemory(Frozen):
    """The host's DRAM: all channels of the sockets that are used.

    ``channels``: the rate that copies over links and the work of the cores share, where ``bandwidth`` is what the cores
    reach; null where it is the channels' own.
    """

    capacity: Bytes
    bandwidth: BytesPerSecond
    efficiency: Efficiency
    channels: BytesPerSecond | None = None


class CpuGather(Frozen):
    """Copies of random rows into one buffer.

    ``row``: least seconds of a row with all cores at work; ``efficiency``: share of the memory's bandwidth,
    read and write counted, that long rows reach.
    """

    row: Seconds
    efficiency: Efficiency


class CpuCompute(Frozen):
    """Peak rates by dtype, all cores; ``efficiency`` is the share a large GEMM reaches.

    Peaks follow where an override changes the number of cores or their clock, those apart that are overridden.
    """

    peak: dict[DTypeName, FlopsPerSecond]
    efficiency: Efficiency
    launch: Seconds


class CpuCsr(Frozen):
    """Products of CSR weights in fp32: seconds of a nonzero, and more of each product with it, of one thread."""

    nonzero: Seconds
    product: Seconds


class CpuThreads(Frozen):
    """How rates depend on threads (simsparse.devices.cpu_threads).

    ``cores``: those that the rates of ``compute`` and ``memory`` belong to; ``count``: threads at work, at most as
    many. ``bandwidth``: bytes that one thread streams; ``vectors`` and ``matrices``: bytes of weights of a type that
    one thread takes in products of one token and of several, where its kernel is slower than that. ``serial``: share of
    a pass over the weights that one thread does alone; ``fork``: seconds to start and join threads, of each product.
    ``csr`` is null where no kernel was measured.
    """

    cores: Whole
    count: Whole
    bandwidth: BytesPerSecond
    vectors: dict[DTypeName, BytesPerSecond]
    matrices: dict[DTypeName, BytesPerSecond]
    serial: Share
    fork: Seconds
    csr: CpuCsr | None = None

    @model_validator(mode="after")
    def _within(self) -> CpuThreads:
        if self.count.si > self.cores.si:
            raise ValueError(f"count: {self.count.whole} threads on {self.cores.whole} cores")
        return self


class CpuEnergy(Frozen):
    """Price of each action, and power that is drawn whatever runs."""

    flop: Joules
    dram_byte: JoulesPerByte
    static: Watts


@PARTS.register("cpu")
class CpuPart(Part):
    """A host processor, as one pool of cores and one pool of DRAM; ``gather`` and ``threads`` are null where they were
    not measured. ``decode`` as of a GpuPart. ``core``: what the inner loops of kernels run on; without it sparse
    weights are multiplied as dense ones."""

    role: ClassVar[Role] = Role.HOST
    kind: Literal["cpu"]
    compute: CpuCompute
    memory: CpuMemory
    gather: CpuGather | None = None
    threads: CpuThreads | None = None
    core: CpuCore | None = None
    energy: CpuEnergy
    decode: dict[FormatName, BytesPerSecond] | None = None

    def with_followers(self, stated: Part) -> CpuPart:
        """With peaks of the cores, and at the clock, that the part has now."""
        assert isinstance(stated, CpuPart)
        if not {"core.clock", "threads.cores"}.intersection(self.overridden):
            return self
        rise = 1.0
        if self.threads is not None and stated.threads is not None:
            rise = self.threads.cores.si / stated.threads.cores.si
        if self.core is not None and stated.core is not None:
            rise *= self.core.clock.si / stated.core.clock.si
        return with_peaks(self, stated, rise, ("compute.peak.",))

    @model_validator(mode="after")
    def _threaded(self) -> CpuPart:
        if self.core is not None and self.threads is None:
            raise ValueError("core: needs threads, which says how many run")
        return self
