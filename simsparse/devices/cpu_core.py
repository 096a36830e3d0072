# SPDX-License-Identifier: Apache-2.0
"""Seconds of inner loops on the cores of a host: from instructions that a kernel counts, and bytes that it moves.

The ports bound the cycles, as in a throughput model of a basic block: multiply-adds, loads, gathers, all instructions.
Bytes from beyond the first cache come on top of the loads, as far as the core does not overlap the two (the
execution-cache-memory model: Stengel, Treibig, Hager, Wellein, "Quantifying Performance Bottlenecks of Stencil
Computations Using the Execution-Cache-Memory Model", ICS 2015). A working set that is read again and again in one order
is found in a level that it fits into; in one that it exceeds, each line is replaced before its next use.

Left out: sets and ways, TLBs, NUMA, simultaneous threads of one core, clocks that change with load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.cpu import CpuPart, CpuThreads
from simsparse.config.parts.cpu_core import CpuCore
from simsparse.core import DType
from simsparse.devices.base import Floats
from simsparse.errors import SpecError

FP32 = DType.FP32
ROUND = 1.25
"""Working set over capacity from which a level is of no use to reads in one order. Assumed: with true replacement of
the least recently used line it would be 1; other policies keep some lines."""
PREDICTED_STEPS = 32
"""Steps of a loop with a constant number of them up to which its exit is predicted from the history of branches.
Source: Agner Fog, The microarchitecture of Intel, AMD and VIA CPUs, section 3 (history-based predictors); the length
differs by core and is assumed to be that of all."""
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Refills:
    """``bytes`` that come from beyond the first cache, of a working set of ``footprint`` bytes of all threads.

    ``overlaps``: the transfer may hide behind the arithmetic; else nothing else happens meanwhile. ``random``: places
    are read in no order, so that a level holds the next one in proportion to its capacity.
    """

    bytes: Floats
    footprint: Floats
    overlaps: bool = True
    random: bool = False


@dataclass(frozen=True)
class LoopCounts:
    """What products cost in instructions, summed over all threads; arrays of one element per product.

    ``fma``, ``loads``, ``stores`` and ``others`` are instructions, ``gathered`` elements, ``misses`` mispredicted
    branches. ``chain``: cycles of the longest chain of dependent instructions. ``items``: pieces of work that threads
    share. ``calls``: seconds of the call beyond that of any operator.
    """

    items: Floats
    fma: Floats
    loads: Floats
    stores: Floats
    others: Floats
    gathered: Floats
    misses: Floats
    chain: Floats
    calls: Floats
    traffic: Sequence[Refills] = field(default_factory=tuple)


@dataclass(frozen=True)
class LoopSeconds:
    """Seconds of products: ``compute`` and ``memory`` may overlap in ``total``; ``calls`` come on top."""

    compute: Floats
    memory: Floats
    total: Floats
    calls: Floats


@dataclass(frozen=True)
class Products:
    """Products ``y[m, n] = x[m, k] @ w[n, k].T`` with ``kept`` weights, one array element each.

    ``weight`` and ``value``: bytes of a stored weight and of an element of the inputs. ``lanes``: elements of a vector
    instruction. ``stored``: bytes of the weights in their format. ``flops_per_cycle`` of one core in the library's
    dense product. ``block``: weights that share one index (a block's edge, the values of a group). ``moved``: bytes of
    the inputs and outputs, each once.
    """

    m: Floats
    n: Floats
    k: Floats
    kept: Floats
    weight: Floats
    value: Floats
    lanes: Floats
    stored: Floats
    flops_per_cycle: Floats
    block: Floats
    moved: Floats


@dataclass(frozen=True)
class Cores:
    """The threads of a part at work, and where their data lie.

    ``resident``: weights stay in the caches from call to call, as in the loop of a benchmark; else they come from DRAM
    once per call.
    """

    part: CpuPart
    core: CpuCore
    threads: CpuThreads
    resident: bool = False

    @classmethod
    def of(cls, part: CpuPart, resident: bool = False) -> Cores | None:
        """Those of ``part``; None where it does not describe its cores."""
        if part.core is None or part.threads is None:
            return None
        if str(FP32) not in part.compute.peak:
            raise SpecError("fp32 is missing, which vectors of other types go by", key=f"{part.name}.compute.peak")
        return cls(part, part.core, part.threads, resident)

    @property
    def count(self) -> int:
        """Threads at work."""
        return self.threads.count.whole

    def lanes(self, dtype: DType) -> float:
        """Elements of ``dtype`` that a vector instruction multiplies: those of fp32, by the ratio of the peak rates."""
        return self.core.vector.si / 4 * self.part.compute.peak[dtype].si / self.part.compute.peak[FP32].si

    def flops_per_cycle(self, dtype: DType) -> float:
        """What one core reaches in a large dense product of the library."""
        compute = self.part.compute
        return compute.peak[dtype].si * compute.efficiency.si / (self.threads.cores.si * self.core.clock.si)

    @property
    def fma_rate(self) -> float:
        """Multiply-add instructions per cycle of one core: no loop does more of its ports than the dense library."""
        return self.core.fma_ports.si * self.part.compute.efficiency.si

    @property
    def dram_rate(self) -> float:
        """Bytes per second that all threads at work stream from the DRAM."""
        memory = self.part.memory
        return min(self.count * self.threads.bandwidth.si, memory.bandwidth.si * memory.efficiency.si)

    def weights(self, stored: Floats, passes: Floats) -> tuple[Refills, ...]:
        """Traffic of ``passes`` over weights of ``stored`` bytes: the first from DRAM unless they are resident."""
        if self.resident:
            return (Refills(stored * passes, stored),)
        return Refills(stored, np.full_like(stored, np.inf)), Refills(stored * np.maximum(0, passes - 1), stored)

    def inputs(self, products: Products, vectors: Floats, tile: Floats | float = np.inf) -> Refills:
        """Traffic of ``vectors`` of the inputs that loops read, row by row of k, ``tile`` vectors of tokens at a time.

        Every thread reads them all, so that each private cache holds a copy.
        """
        width = np.minimum(np.ceil(products.m / products.lanes), tile) * products.lanes * products.value
        return Refills(vectors * products.lanes * products.value, products.k * width * self.count, random=True)

    def transfer_seconds(self, traffic: Refills) -> Floats:
        """Seconds in which all threads together take ``traffic``."""
        caches, count, dram = self.core.caches, self.count, self.dram_rate
        levels = [(count * caches.l1.si, np.inf)]
        if caches.l2 is not None:
            levels.append((count * caches.l2.capacity.si, count * caches.l2.bandwidth.si))
        if caches.l3 is not None:
            levels.append((caches.l3.capacity.si, count * caches.l3.bandwidth.si))
        within, pace, capacity = np.zeros_like(traffic.bytes), np.zeros_like(traffic.bytes), 0.0
        for size, rate in levels:
            capacity += size
            if traffic.random:
                held = np.minimum(1.0, capacity / np.maximum(traffic.footprint, 1.0))
            else:
                held = np.clip((ROUND - traffic.footprint / capacity) / (ROUND - 1), within, 1.0)
            within, pace = held, pace + (held - within) / rate
        return np.asarray(traffic.bytes * (pace + (1 - within) / dram))

    def loop_seconds(self, loops: LoopCounts) -> LoopSeconds:
        """Seconds of ``loops`` on the threads at work, with the caches by the sizes of working sets."""
        behind, alone = (
            sum((self.transfer_seconds(each) for each in loops.traffic if each.overlaps is kind),
                np.zeros_like(loops.items))
            for kind in (True, False)
        )  # fmt: skip
        return self.seconds(loops, behind, alone)

    def seconds(self, loops: LoopCounts, behind: Floats, alone: Floats) -> LoopSeconds:
        """The same with transfers of ``behind`` seconds, which may overlap with instructions, and ``alone``."""
        core, count = self.core, self.count
        instructions = loops.fma + loops.loads + loops.stores + loops.others
        arithmetic = np.maximum(loops.fma / self.fma_rate, instructions / core.width.si)
        arithmetic = np.maximum(arithmetic, loops.chain)
        loading = loops.loads / core.load_ports.si + loops.gathered * core.gather.si
        loading = np.maximum(loading, loops.stores / core.store_ports.si)
        uneven = np.ceil(loops.items / count) / np.maximum(loops.items, 1)
        arithmetic, loading, missed = (
            cycles * uneven / core.clock.si for cycles in (arithmetic, loading, loops.misses * core.miss.si)
        )
        body = np.maximum(np.maximum(arithmetic, loading + core.serial.si * behind), behind)
        compute = np.maximum(arithmetic, loading) + missed
        return LoopSeconds(compute, behind + alone, body + missed + alone, loops.calls)
