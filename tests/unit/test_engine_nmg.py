# SPDX-License-Identifier: Apache-2.0
"""Grouped n:m: the contract, a twin that fills places row by row, matrices of the format."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.core import Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig
from simsparse.errors import SpecError
from simsparse.sparsity.formats.grouped_nm import GroupedNM, pattern_order
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

OWN = {"n": 2.0, "m": 4.0, "g": 8.0, "banks": 16.0}
MACHINE = PeConfig(8, 16, 1, Buffers(1 << 16, 1 << 20, 1 << 16), 128.0, 16, 16, OWN)


class TestNmg(EngineContract):
    name, engine, machine = "nmg", ENGINES.get("nmg"), MACHINE
    sparsities = (*EngineContract.sparsities, ("2:4", "dense"), ("1:4", "unstructured:0.5"))


class TestNmgOfEight(EngineContract):
    name, engine = "nmg", ENGINES.get("nmg")
    machine = replace(MACHINE, rows=4, macs=2, settings={"n": 2.0, "m": 8.0, "g": 4.0, "banks": 8.0})
    sparsities = (*EngineContract.sparsities, ("2:8", "dense"))


def row_by_row(w: Mask, sizes: tuple[int, int, int], lanes: int, macs: int, banks: int) -> tuple[int, int]:
    """(walks, cycles) of one batch, with sets and lists."""
    n, m, g = sizes
    order = [frozenset(pattern) for pattern in pattern_order(n, m)]
    assert set(order) == {frozenset(choice) for choice in combinations(range(m), n)}
    walks = cycles = 0
    for top in range(0, len(w), len(order) * g):
        for left in range(0, w.shape[1], m):
            places: dict[frozenset[int], list[int]] = {pattern: [] for pattern in order}
            sets = [set(np.flatnonzero(row).tolist()) for row in w[top : top + len(order) * g, left : left + m]]
            for row in sorted(range(len(sets)), key=lambda row: (len(sets[row]) != n, row)):
                while sets[row]:
                    fits = [p for p in order if (p <= sets[row] if len(sets[row]) >= n else p >= sets[row])]
                    best = min(fits, key=lambda p: (len(places[p]), order.index(p)))
                    places[best].append(row)
                    sets[row] -= best
            tile = max(-(-len(rows) // g) for rows in places.values())
            walks += tile
            for rows in places.values():
                for first in range(0, tile * g, g):
                    for step in range(first, first + g, lanes):
                        mine = [row % banks for row in rows[step : min(step + lanes, first + g)]]
                        cycles += max([-(-n // macs), *(mine.count(bank) for bank in mine)])
    return walks, cycles


@settings(max_examples=60)
@given(
    st.integers(1, 40), st.integers(1, 20), st.integers(0, 999), st.sampled_from([0.05, 0.4, 1.0]),
    st.sampled_from([(1, 3, 2), (2, 4, 3), (2, 2, 4), (3, 5, 1)]), st.integers(1, 5), st.integers(1, 2),
    st.integers(1, 5),
)  # fmt: skip
def test_the_core_is_its_twin(
    rows: int, k: int, seed: int, share: float, sizes: tuple[int, int, int], lanes: int, macs: int, banks: int
) -> None:
    w = np.random.default_rng(seed).random((rows, k)) < share
    own = dict(zip(("n", "m", "g", "banks"), map(float, (*sizes, banks)), strict=True))
    has = PeConfig(lanes, 4, macs, Buffers(1, 1 << 20, 1), 1e9, 16, 16, own)
    work = ENGINES.get("nmg").run(NonZeros.of(w), NonZeros.dense(6, k), has)
    walks, cycles = row_by_row(w, sizes, lanes, macs, banks)
    assert work.events["walks"] == walks
    assert work.cycles - work.causes["dram"] == 2 * cycles


def grouped(chunks: int, groups: int, g: int) -> Mask:
    """A 2:4:g matrix with its rows in random places."""
    rng = np.random.default_rng(1)
    order = np.array(pattern_order(2, 4)).repeat(g, axis=0)
    tiles = np.zeros((chunks, groups, len(order), 4), np.bool_)
    for tile in tiles.reshape(-1, len(order), 4):
        np.put_along_axis(tile, order[rng.permutation(len(order))], True, axis=1)
    return tiles.swapaxes(1, 2).reshape(chunks * len(order), groups * 4)


def test_a_matrix_of_the_format_takes_one_walk_and_its_bytes() -> None:
    w = grouped(2, 16, 8)
    work = ENGINES.get("nmg").run(
        NonZeros.of(w), NonZeros.dense(16, 64), replace(MACHINE, settings={**OWN, "banks": 65536.0})
    )
    form = GroupedNM(2, 4, 8)
    assert form.encode(w.astype(np.float32)).units == w.sum()
    assert work.events["walks"] == 2 * 16
    assert work.causes["padding"] == 0 and work.causes["conflict"] == 0
    assert work.dram_read - 16 * 64 * 2 == form.stored_bits(w.shape, int(w.sum()), 16) // 8


def test_random_2_of_4_is_no_grouped_matrix_and_pays_for_it() -> None:
    random = Sparsity.parse("2:4").draw(96, 256, 1)
    both = [
        ENGINES.get("nmg").run(w, NonZeros.dense(16, 256), MACHINE) for w in (NonZeros.of(grouped(2, 64, 8)), random)
    ]
    assert both[0].macs == both[1].macs
    assert both[1].causes["padding"] > 0.5 * both[0].causes["compute"]


def test_sums_in_one_bank_are_added_one_after_another() -> None:
    w = NonZeros.of(grouped(1, 8, 8))
    one = ENGINES.get("nmg").run(w, NonZeros.dense(16, 32), replace(MACHINE, settings={**OWN, "banks": 1.0}))
    assert one.cycles - one.causes["dram"] == 8 * 6 * 8


def test_groups_too_wide() -> None:
    with pytest.raises(SpecError, match="expected n <= m <= 16"):
        ENGINES.get("nmg").run(
            NonZeros.dense(4, 32), NonZeros.dense(4, 32), replace(MACHINE, settings={**OWN, "m": 32.0})
        )
