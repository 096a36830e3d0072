# SPDX-License-Identifier: Apache-2.0
"""SCNN: the contract, a twin that scatters one product after another, what vectors, banks and tiles cost."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, Work
from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

OWN = {"vector": 4.0, "accumulators": 256.0, "banks": 32.0, "queue": 4.0, "run_bits": 4.0}
MACHINE = PeConfig(2, 4, 16, Buffers(1 << 18, 1 << 18, 1 << 16), 256.0, 16, 16, OWN)


class TestScnn(EngineContract):
    name, engine, machine = "scnn", ENGINES.get("scnn"), MACHINE


def run(w: Mask, x: Mask, machine: PeConfig = MACHINE) -> Work:
    return ENGINES.get("scnn").run(NonZeros.of(w), NonZeros.of(x), machine)


def twin(w: Mask, x: Mask, machine: PeConfig) -> tuple[int, int]:
    """(cycles without DRAM, steps): PE by PE, product by product."""
    own = {name: int(value) for name, value in machine.settings.items()}
    pes, across = machine.rows * machine.cols, machine.macs // own["vector"]
    tile = -(-len(x) // pes)
    group = max(1, own["accumulators"] // tile)
    cycles = steps = 0
    for first in range(0, len(w), group):
        ends = []
        for top in range(0, len(x), tile):
            end, made = _pe(w[first : first + group], x[top : top + tile], own, across, tile)
            ends.append(end)
            steps += made
        cycles += max(ends)
    return cycles, steps


def _pe(w: Mask, x: Mask, own: dict[str, int], across: int, tile: int) -> tuple[int, int]:
    free: defaultdict[int, int] = defaultdict(int)
    now = steps = 0
    for k in range(w.shape[1]):
        outs, rows = np.flatnonzero(w[:, k]).tolist(), np.flatnonzero(x[:, k]).tolist()
        for i in range(0, len(outs), own["vector"]):
            for j in range(0, len(rows), across):
                products = [(out * tile + row) % own["banks"] for out in outs[i : i + own["vector"]]
                            for row in rows[j : j + across]]  # fmt: skip
                start = max(now, *(free[bank] - own["queue"] for bank in products))
                for bank in products:
                    free[bank] = max(free[bank], start) + 1
                now, steps = start + 1, steps + 1
    return max(now, *free.values()) if free else now, steps


@settings(max_examples=60)
@given(
    st.integers(1, 14), st.integers(1, 14), st.integers(1, 12), st.integers(0, 999),
    st.sampled_from([0.0, 0.2, 0.6, 1.0]), st.sampled_from([0.3, 1.0]),
    st.sampled_from([(2, 4), (1, 3), (4, 4)]), st.integers(1, 24), st.integers(1, 7), st.integers(1, 3),
)  # fmt: skip
def test_the_core_is_its_twin(
    m: int, n: int, k: int, seed: int, share_w: float, share_x: float,
    vectors: tuple[int, int], accumulators: int, banks: int, queue: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    w, x = rng.random((n, k)) < share_w, rng.random((m, k)) < share_x
    own = {"vector": float(vectors[0]), "accumulators": float(accumulators), "banks": float(banks),
           "queue": float(queue), "run_bits": 4.0}  # fmt: skip
    machine = PeConfig(1, 3, vectors[0] * vectors[1], Buffers(64, 64, 64), 8.0, 16, 16, own)
    work = run(w, x, machine)
    assert (work.cycles - work.causes["dram"], work.events["steps"]) == twin(w, x, machine)


def test_a_vector_that_is_not_full_costs_a_whole_step() -> None:
    for kept, steps in ((1, 1), (4, 1), (5, 2)):
        w, x = np.zeros((8, 64), np.bool_), np.zeros((8, 64), np.bool_)
        w[:kept], x[0] = True, True
        assert run(w, x).events["steps"] == 64 * steps


def test_fewer_banks_make_products_wait() -> None:
    rng = np.random.default_rng(0)
    w, x = rng.random((64, 128)) < 0.5, rng.random((64, 128)) < 0.5
    waits = [
        run(w, x, PeConfig(2, 4, 16, MACHINE.buffers, 1e9, 16, 16, {**OWN, "banks": banks})).causes["conflict"]
        for banks in (8.0, 32.0, 256.0)
    ]
    assert waits == sorted(waits, reverse=True) and waits[0] > 4 * waits[1]


def test_pes_wait_for_the_fullest_tile() -> None:
    x = np.zeros((64, 128), np.bool_)
    x[:8] = True
    work = run(np.ones((32, 128), np.bool_), x)
    assert work.causes["imbalance"] > 6 * work.causes["compute"]


def test_weights_come_again_for_inputs_that_do_not_fit() -> None:
    dense = np.ones((64, 128), np.bool_)
    small = PeConfig(2, 4, 16, Buffers(8192, 8192, 64), 256.0, 16, 16, OWN)
    stored = 64 * 128 * 20 // 8
    assert run(dense, dense).dram_read == 2 * stored
    assert run(dense, dense, small).dram_read == stored * (1 + 3)


def test_a_vector_must_divide_the_multipliers() -> None:
    machine = PeConfig(2, 4, 16, MACHINE.buffers, 8.0, 16, 16, {**OWN, "vector": 3.0})
    with pytest.raises(SpecError, match="does not divide"):
        run(np.ones((4, 4), np.bool_), np.ones((4, 4), np.bool_), machine)
