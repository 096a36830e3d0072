# SPDX-License-Identifier: Apache-2.0
"""Cores of blocks whose work depends on the data, against twins that go cycle by cycle or element by element."""

from __future__ import annotations

from collections import deque
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.dataflow.handshake.hash_accumulate import LATENCY_CYCLES as HASH_LATENCY
from simsparse.dataflow.handshake.hash_accumulate import LOST, HashProbes, hash_probes
from simsparse.dataflow.handshake.intersect import LATENCY_CYCLES, intersect, intersect_cycles, intersect_service
from simsparse.dataflow.handshake.service import Service, service_cycles
from simsparse.errors import SpecError

PATTERNS = st.lists(st.booleans(), min_size=1, max_size=9).filter(any)
ALWAYS = np.ones(1, np.bool_)


def served(
    offers: list[bool], accepts: list[bool], work: list[int], gives: list[int], early: bool
) -> tuple[list[int], list[int]]:
    """Cycle by cycle: a register in, a server that works and then gives, a register out."""
    waiting: deque[int] = deque()
    taken: list[int] = []
    given_: list[int] = []
    left_work, left_gives, full, offering, cycle = 0, 0, False, False, 0
    serving = False
    while len(taken) < len(work) or waiting or serving or full:
        offering = offering or (len(taken) < len(work) and offers[cycle % len(offers)])
        if full and accepts[cycle % len(accepts)]:
            given_.append(cycle)
            full = False
        if not serving and waiting:
            serving = True
            left_work, left_gives = work[waiting[0]], gives[waiting[0]]
        if serving:
            if left_work:
                left_work -= 1
                if not left_work and early:
                    waiting.popleft()
            elif not full:
                full = True
                left_gives -= 1
            if not left_work and not left_gives:
                serving = False
                if not early:
                    waiting.popleft()
        if offering and not waiting:
            waiting.append(len(taken))
            taken.append(cycle)
            offering = False
        cycle += 1
    return taken, given_


@settings(max_examples=80)
@given(
    PATTERNS, PATTERNS, st.booleans(),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=20),
)  # fmt: skip
def test_service_core_is_its_slow_twin(
    offers: list[bool], accepts: list[bool], early: bool, asked: list[tuple[int, int]]
) -> None:
    work = [work + (early or not work + gives) for work, gives in asked]
    gives = [gives for _, gives in asked]
    service = Service(np.array(work, np.int64), np.array(gives, np.int64), early)
    taken, given_ = service_cycles(np.array(offers), np.array(accepts), service)
    assert (taken.tolist(), given_.tolist()) == served(offers, accepts, work, gives, early)


def test_service_core_refuses_what_never_moves() -> None:
    one, none = np.ones(1, np.int64), np.zeros(1, np.int64)
    with pytest.raises(SpecError, match="move sometimes"):
        service_cycles(ALWAYS, ~ALWAYS, Service(one, one))
    with pytest.raises(SpecError, match="takes no cycle"):
        Service(none, none)
    with pytest.raises(SpecError, match="takes no cycle"):
        Service(none, one, early=True)
    with pytest.raises(SpecError, match="negative"):
        Service(-one, one)


@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 150), st.sampled_from((5, 8, 64, 128)),
       st.integers(1, 5), st.floats(0, 1), st.integers(0, 9))  # fmt: skip
