# SPDX-License-Identifier: Apache-2.0
"""What residencies share whose weights rest in host memory or on storage: scope, source and size of copies."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.devices.link import HostMemory
from simsparse.errors import SpecError, nearest
from simsparse.lowering.unpacking import FREE, PLACES, Packing
from simsparse.lowering.weight_source import HOST, STORAGE, WeightSource
from simsparse.lowering.weights import WeightScope
from simsparse.policies.residency.base import Residency


@dataclass(frozen=True)
class Streamed(Residency):
    """Options: ``chunk_bytes``, the largest single copy (None: an expert or a matrix in one).

    ``home``: where weights rest, ``host``, ``storage`` or the name of a device; ``through_host``: those of storage are
    written to host memory first; ``request_bytes`` and ``queue_depth``: storage is read in requests of that size, so
    many under way (None: in order, at its sequential rate). ``bits``: weights cross links with so many bits each and a
    scale per 128 (None: as the trace stores them); ``unpack``: where they become dense: ``device``, a kernel before the
    op; ``host``, before the copy, which then moves dense ones; ``free``, no time beside the product. ``host_memory``:
    ``pinned``, ``pageable`` (a thread of the host copies weights to pinned buffers first) or ``unified`` (pages come
    when a kernel touches them), at the rates that the part of the link states. ``synchronous``: the host reads what the
    gate chose and waits for the copies before it calls for the experts, so that its calls do not run ahead of the
    device; it matters to stacks that launch without a graph. Raises SpecError on other values.
    """

    chunk_bytes: int | None = None
    home: str = HOST
    through_host: bool = False
    request_bytes: int | None = None
    queue_depth: int | None = None
    bits: float | None = None
    unpack: str = FREE
    synchronous: bool = False
    host_memory: str = HostMemory.PINNED

    def __post_init__(self) -> None:
        for key in ("chunk_bytes", "request_bytes", "queue_depth"):
            if getattr(self, key) is not None:
                whole_number(key, getattr(self, key))
        if self.bits is not None and (isinstance(self.bits, bool) or not 0 < self.bits <= 16):
            raise SpecError(f"{self.bits!r} is no number of bits up to 16", key="bits")
        if self.unpack not in PLACES:
            raise SpecError(f"{self.unpack!r} is not {', '.join(PLACES)}", key="unpack")
        if self.unpack == HOST and self.home != HOST and not self.through_host:
            raise SpecError("the host unpacks what comes through it; set through_host", key="unpack")
        if not isinstance(self.home, str) or not self.home:
            raise SpecError(f"{self.home!r} is not {HOST}, {STORAGE} or the name of a device", key="home")
        for key in ("through_host", "synchronous"):
            if not isinstance(getattr(self, key), bool):
                raise SpecError(f"{getattr(self, key)!r} is neither true nor false", key=key)
        if self.host_memory not in list(HostMemory):
            raise SpecError(
                f"{self.host_memory!r}: {nearest(str(self.host_memory), list(HostMemory))}", key="host_memory"
            )
        if self.host_memory != HostMemory.PINNED and self.home != HOST:
            raise SpecError("is for weights that rest in host memory; leave home out", key="host_memory")
        if (self.through_host or self.request_bytes) and self.home == HOST:
            raise SpecError("is for weights that rest on storage; set home",
                            key="through_host" if self.through_host else "request_bytes")  # fmt: skip
        if (self.request_bytes is None) != (self.queue_depth is None):
            raise SpecError("request_bytes and queue_depth belong together", key="queue_depth")

    @property
    def packing(self) -> Packing:
        return Packing(self.bits, unpack=self.unpack)

    @property
    def source(self) -> WeightSource:
        return WeightSource(self.home, self.through_host, self.request_bytes, self.queue_depth or 1,
                            HostMemory(self.host_memory))  # fmt: skip

    @property
    def measures(self) -> bool:
        return self.request_bytes is not None or self.host_memory != HostMemory.PINNED

    @property
    def scope(self) -> WeightScope:
        return WeightScope.EXPERTS


def whole_number(key: str, value: object) -> None:
    """Raises SpecError when an option is no positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpecError(f"{value!r} is not a positive whole number", key=key)
