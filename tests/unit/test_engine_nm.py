"""Engines for N:M weights: the contract, slow twins of their cores, and what the mechanisms must do."""

from __future__ import annotations

import numpy as np
import pytest
from contracts.engine import EngineContract
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.core import DENSE, Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.engine import ENGINES, Machine, Work
from simsparse.dataflow.nm_array import NmArray, fullest, output_stationary, weight_stationary
from simsparse.dataflow.pattern import Pattern

SAT = {"group": 8, "add_latency": 4, "interleave": 4, "skew": 1.0, "drain": 1}


def sat_machine(dram_bytes: float = 1e9, **settings: float) -> Machine:
    return Machine(4, 4, 1, Buffers(1 << 14, 1 << 14, 1 << 14), dram_bytes, 16, 16, {**SAT, **settings})


class TestSat(EngineContract):
    name, engine = "sat", ENGINES.get("sat")
    machine = sat_machine(dram_bytes=32.0)
    sparsities = (*EngineContract.sparsities, ("2:8", "dense"), ("2:4", "unstructured:0.5"))


def pe_by_pe(mask: np.ndarray, cols: int, group: int) -> list[list[int]]:
    n, k = mask.shape
    return [
        [max(int(mask[row, g : g + group].sum()) for row in range(block, min(n, block + cols)))
         for g in range(0, k, group)]
        for block in range(0, n, cols)
    ]  # fmt: skip


def sums_in_turn(tokens: int, adds: int, interleave: int, latency: int) -> int:
    """Cycles in which one adder adds ``adds`` times to each of ``tokens`` sums, ``interleave`` of them in turn."""
    cycle = 0
    for first in range(0, tokens, interleave):
        batch = min(interleave, tokens - first)
        ready = [cycle] * batch
        for _ in range(adds):
            for each in range(batch):
                cycle = max(cycle, ready[each])
                ready[each] = cycle + latency
                cycle += 1
            cycle = max(cycle, ready[0])
    return cycle


@given(
    n=st.integers(1, 9), k=st.integers(1, 40), cols=st.integers(1, 5), group=st.integers(1, 9), seed=st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_the_fullest_group_is_found_as_pe_by_pe(n: int, k: int, cols: int, group: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((n, k)) < 0.4
    assert fullest(Pattern.of(mask), cols, group).tolist() == pe_by_pe(mask, cols, group)


@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_interleaved_sums_take_as_long_as_one_adder_needs(
    tokens: int, adds: int, interleave: int, latency: int
) -> None:
    array = NmArray(1, 1, 1, latency, interleave, 0.0, 1000)
    parts = output_stationary(np.array([[adds]]), tokens, array)
    assert int(parts.total[0]) == sums_in_turn(tokens, adds, interleave, latency)
    assert int(adds * array.chained(np.asarray(tokens))) == sums_in_turn(tokens, adds, interleave, latency)


def test_dense_folds_cost_what_a_plain_array_costs() -> None:
    array = NmArray(8, 8, 1, 1, 1, 1.0, 1)
    parts = weight_stationary(np.ones((3, 5), np.int64), 100, array)
    assert parts.busy.tolist() == [500] * 3 and parts.fill.tolist() == [5 * 14] * 3


def run(sparsity: str, shape: tuple[int, int, int] = (64, 64, 256), **settings: float) -> Work:
    m, n, k = shape
    pattern = Pattern.drawn(n, k, Sparsity.parse(sparsity))
    return ENGINES.get("sat").run(pattern, Pattern.dense(m, k), sat_machine(**settings))


def test_two_of_eight_are_nearly_four_times_as_fast() -> None:
    dense, sparse = run("dense"), run("2:8")
    assert 3.5 < dense.cycles / sparse.cycles <= 4
    assert sparse.macs * 4 == dense.macs


def test_interleaving_hides_the_adder() -> None:
    patient, alternating = run("2:8", interleave=1), run("2:8", interleave=4)
    assert alternating.causes["latency"] == 0
    assert patient.cycles > 1.5 * alternating.cycles


def test_a_pattern_without_structure_waits_for_its_fullest_pe() -> None:
    even, uneven = run("2:8"), run("unstructured:0.25")
    assert uneven.cycles > 1.5 * even.cycles


@pytest.mark.parametrize("shape", [(64, 64, 256), (7, 33, 130), (200, 12, 19)], ids=str)
@pytest.mark.parametrize("sparsity", ["dense", "2:8", "1:4", "2:4"])
def test_the_closed_form_of_nm_weights_is_exact(shape: tuple[int, int, int], sparsity: str) -> None:
    machine, (m, n, k) = sat_machine(dram_bytes=24.0), shape
    walked = ENGINES.get("sat").run(Pattern.drawn(n, k, Sparsity.parse(sparsity)), Pattern.dense(m, k), machine)
    closed = ENGINES.get("sat").expect(shape, Sparsity.parse(sparsity), DENSE, machine)
    assert (closed.cycles, dict(closed.causes)) == (walked.cycles, dict(walked.causes))
