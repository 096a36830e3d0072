# SPDX-License-Identifier: Apache-2.0
"""What the inner loops of a host's kernels run on: the ports of a core, its caches, and the kernels of its library."""

from __future__ import annotations

from pydantic import Field, model_validator

from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    DTypeName,
    Frozen,
    Hertz,
    Multiplier,
    Ratio,
    Seconds,
    Share,
    Ticks,
    Whole,
)
from simsparse.sparsity.formats.base import FORMATS


class CpuCache(Frozen):
    """One level of cache: ``capacity``, of one core or shared by all; ``bandwidth`` that one thread streams from it."""

    capacity: Bytes
    bandwidth: BytesPerSecond


class CpuCaches(Frozen):
    """Levels of cache: ``l1``, bytes of a core's data cache, ``l2``, private too, and ``l3``, which all cores share.

    Null where there is none: a second level that the cores share is ``l3``. A line is in one level at a time, so that
    capacities add up. Loads from ``l1`` take the load ports alone. ``line``: bytes of a line; ``ways`` of the sets of
    all levels, which level 2 alone reads.
    """

    line: Bytes
    ways: Whole

    l1: Bytes
    l2: CpuCache | None = None
    l3: CpuCache | None = None


class CpuGemmLibrary(Frozen):
    """How the dense library treats the weights of a product by its number of tokens.

    Up to ``direct`` tokens it reads the weights as they are. From ``panels`` tokens it copies panels that stay in a
    cache. Between ``whole`` and ``panels`` tokens it copies all weights first, and reads the copy.
    """

    direct: Ticks
    whole: Ticks
    panels: Ticks


class CpuCore(Frozen):
    """One core, as the inner loops of kernels see it (simsparse.devices.cpu_core).

    ``clock``; ``vector``, bytes of a vector register; instructions a cycle: ``fma_ports``, ``load_ports``,
    ``store_ports``, and ``width`` in all (fewer where another thread shares the core). ``fma_latency`` in cycles;
    ``forward``: cycles from a store to a load of its value. ``gather``: cycles of one gathered element.
    ``miss``: cycles of a mispredicted branch. ``serial``: share of the transfers between caches that does not overlap
    with loads. ``gemm`` is null where the dense library packs weights once, when a model is loaded. ``dispatch``:
    seconds of a call of a sparse kernel beyond that of any operator. ``kernels``: name of the kernel
    (simsparse.devices.cpu_kernels) by storage format of the weights; ``narrow``: that of dense weights by their type,
    where it is not the dense library.
    """

    clock: Hertz
    vector: Bytes
    fma_ports: Multiplier
    load_ports: Multiplier
    store_ports: Multiplier
    width: Multiplier
    fma_latency: Ticks
    forward: Ratio
    gather: Ratio
    miss: Ratio
    serial: Share
    dispatch: Seconds
    caches: CpuCaches
    gemm: CpuGemmLibrary | None = None
    kernels: dict[str, str]
    narrow: dict[DTypeName, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> CpuCore:
        for form in self.kernels:
            FORMATS.get(form)
        if "dense" not in self.kernels:
            raise ValueError("kernels: dense is missing, the kernel of products with dense weights")
        return self