def test_join_cycles_are_those_of_sets(
    m: int, n: int, k: int, width: int, matches: int, density: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((m, k)) < density, rng.random((n, k)) < density
    cycles = intersect_cycles(a, b, width, matches)
    for i in range(m):
        for j in range(n):
            both = set(np.flatnonzero(a[i])) & set(np.flatnonzero(b[j]))
            tiles = [len({place for place in both if start <= place < start + width}) for start in range(0, k, width)]
            assert cycles[i, j] == sum(max(1, ceil(found / matches)) for found in tiles)


@pytest.mark.parametrize("matches", [1, 3])
def test_join_of_a_row_takes_its_cycles_and_the_latency(matches: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((1, 40 * 16)) < 0.4, rng.random((1, 40 * 16)) < 0.6
    service = intersect_service(a.reshape(-1, 16), b.reshape(-1, 16), matches)
    taken, given_ = service_cycles(ALWAYS, ALWAYS, service)
    busy = int(intersect_cycles(a, b, 16, matches)[0, 0])
    assert (taken[0], given_[-1]) == (0, busy + LATENCY_CYCLES - 1)
    assert int(service.work.sum() + service.gives.sum()) == busy


def test_offsets_find_the_values_that_meet() -> None:
    """The compressed values of both operands at the offsets multiply to the dot product of the dense ones."""
    rng = np.random.default_rng(1)
    a, b = (rng.integers(1, 100, (50, 32)) * (rng.random((50, 32)) < 0.4) for _ in range(2))
    tile, offset_a, offset_b = intersect(a != 0, b != 0)
    for t in range(50):
        kept_a, kept_b = a[t][a[t] != 0], b[t][b[t] != 0]
        assert (kept_a[offset_a[tile == t]] * kept_b[offset_b[tile == t]]).sum() == a[t] @ b[t]


def test_join_refuses_what_does_not_fit() -> None:
    mask = np.ones((2, 8), np.bool_)
    with pytest.raises(SpecError, match=r"expected \(m, k\)"):
        intersect_cycles(mask, mask[:, :4], 8, 1)
    with pytest.raises(SpecError, match="at least 1"):
        intersect_cycles(mask, mask, 8, 0)


def hashed(rows: list[list[int]], depth: int) -> tuple[list[int], list[int], list[int]]:
    """Probes and slots of every pair and entries of every row, with a dictionary for a table."""
    probes, slots, entries = [], [], []
    for row in rows:
        table: dict[int, int] = {}
        for key in row:
            path = [(key + step) % depth for step in range(depth)]
            found = [step for step, slot in enumerate(path) if table.get(slot, key) == key]
            probes.append(found[0] + 1 if found else depth)
            slots.append(path[found[0]] if found else LOST)
            if found:
                table[slots[-1]] = key
        entries.append(len(table))
    return probes, slots, entries


ROWS = st.lists(st.lists(st.integers(0, 30), max_size=20), min_size=1, max_size=6)


def walked(rows: list[list[int]], depth: int) -> HashProbes:
    pointers = np.cumsum([0, *map(len, rows)])
    return hash_probes(np.array([key for row in rows for key in row], np.int64), pointers, depth)


@settings(max_examples=80)
@given(ROWS, st.sampled_from((1, 2, 8, 16, 64)))
def test_hash_probes_is_its_slow_twin(rows: list[list[int]], depth: int) -> None:
    walk = walked(rows, depth)
    assert (walk.probes.tolist(), walk.slots.tolist(), walk.entries.tolist()) == hashed(rows, depth)
    assert walk.entries.tolist() == [min(depth, len(set(row))) for row in rows]
    assert walk.lost == 0 or max(len(set(row)) for row in rows) > depth


@given(ROWS)
def test_a_table_as_large_as_its_keys_never_probes_twice(rows: list[list[int]]) -> None:
    walk = walked(rows, 32)
    assert (walk.probes == 1).all()
    assert walk.row_cycles.tolist() == [len(row) + max(1, len(set(row))) for row in rows]


def test_rows_follow_one_another_without_a_gap() -> None:
    """The handshakes of a stream without stalls end after the rows' cycles and the latency."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 99, 12).tolist() for _ in range(30)]
    walk = walked(rows, 32)
    last = np.arange(12 * 30) % 12 == 11
    gives = np.where(last, np.repeat(walk.entries, 12), 0)
    taken, given_ = service_cycles(ALWAYS, ALWAYS, Service(walk.probes, gives, early=True))
    assert (taken[0], given_[-1]) == (0, int(walk.row_cycles.sum()) + HASH_LATENCY - 1)
    assert given_[0] == walk.probes[:12].sum() + HASH_LATENCY


def test_hash_probes_refuses_what_does_not_fit() -> None:
    keys, pointers = np.arange(4), np.array([0, 4])
    for bad, said in (((keys, pointers, 6), "power of two"), ((-keys, pointers, 8), "below 0"),
                      ((keys, np.array([0, 3]), 8), "do not fit")):  # fmt: skip
        with pytest.raises(SpecError, match=said):
            hash_probes(*bad)
