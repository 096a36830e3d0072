# SPDX-License-Identifier: Apache-2.0
"""SMASH: the contract, and a slow walk with dictionaries, one product at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drawn_masks import drawn_masks
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig
from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

COSTS = {"dram_cycles": 50, "spad_cycles": 4, "product_instructions": 5, "dma_product_instructions": 2,
         "probe_instructions": 3,
         "token_instructions": 9, "write_instructions": 2}  # fmt: skip


def machine(
    version: int = 2, pipelines: int = 2, threads: int = 4, slots: int = 1 << 13, rate: float = 8.0
) -> PeConfig:
    own = {"version": version, "threads": threads, "index_bits": 16, "slot_bytes": 8, **COSTS}
    return PeConfig(pipelines, 1, 1, Buffers(1, 1, slots * 8), rate, 16, 16, own)


def slow(w: Mask, x: Mask, of: PeConfig) -> tuple[int, int, int, int]:
    """(cycles, probes, bytes read, bytes written); entries are 4 bytes."""
    version, n = of.whole("version"), len(w)
    slots = of.buffers.output // 8 // (2 if version == 3 else 1)
    fibers = [np.flatnonzero(column).tolist() for column in w.T]
    rows = [np.flatnonzero(row).tolist() for row in x]
    windows: list[list[int]] = [[]]
    for row, kept in enumerate(rows):
        bounds = [min(n, sum(len(fibers[k]) for k in rows[other])) for other in windows[-1]]
        held = sum(bounds) + min(n, sum(len(fibers[k]) for k in kept))
        if windows[-1] and (held > slots // 2 if version == 1 else (len(windows[-1]) + 1) * n > slots):
            windows.append([])
        windows[-1].append(row)
    near = 4 if version == 3 else 50
    cycles = probes = read = written = owed = 0
    for window in windows:
        table: dict[int, int] = {}
        free, issued = [0] * (of.rows * 4), [0] * of.rows
        loads = 0
        for place, row in enumerate(window):
            loads += 4
            for k in rows[row]:
                looked = 0
                for column in fibers[k]:
                    tag = place * n + column
                    slot = tag % slots if version > 1 else (tag * 0x9E3779B97F4A7C15 % 2**64) * slots >> 64
                    looked += 1
                    while table.get(slot, tag) != tag:
                        slot, looked = (slot + 1) % slots, looked + 1
                    table[slot] = tag
                product, add, walk = (2, 0, 0) if version == 3 else (5, 3, 4)
                issue = 9 + product * len(fibers[k]) + add * looked
                thread = free.index(min(free)) if version > 1 else row % len(free)
                free[thread] += issue + 2 * near + near * len(fibers[k]) + walk * looked
                issued[thread % of.rows] += issue
                loads += 4 + 8 + 4 * len(fibers[k])
                probes += looked
        stores = 4 * len(table) + 4 * len(window)
        load, store = math.ceil(loads / of.dram_bytes), math.ceil(stores / of.dram_bytes)
        scan = 0 if version == 3 else math.ceil(2 * (slots if version == 1 else len(table)) / of.rows)
        cycles += max(*free, *issued, load + owed) + (0 if version == 3 else max(store, scan))
        owed = store if version == 3 else 0
        read, written = read + loads, written + stores
    return cycles + owed, probes, read, written


@st.composite
def products(draw: st.DrawFn) -> tuple[Mask, Mask, PeConfig]:
    w, x = drawn_masks(draw, 40, 30, 30)
    version, pipelines, slots = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.sampled_from([128, 256]))
    return w, x, machine(version, pipelines, 4, slots, draw(st.sampled_from([0.5, 8.0])))


class TestSmash(EngineContract):
    name, engine = "smash", ENGINES.get("smash")
    machine = machine()

    @given(products())
    @settings(max_examples=80)
    def test_the_core_equals_a_slow_walk(self, product: tuple[Mask, Mask, PeConfig]) -> None:
        w, x, built = product
        work = self.engine.run(NonZeros.of(w), NonZeros.of(x), built)
        assert (work.cycles, work.events["probes"], work.dram_read, work.dram_write) == slow(w, x, built)

    def test_a_table_that_holds_every_result_apart_needs_one_probe_a_product(self) -> None:
        w, x = NonZeros.dense(32, 20), NonZeros.dense(8, 20)
        work = self.engine.run(w, x, machine(slots=256))
        assert work.events["probes"] == work.macs

    def test_a_row_wider_than_the_table_is_refused(self) -> None:
        with pytest.raises(SpecError, match="can't hold a row of 40"):
            self.engine.run(NonZeros.dense(40, 4), NonZeros.dense(2, 4), machine(slots=32))


class TestStaticWindows(EngineContract):
    name, engine = "smash", ENGINES.get("smash")
    machine = machine(1)


class TestDma(EngineContract):
    name, engine = "smash", ENGINES.get("smash")
    machine = machine(3)
