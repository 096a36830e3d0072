# SPDX-License-Identifier: Apache-2.0
"""GAMMA: the contract, and a slow walk with sets and an ordered dictionary."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict

import numpy as np
from drawn_masks import drawn_masks
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract


def machine(pes: int = 4, radix: int = 8, cache: int = 1 << 15, rate: float = 16.0) -> PeConfig:
    return PeConfig(pes, 1, 1, Buffers(1024, cache, 1024), rate, 16, 16, {"radix": radix, "index_bits": 16})


class SlowGamma:
    """One task and one fiber at a time. ``cycles`` is the end with all waits; entries are 4 bytes."""

    def __init__(self, w: Mask, x: Mask, of: PeConfig) -> None:
        self.fibers = [set(np.flatnonzero(column).tolist()) for column in w.T]
        self.pes, self.radix, self.capacity = of.rows, of.whole("radix"), of.buffers.weight
        self.free = [0] * self.pes
        self.rate, self.traffic, self.merged, self.outputs, self.held = of.dram_bytes, 0, 0, 0, 0
        self.fetched = self.spilled = self.partial = 0
        self.cache: OrderedDict[int, int] = OrderedDict()
        self.live: list[tuple[int, int]] = []
        for row in x:
            self.row([int(k) for k in np.flatnonzero(row)])
        total = self.traffic + 4 * (2 * len(x) + len(w.T))
        self.cycles = max(*self.free, math.ceil(total / self.rate))

    def row(self, fibers: list[int]) -> None:
        self.traffic += 4 * len(fibers)
        if not fibers:
            return
        self.partial = 0
        levels = next(levels for levels in range(1, 40) if self.radix**levels >= len(fibers))
        groups = self.radix ** (levels - 1)
        cuts = [group * len(fibers) // groups for group in range(groups + 1)]
        lowest = [fibers[start:stop] for start, stop in itertools.pairwise(cuts)]
        columns, end = self.tree(lowest, last=True)
        made = len(columns)
        now = min(self.free)
        self.held -= sum(size for end, size in self.live if end <= now)
        self.live = [(end, size) for end, size in self.live if end > now]
        placed = min(4 * self.partial, self.capacity - self.held)
        self.held += placed
        self.evict(self.capacity - self.held)
        self.live.append((end, placed))
        self.spilled += 4 * self.partial - placed
        self.outputs += made
        self.traffic += 2 * (4 * self.partial - placed) + 4 * made

    def tree(self, groups: list[list[int]], last: bool = False) -> tuple[set[int], int]:
        if len(groups) == 1:
            return self.task([(self.fibers[k], self.fetch(k)) for k in groups[0]], last)
        each = len(groups) // self.radix
        return self.task([self.tree(groups[at : at + each]) for at in range(0, len(groups), each)], last)

    def fetch(self, k: int) -> int:
        size = 4 * len(self.fibers[k])
        if k in self.cache:
            self.cache.move_to_end(k)
        else:
            self.traffic, self.fetched = self.traffic + size, self.fetched + size
            if size <= self.capacity - self.held:
                self.evict(self.capacity - self.held - size)
                self.cache[k] = size
        return math.ceil(self.traffic / self.rate)

    def evict(self, limit: int) -> None:
        while self.cache and sum(self.cache.values()) > limit:
            self.cache.popitem(last=False)

    def task(self, inputs: list[tuple[set[int], int]], last: bool) -> tuple[set[int], int]:
        union = set().union(*(columns for columns, _ in inputs))
        ready = max(end for _, end in inputs)
        if len(inputs) == 1 and not last:
            return union, ready
        cost = sum(len(columns) for columns, _ in inputs)
        pe = self.free.index(min(self.free))
        self.free[pe] = max(self.free[pe], ready) + cost
        self.merged += cost
        self.partial += 0 if last else len(union)
        return union, self.free[pe]


@st.composite
def products(draw: st.DrawFn) -> tuple[Mask, Mask, PeConfig]:
    w, x = drawn_masks(draw)
    rate = draw(st.sampled_from([1.5, 4.0, 32.0]))
    return w, x, machine(draw(st.integers(1, 5)), draw(st.integers(2, 9)), draw(st.integers(16, 4000)), rate)


class TestGamma(EngineContract):
    name, engine = "gamma", ENGINES.get("gamma")
    machine = machine()

    @given(products())
    @settings(max_examples=60)
    def test_the_core_equals_a_slow_walk(self, product: tuple[Mask, Mask, PeConfig]) -> None:
        w, x, built = product
        work, slow = self.engine.run(NonZeros.of(w), NonZeros.of(x), built), SlowGamma(w, x, built)
        assert work.events["merged"] == slow.merged
        assert work.cycles == slow.cycles
        assert work.dram_read == 4 * x.sum() + slow.fetched + slow.spilled + 4 * sum(x.shape)
        assert work.dram_write == 4 * slow.outputs + slow.spilled + 4 * len(x)

    def test_one_merge_of_few_fibers_takes_a_cycle_an_element(self) -> None:
        rng = np.random.default_rng(0)
        w, x = rng.random((90, 8)) < 0.5, rng.random((1, 8)) < 2
        work = self.engine.run(NonZeros.of(w), NonZeros.of(x), machine(pes=1, rate=1e9))
        assert work.cycles - 1 <= work.macs == int(w.sum())

    def test_a_cache_that_holds_all_fetches_each_fiber_once(self) -> None:
        w, x = NonZeros.dense(30, 20), NonZeros.dense(50, 20)
        work = self.engine.run(w, x, machine(radix=32, cache=1 << 20))
        assert work.dram_read == 4 * (w.nnz + x.nnz) + 4 * (50 + 20)
        tight = self.engine.run(w, x, machine(radix=32, cache=1000))
        assert tight.dram_read == 4 * (50 * w.nnz + x.nnz) + 4 * (50 + 20)
