# SPDX-License-Identifier: Apache-2.0
"""Block-sparse products: the contract, twins tile by tile, block patterns against brute force."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.core import Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.blocks import (
    block_diagonal,
    blocked,
    clustered,
    expanded,
    expert_topology,
    flat_butterfly,
    reordered,
    strongest_blocks,
)
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig
from simsparse.dataflow.tile_queue import last_end
from simsparse.errors import SpecError
from simsparse.sparsity.formats.bsr import Bsr
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

OWN = {"block_n": 16.0, "block_k": 16.0, "tile_m": 8.0, "team": 1.0, "resident": 1.0, "mma_m": 8.0, "mma_n": 16.0,
       "mma_k": 16.0, "stages": 2.0, "fill": 20.0, "feed": 64.0, "index_bits": 32.0,
       "inputs_inside": 0.0}  # fmt: skip


def machine(dram_bytes: float = 64.0, rows: int = 4, cols: int = 2, **own: float) -> PeConfig:
    return PeConfig(rows, cols, 64, Buffers(1 << 20, 1 << 20, 4096), dram_bytes, 16, 16, {**OWN, **own})


class TestBlockMma(EngineContract):
    name, engine, machine = "block_mma", ENGINES.get("block_mma"), machine()
    sparsities = (
        *EngineContract.sparsities,
        ("block16:0.3", "dense"),
        ("block32:0.4", "block16:0.6"),
        ("2:4", "dense"),
    )


class TestBlockMmaInTeams(EngineContract):
    name, engine = "block_mma", ENGINES.get("block_mma")
    machine = machine(team=2, resident=2, block_n=32, tile_m=16, inputs_inside=1)
    sparsities = (*EngineContract.sparsities, ("block32:0.3", "dense"))


def tile_by_tile(w: Mask, x: Mask, has: PeConfig) -> int:
    """Cycles without DRAM: cycle after cycle, each team begins the step of its tile that has waited longest."""
    own = {name: int(value) for name, value in has.settings.items()}
    teams = has.rows * has.cols // own["team"]
    pairs = (("tile_m", "mma_m"), ("block_n", "mma_n"), ("block_k", "mma_k"))
    instructions = prod(-(-own[size] // own[edge]) for size, edge in pairs)
    compute = -(-instructions // own["team"]) * -(-own["mma_m"] * own["mma_n"] * own["mma_k"] // has.macs)
    feed = has.settings["feed"] * own["team"] / has.cols
    load = int(np.ceil(((own["block_n"] + own["tile_m"]) * own["block_k"] * 2 + own["index_bits"] / 8) / feed))
    drain, step = int(np.ceil(own["tile_m"] * own["block_n"] * 2 / feed)), max(compute, load)
    delay = own["fill"] + min(compute, load)
    wait = max(0, delay - (own["stages"] - 1) * step)
    tops, lefts = range(0, len(x), own["tile_m"]), range(0, len(w), own["block_n"])
    inside = [(left, top) for left in lefts for top in tops]
    corners = inside if own["inputs_inside"] else sorted(inside, key=lambda corner: corner[1])
    tiles = [
        sum(bool(x[top : top + own["tile_m"], k : k + own["block_k"]].any()
                 and w[left : left + own["block_n"], k : k + own["block_k"]].any())
            for k in range(0, w.shape[1], own["block_k"]))
        for left, top in corners
    ]  # fmt: skip
    places = {(p, t): [0, -1] for p in range(own["resident"]) for t in range(teams)}  # free or ready from, steps left
    busy, now, waiting = [0] * teams, 0, list(tiles)
    while waiting or any(left >= 0 for _, left in places.values()):
        for place in (places[key] for key in sorted(places, key=lambda key: (places[key][0], key))):
            if place[1] < 0 and place[0] <= now and waiting:
                place[1] = waiting.pop(0)
                place[0] = now + (delay if place[1] else 0)
        for t in range(teams):
            mine = [(places[p, t][0], p) for p in range(own["resident"]) if places[p, t][1] >= 0]
            if mine and busy[t] <= now and min(mine)[0] <= now:
                place = places[min(mine)[1], t]
                done = place[1] <= 1
                busy[t] = now + (step if place[1] else 0) + (drain if done else 0)
                place[0], place[1] = busy[t] + (0 if done else wait), -1 if done else place[1] - 1
        now += 1
    return max(busy)


@settings(max_examples=40)
@given(
    st.integers(1, 40), st.integers(1, 60), st.integers(1, 60), st.integers(0, 999),
    st.sampled_from([0.002, 0.02, 0.3]),
    st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 3)]), st.sampled_from([(4, 8, 8), (8, 5, 12)]), st.integers(1, 30),
    st.integers(1, 3), st.booleans(),
)  # fmt: skip
def test_the_core_is_its_twin(
    m: int,
    n: int,
    k: int,
    seed: int,
    share: float,
    crew: tuple[int, int],
    sizes: tuple[int, int, int],
    feed: int,
    stages: int,
    inside: bool,
) -> None:
    rng = np.random.default_rng(seed)
    w, x = rng.random((n, k)) < share, rng.random((m, k)) < 0.1
    tile_m, block_n, block_k = sizes
    has = machine(1e9, 2, 2, team=crew[0], resident=crew[1], tile_m=tile_m, block_n=block_n, block_k=block_k, feed=feed,
                  stages=stages, inputs_inside=inside)  # fmt: skip
    work = ENGINES.get("block_mma").run(NonZeros.of(w), NonZeros.of(x), has)
    assert work.cycles - work.causes["dram"] == tile_by_tile(w, x, has)


def test_a_full_wave_and_one_tile_more() -> None:
    """Eight teams: nine equal tiles take twice as long as eight; the imbalance is what the ninth leaves idle."""
    has = machine(1e9, fill=0, feed=1e9)
    eight, nine = (ENGINES.get("block_mma").run(NonZeros.dense(16, 64), NonZeros.dense(8 * t, 64), has) for t in (8, 9))
    step = 8 * 16 * 16 // 64
    assert eight.cycles == 4 * step + 1 + 1 and eight.causes["imbalance"] == 0
    assert nine.cycles == 2 * eight.cycles - 2 + nine.causes["latency"] - eight.causes["latency"] + 1
    assert nine.causes["imbalance"] == pytest.approx((1 - 9 / 16) * 2 * 4 * step, abs=3)


def test_blocks_are_stored_as_bsr_stores_them() -> None:
    drawn = Sparsity.parse("unstructured:0.003").draw(96, 160, 1)
    bsr = Bsr(16)
    stored = bsr.stored_bits((96, 160), bsr.units(drawn.mask()), 16) // 8
    work = ENGINES.get("block_mma").run(drawn, NonZeros.dense(8, 160), machine())
    assert work.dram_read == stored - 4 + 8 * 160 * 2
    assert work.events["blocks"] == bsr.units(drawn.mask())


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=40)
def test_blocks_against_brute_force(rows: int, cols: int, high: int, wide: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((rows, cols)) < 0.1
    grid = blocked(NonZeros.of(mask), high, wide).mask()
    for i in range(grid.shape[0]):
        for j in range(grid.shape[1]):
            assert grid[i, j] == mask[i * high : (i + 1) * high, j * wide : (j + 1) * wide].any()
    full = expanded(NonZeros.of(grid), high, wide)
    np.testing.assert_array_equal(full.mask(), np.kron(grid, np.ones((high, wide), np.bool_)))
    np.testing.assert_array_equal(blocked(full, high, wide).mask(), grid)


def test_an_edge_below_one_is_no_block() -> None:
    with pytest.raises(SpecError, match="no block"):
        blocked(NonZeros.dense(4, 4), 0, 4)


def jaccard_order(mask: Mask, size: int) -> list[int]:
    left, order = list(range(len(mask))), []
    while left:
        first = max(left, key=lambda row: (int(mask[row].sum()), -row))
        cluster, union = [first], mask[first].copy()
        left.remove(first)
        while left and len(cluster) < size:
            if union.any():
                best = max(left, key=lambda r: ((mask[r] & union).sum() / (mask[r] | union).sum(), -r))
            else:
                best = max(left, key=lambda r: (int(mask[r].sum()), -r))
            cluster.append(best)
            union |= mask[best]
            left.remove(best)
        order += cluster
    return order


@given(st.integers(1, 24), st.integers(1, 30), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=40)
def test_clusters_are_those_of_sets(rows: int, cols: int, size: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((rows, cols)) < 0.2
    assert clustered(NonZeros.of(mask), size, 1).tolist() == jaccard_order(mask, size)


def test_clustering_finds_the_blocks_of_shuffled_rows() -> None:
    rng = np.random.default_rng(3)
    blocks = NonZeros.of(rng.random((8, 32)) < 0.2)
    shuffled = reordered(expanded(blocks, 16, 16), rng.permutation(128))
    found = reordered(shuffled, clustered(shuffled, 16, 16))
    assert blocked(shuffled, 16, 16).nnz > 2 * blocks.nnz
    assert blocked(found, 16, 16).nnz == blocks.nnz
    with pytest.raises(SpecError, match="permutation"):
        reordered(found, np.zeros(128, np.int64))


def test_a_topology_by_hand() -> None:
    topology = expert_topology([3, 0, 9], 8, 4)
    assert topology.shape == (1 + 0 + 3, 6)
    np.testing.assert_array_equal(
        topology.mask(), [[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]
    )


def test_an_moe_layer_is_its_products() -> None:
    """Its second half is the product of the hidden layer's topology with the stacked weights."""
    has = machine(1e9, block_n=16, block_k=16, tile_m=16)
    counts, d_model, d_ff = [20, 0, 5, 64], 48, 32
    layer = ENGINES.get("block_mma").experts(counts, d_model, d_ff, False, has)
    hidden = expanded(expert_topology(counts, d_ff, 16), 16, 16)
    down = ENGINES.get("block_mma").run(NonZeros.dense(d_model, 4 * d_ff), hidden, has)
    tiles = sum(-(-count // 16) for count in counts)
    assert layer is not None
    assert down.events["blocks"] == tiles * (d_model // 16) * (d_ff // 16)
    assert layer.events["blocks"] == 2 * down.events["blocks"]
    assert layer.macs == sum(counts) * 2 * d_model * d_ff
    assert sum(layer.causes.values()) == layer.cycles
    gated = ENGINES.get("block_mma").experts(counts, d_model, d_ff, True, has)
    assert gated is not None and gated.events["blocks"] == 3 * down.events["blocks"]


def test_a_butterfly_is_the_sum_of_its_factors() -> None:
    factors = np.eye(16, dtype=np.bool_)
    for stride in (1, 2, 4):
        factors |= np.kron(np.eye(16 // (2 * stride)), np.kron(np.ones((2, 2)), np.eye(stride))).astype(np.bool_)
    np.testing.assert_array_equal(flat_butterfly(16, 16, 3).mask(), factors)
    assert flat_butterfly(16, 64, 3).nnz == 4 * factors.sum()
    with pytest.raises(SpecError, match="multiple of 8"):
        flat_butterfly(12, 12, 3)


def test_a_monarch_matrix_is_two_diagonals_of_blocks() -> None:
    """With the permutation between, every output depends on every input, for 2 n sqrt(n) of n * n weights."""
    side, blocks = 36, 6
    factor = block_diagonal(blocks, 6, 6).mask().astype(int)
    turn = np.arange(side).reshape(blocks, -1).T.reshape(-1)
    assert ((factor @ factor[turn]) > 0).all()
    assert 2 * factor.sum() == 2 * side * 6


def test_the_strongest_blocks_are_kept() -> None:
    weights = np.random.default_rng(0).standard_normal((24, 40))
    kept = strongest_blocks(weights, 8, 0.3)
    norms = {(i, j): np.linalg.norm(weights[8 * i : 8 * i + 8, 8 * j : 8 * j + 8]) for i in range(3) for j in range(5)}
    strongest = sorted(norms, key=lambda place: -norms[place])[:5]
    assert {tuple(place) for place in np.argwhere(kept.mask()).tolist()} == set(strongest)


def test_waiting_tiles_overlap_where_places_are_left() -> None:
    """Two resident tiles hide the wait of one behind the steps of the other."""
    steps, at_once = np.full(6, 4, np.int64), np.zeros(6, np.int64)
    assert last_end(steps, at_once, 1, 1, 10, 30, 0, 0) == 6 * (30 + 40)
    assert last_end(steps, at_once, 1, 1, 10, 30, 30, 0) == 6 * 4 * (30 + 10)
    assert last_end(steps, at_once, 1, 4, 10, 30, 30, 0) == 170 + 30 + 4 * 10 + 3 * 30, "the sixth begins at 170"
