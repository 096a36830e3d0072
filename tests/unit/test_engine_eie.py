# SPDX-License-Identifier: Apache-2.0
"""EIE: the contract, a twin with queues that fill and drain cycle by cycle, padding of long runs."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.core import Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

OWN = {"run_bits": 4.0, "weight_bits": 16.0, "queue": 8.0}
MACHINE = PeConfig(8, 1, 1, Buffers(1 << 16, 1 << 20, 1 << 16), 64.0, 16, 16, OWN)


class TestEie(EngineContract):
    name, engine, machine = "eie", ENGINES.get("eie"), MACHINE


class TestEieWithShortRuns(EngineContract):
    name, engine = "eie", ENGINES.get("eie")
    machine = replace(MACHINE, rows=4, settings={"run_bits": 2.0, "weight_bits": 16.0, "queue": 4.0})


def entries_of(column: list[bool], span: int) -> int:
    """Entries that a PE stores of its part of a column: zeros are counted up to ``span`` - 1 before each weight."""
    entries = zeros = 0
    for kept in column:
        zeros += not kept
        while kept and zeros >= span:
            entries, zeros = entries + 1, zeros - span
        if kept:
            entries, zeros = entries + 1, 0
    return entries


def queue_by_queue(w: Mask, x: list[bool], pes: int, span: int, depth: int) -> int:
    """Cycles of a vector: a cycle sends at most one non-zero; a PE's queue holds it until its column is done."""
    cost = [[entries_of(w[pe::pes, k].tolist(), span) for k in range(w.shape[1])] for pe in range(pes)]
    waiting = deque(k for k in range(w.shape[1]) if x[k])
    queues: list[deque[int]] = [deque() for _ in range(pes)]
    cycle = last = 0
    while waiting or any(queues):
        if waiting and all(len(queue) < depth for queue in queues):
            k = waiting.popleft()
            last = cycle + 1
            for pe, queue in enumerate(queues):
                queue.append(cost[pe][k])
        for queue in queues:
            while queue and queue[0] == 0:
                queue.popleft()
            if queue:
                queue[0] -= 1
                last = max(last, cycle + 1)
            while queue and queue[0] == 0:
                queue.popleft()
        cycle += 1
    return last


@settings(max_examples=60)
@given(
    st.integers(1, 40), st.integers(1, 15), st.integers(0, 999), st.sampled_from([0.03, 0.2, 0.7]),
    st.integers(1, 5), st.integers(0, 2), st.integers(1, 4),
)  # fmt: skip
def test_the_core_is_its_twin(n: int, k: int, seed: int, share: float, pes: int, bits: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    w, x = rng.random((n, k)) < share, rng.random((3, k)) < 0.6
    own = {"run_bits": float(bits + 1), "weight_bits": 4.0, "queue": float(depth)}
    has = PeConfig(pes, 1, 1, Buffers(1, 1 << 20, 1), 1e9, 16, 16, own)
    work = ENGINES.get("eie").run(NonZeros.of(w), NonZeros.of(x), has)
    expected = sum(queue_by_queue(w, row.tolist(), pes, 1 << (bits + 1), depth) for row in x)
    assert work.cycles - work.causes["dram"] == expected


def test_runs_are_bridged_by_zeros() -> None:
    """16 zeros fit no 4-bit run: a weight behind 15 takes one entry, behind 16 two, behind 32 three."""
    one = replace(MACHINE, rows=1)
    for place, entries in ((15, 1), (16, 2), (31, 2), (32, 3)):
        w = np.zeros((40, 1), np.bool_)
        w[place] = True
        work = ENGINES.get("eie").run(NonZeros.of(w), NonZeros.dense(1, 1), one)
        assert work.events["entries"] == entries and work.events["padding"] == entries - 1


def test_deeper_queues_even_out_the_load() -> None:
    w, x = (Sparsity.parse(f"unstructured:{d}").draw(rows, 512, 1) for rows, d in ((256, 0.1), (1, 0.5)))
    wide = replace(MACHINE, rows=32)
    cycles = [
        ENGINES.get("eie").run(w, x, replace(wide, settings={**OWN, "queue": depth})).causes["imbalance"]
        for depth in (1.0, 2.0, 8.0, 64.0)
    ]
    assert cycles == sorted(cycles, reverse=True) and cycles[0] > 2 * cycles[2]
