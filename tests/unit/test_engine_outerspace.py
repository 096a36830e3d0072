# SPDX-License-Identifier: Apache-2.0
"""OuterSPACE: the contract, and a slow walk of its two phases."""

from __future__ import annotations

import heapq
import math

import numpy as np
from drawn_masks import drawn_masks
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract


def machine(tiles: int = 2, pes: int = 3, rate: float = 32.0) -> PeConfig:
    return PeConfig(tiles, pes, 1, Buffers(1, 1, 1), rate, 16, 16, {"merge_pes": 2, "index_bits": 16})


def slow(w: Mask, x: Mask, of: PeConfig) -> tuple[int, int, int]:
    """(cycles, bytes read, bytes written), list by list; entries are 4 bytes."""
    tiles, mergers = [0] * of.rows, [0] * (2 * of.rows)
    lists: dict[int, list[list[int]]] = {row: [] for row in range(len(x))}
    for k in range(x.shape[1]):
        rows, columns = np.flatnonzero(x[:, k]).tolist(), np.flatnonzero(w[:, k]).tolist()
        for row in rows:
            lists[row].append(columns)
        heapq.heapreplace(tiles, tiles[0] + math.ceil(len(rows) / of.cols) * len(columns))
    results = 0
    for row in range(len(x)):
        merged = [column for each in lists[row] for column in each]
        results += len(set(merged))
        heapq.heapreplace(mergers, mergers[0] + len(merged) * len(lists[row]))
    kept = 4 * sum(len(each) for row in lists.values() for each in row) + 8 * int(x.sum())
    reads = (4 * int(x.sum() + w.sum()) + 8 * x.shape[1], kept)
    writes = (kept, 4 * results + 4 * len(x))
    phases = zip((max(tiles), max(mergers)), reads, writes, strict=True)
    return sum(max(busy, math.ceil((r + s) / of.dram_bytes)) for busy, r, s in phases), sum(reads), sum(writes)


@st.composite
def products(draw: st.DrawFn) -> tuple[Mask, Mask, PeConfig]:
    w, x = drawn_masks(draw)
    return w, x, machine(draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.sampled_from([1.5, 32.0])))


class TestOuterSpace(EngineContract):
    name, engine = "outerspace", ENGINES.get("outerspace")
    machine = machine()

    @given(products())
    @settings(max_examples=60)
    def test_the_core_equals_a_slow_walk(self, product: tuple[Mask, Mask, PeConfig]) -> None:
        w, x, built = product
        work = self.engine.run(NonZeros.of(w), NonZeros.of(x), built)
        assert (work.cycles, work.dram_read, work.dram_write) == slow(w, x, built)

    def test_every_product_is_written_and_read_again(self) -> None:
        w, x = NonZeros.dense(12, 8), NonZeros.dense(9, 8)
        work = self.engine.run(w, x, self.machine)
        assert work.dram_write == 4 * work.macs + 8 * x.nnz + 4 * 12 * 9 + 4 * 9
