# SPDX-License-Identifier: Apache-2.0
"""Flexagon: the contract, and a slow walk of its three dataflows."""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
from drawn_masks import drawn_masks
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.engines.flexagon import DATAFLOWS, Flexagon
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract


def machine(size: int = 16, feed: int = 4, drain: int = 4, cache: int = 1 << 20, rate: float = 32.0) -> PeConfig:
    own = {"feed": feed, "drain": drain, "index_bits": 16}
    return PeConfig(size, 1, 1, Buffers(1, cache, 2048), rate, 16, 16, own)


def passes(lists: int, size: int) -> int:
    count = 0
    while lists > 1:
        lists, count = math.ceil(lists / max(size, 2)), count + 1
    return count


def slow(w: Mask, x: Mask, of: PeConfig, which: str) -> tuple[int, int, int]:
    """(cycles, bytes read, bytes written), one tile at a time; entries are 4 bytes."""
    fibers = [set(np.flatnonzero(column).tolist()) for column in w.T]
    kept = [(int(row), int(k)) for row, k in np.argwhere(x)]
    kept = sorted(kept, key=lambda each: (each[1], each[0])) if which == "outer" else kept
    feed, drain, size = of.whole("feed"), of.whole("drain"), of.rows
    cache: OrderedDict[int, int] = OrderedDict()
    cycles = fetched = 0
    pieces: dict[int, list[int]] = {}
    for start in range(0, len(kept), size):
        tile = kept[start : start + size]
        uses = [k for _, k in tile] if which == "row" else list(dict.fromkeys(k for _, k in tile))
        uses = list(range(x.shape[1])) if which == "inner" else uses
        for k in uses:
            room = 4 * len(fibers[k])
            if k in cache:
                cache.move_to_end(k)
                continue
            fetched += room
            if room <= of.buffers.weight:
                while cache and sum(cache.values()) > of.buffers.weight - room:
                    cache.popitem(last=False)
                cache[k] = room
        products = sum(len(fibers[k]) for _, k in tile)
        left = products if which == "outer" else 0
        for row in dict.fromkeys(row for row, _ in tile) if which != "outer" else ():
            pieces.setdefault(row, []).append(len(set().union(*(fibers[k] for other, k in tile if other == row))))
            left += pieces[row][-1]
        streamed = sum(len(fibers[k]) for k in uses)
        cycles += math.ceil(len(tile) / feed)
        cycles += max(math.ceil(streamed / feed), math.ceil(left / drain), math.ceil(products / size))
    rows = [[k for k in range(x.shape[1]) if row[k]] for row in x]
    macs = sum(len(fibers[k]) for row in rows for k in row)
    if which == "outer":
        merged = sum(sum(len(fibers[k]) for k in row) * passes(len(row), size) for row in rows)
    else:
        merged = sum(sum(each) * passes(len(each), size) for each in pieces.values())
    spilled = max(0, 4 * macs - of.buffers.output) if which == "outer" else 0
    read = 4 * len(kept) + fetched + 4 * sum(x.shape) + spilled
    written = 4 * sum(len(set().union(*(fibers[k] for k in row))) for row in rows) + 4 * len(x) + spilled
    return max(cycles + math.ceil(merged / drain), math.ceil((read + written) / of.dram_bytes)), read, written


@st.composite
def products(draw: st.DrawFn) -> tuple[Mask, Mask, PeConfig]:
    w, x = drawn_masks(draw, 30, 30, 30)
    built = machine(*(draw(st.integers(low, high)) for low, high in ((2, 20), (1, 5), (1, 5), (20, 3000))),
                    draw(st.sampled_from([1.5, 32.0])))  # fmt: skip
    return w, x, built


class TestFlexagon(EngineContract):
    name, engine = "flexagon", ENGINES.get("flexagon")
    machine = machine()

    @given(products())
    @settings(max_examples=60)
    def test_the_core_equals_a_slow_walk(self, product: tuple[Mask, Mask, PeConfig]) -> None:
        w, x, built = product
        works = Flexagon().choices(NonZeros.of(w), NonZeros.of(x), built)
        for which, work in zip(DATAFLOWS, works, strict=True):
            assert work.events == {which: 1}
            assert (work.cycles, work.dram_read, work.dram_write) == slow(w, x, built, which)
        assert self.engine.run(NonZeros.of(w), NonZeros.of(x), built).cycles == min(work.cycles for work in works)

    def test_the_choice_depends_on_the_operands(self) -> None:
        few_k = self.engine.run(NonZeros.dense(64, 4), NonZeros.dense(64, 4), self.machine)
        assert few_k.events == {"inner": 1}
        rng = np.random.default_rng(0)
        sparse = NonZeros.of(rng.random((64, 200)) < 0.05), NonZeros.of(rng.random((64, 200)) < 0.05)
        assert self.engine.run(*sparse, self.machine).events == {"row": 1}
        fast = machine(size=16, feed=1, drain=64)
        assert self.engine.run(NonZeros.dense(64, 1), NonZeros.dense(64, 1), fast).events != {"row": 1}
