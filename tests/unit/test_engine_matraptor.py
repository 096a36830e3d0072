# SPDX-License-Identifier: Apache-2.0
"""MatRaptor: the contract, and a slow walk with sets."""

from __future__ import annotations

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


def machine(pes: int = 4, queues: int = 5, queue_bytes: int = 256, channels: int = 4, rate: float = 64.0) -> PeConfig:
    own = {"queues": queues, "queue_bytes": queue_bytes, "channels": channels, "burst_bytes": 32, "index_bits": 16}
    return PeConfig(pes, 1, 1, Buffers(1024, 1024, 1024), rate, 16, 16, own)


def slow(w: Mask, x: Mask, of: PeConfig) -> tuple[int, int, int]:
    """(cycles, bytes read, bytes written), one row of inputs and one fiber at a time; entries are 4 bytes."""
    fibers = [set(np.flatnonzero(column).tolist()) for column in w.T]
    channels, room = of.whole("channels"), of.whole("queue_bytes") // 4
    reads, writes = [0] * channels, [0] * channels
    ends: list[list[tuple[int, int]]] = [[(0, 0), (0, 0)] for _ in range(of.rows)]
    for row, mask in enumerate(x):
        queues: list[set[int]] = []
        filling = spilled = 0
        for k in map(int, np.flatnonzero(mask)):
            if len(queues) < of.whole("queues") - 1:
                queues.append(set(fibers[k]))
                held = queues[-1]
            else:
                held = min(queues, key=len)
                held |= fibers[k]
            filling += len(held)
            spilled += max(0, len(held) - room)
            reads[k % channels] += math.ceil(4 * len(fibers[k]) / 32) * 32 + 8
        result = len(set().union(*queues))
        reads[row % channels] += 4 * int(mask.sum()) + 4 * spilled + 8
        writes[row % channels] += 4 * (result + spilled) + 8
        past = ends[row % of.rows]
        filled = max(past[-1][0], past[-2][1]) + filling
        past.append((filled, max(past[-1][1], filled) + result))
    busiest = max(read + write for read, write in zip(reads, writes, strict=True)) * channels / of.dram_bytes
    return max(math.ceil(busiest), *(past[-1][1] for past in ends)), sum(reads), sum(writes)


@st.composite
def products(draw: st.DrawFn) -> tuple[Mask, Mask, PeConfig]:
    w, x = drawn_masks(draw)
    built = machine(*(draw(st.integers(low, high)) for low, high in ((1, 5), (2, 7), (4, 200), (1, 5))),
                    draw(st.sampled_from([1.5, 8.0, 64.0])))  # fmt: skip
    return w, x, built


class TestMatRaptor(EngineContract):
    name, engine = "matraptor", ENGINES.get("matraptor")
    machine = machine()

    @given(products())
    @settings(max_examples=60)
    def test_the_core_equals_a_slow_walk(self, product: tuple[Mask, Mask, PeConfig]) -> None:
        w, x, built = product
        work = self.engine.run(NonZeros.of(w), NonZeros.of(x), built)
        assert (work.cycles, work.dram_read, work.dram_write) == slow(w, x, built)

    def test_few_fibers_fill_queues_once_and_are_merged_once(self) -> None:
        w, x = NonZeros.dense(50, 4), NonZeros.dense(1, 4)
        work = self.engine.run(w, x, machine(rate=1e9))
        assert work.cycles == 4 * 50 + 50
