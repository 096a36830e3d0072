# SPDX-License-Identifier: Apache-2.0
"""SIGMA: the contract, a twin that sends one value after another, what the mechanism implies."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simsparse.core import Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, Work
from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

OWN = {"ports": 16.0, "streamed_zeros": 1.0}
MACHINE = PeConfig(8, 16, 1, Buffers(1 << 18, 1 << 18, 1 << 16), 256.0, 16, 16, OWN)
WIDE = PeConfig(16, 32, 1, MACHINE.buffers, 256.0, 16, 16, {**OWN, "ports": 64.0})


class TestSigma(EngineContract):
    name, engine, machine = "sigma", ENGINES.get("sigma"), WIDE


class TestSigmaSendsNonZerosOnly(EngineContract):
    name, engine = "sigma", ENGINES.get("sigma")
    machine = PeConfig(16, 32, 1, MACHINE.buffers, 256.0, 16, 16, {"ports": 64.0, "streamed_zeros": 0.0})


def run(w: Mask, x: Mask, machine: PeConfig) -> Work:
    return ENGINES.get("sigma").run(NonZeros.of(w), NonZeros.of(x), machine)


def placed(w: Mask, room: int) -> list[list[tuple[int, int] | None]]:
    """Each fold's multipliers, in order: (row, k) of the weight that stays there, None for a sum so far."""
    folds: list[list[tuple[int, int] | None]] = [[]]
    for row in range(w.shape[0]):
        kept: list[tuple[int, int] | None] = [(row, int(k)) for k in np.flatnonzero(w[row])]
        if len(folds[-1]) + len(kept) > room and folds[-1]:
            folds.append([])
        cut = len(kept) > room
        folds[-1] += kept[:room]
        kept = kept[room:]
        while kept:
            folds.append([None, *kept[: room - 1]])
            kept = kept[room - 1 :]
        if cut:
            folds.append([])
    return [fold for fold in folds if fold]


def twin(w: Mask, x: Mask, machine: PeConfig) -> int:
    """Cycles of all folds without the DRAM: values counted port by port, for one row of inputs after another."""
    room, ports = machine.peak_macs, int(machine.settings["ports"])
    span, zeros = -(-room // ports), machine.settings["streamed_zeros"] == 1
    total = 0
    for fold in placed(w, room):
        load = Counter(place // span for place, held in enumerate(fold) if held is not None)
        sends: Counter[int] = Counter()
        for row in x:
            wanted = {(place // span, held[1]) for place, held in enumerate(fold) if held is not None}
            sends.update(port for port, k in wanted if zeros or row[k])
            sends.update(place // span for place, held in enumerate(fold) if held is None)
        rows = len({held[0] for held in fold if held is not None})
        stream = max(len(x), -(-rows * len(x) // ports), *sends.values())
        levels = sum(int(np.ceil(np.log2(size))) + 1 for size in (span, room))
        total += 1 + max(load.values()) + stream + levels
    return total


@example(1, 1, 20, 0, 1.0, 0.3, (4, 4, 4), 0.0)
@example(1, 4, 1, 0, 0.1, 0.3, (2, 2, 1), 0.0)
@settings(max_examples=60)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(0, 999),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.sampled_from([0.3, 1.0]),
    st.sampled_from([(2, 2, 1), (2, 4, 3), (4, 4, 4), (3, 5, 15)]), st.sampled_from([0.0, 1.0]),
)  # fmt: skip
def test_the_core_is_its_twin(
    m: int, n: int, k: int, seed: int, share_w: float, share_x: float, array: tuple[int, int, int], zeros: float
) -> None:
    rng = np.random.default_rng(seed)
    w, x = rng.random((n, k)) < share_w, rng.random((m, k)) < share_x
    own = {"ports": float(array[2]), "streamed_zeros": zeros}
    machine = PeConfig(array[0], array[1], 1, Buffers(64, 64, 64), 8.0, 16, 16, own)
    work = run(w, x, machine)
    assert work.cycles - work.causes["dram"] == twin(w, x, machine)
    assert work.events["folds"] == len(placed(w, machine.peak_macs))


def test_whole_rows_share_the_multipliers() -> None:
    w = np.ones((8, 64), np.bool_)
    assert run(w, np.ones((5, 64), np.bool_), MACHINE).events["folds"] == 4
    w[:, 32:] = False
    assert run(w, np.ones((5, 64), np.bool_), MACHINE).events["folds"] == 2
    w[:, :32] = np.arange(8)[:, None] % 2 == 0
    assert run(w, np.ones((5, 64), np.bool_), MACHINE).events["folds"] == 1


def test_a_long_row_is_cut_and_carries_its_sum() -> None:
    work = run(np.ones((1, 300), np.bool_), np.ones((10, 300), np.bool_), MACHINE)
    assert work.events["folds"] == 1 + 2


def test_the_closed_form_of_rows_that_are_cut() -> None:
    dense = Sparsity.parse("dense")
    expected = ENGINES.get("sigma").expect((96, 128, 256), dense, dense, MACHINE)
    walked = run(np.ones((128, 256), np.bool_), np.ones((96, 256), np.bool_), MACHINE)
    assert expected.events == walked.events == {"folds": 3 * 128}
    assert expected.cycles == pytest.approx(walked.cycles, rel=0.06)


def test_bandwidth_bounds_the_stream() -> None:
    dense = np.ones((64, 64), np.bool_)
    narrow, wide = (
        run(dense, dense, PeConfig(8, 16, 1, MACHINE.buffers, 1e6, 16, 16, {**OWN, "ports": ports}))
        for ports in (16.0, 128.0)
    )
    assert narrow.causes["bandwidth"] == 7 * narrow.causes["compute"]
    assert wide.causes["bandwidth"] == 0


def test_zeros_of_the_streamed_operand_take_bandwidth_only_if_sent() -> None:
    rng = np.random.default_rng(0)
    w, x = np.ones((16, 128), np.bool_), rng.random((64, 128)) < 0.25
    sent, skipped = (
        run(w, x, PeConfig(8, 16, 1, MACHINE.buffers, 1e6, 16, 16, {**OWN, "streamed_zeros": zeros}))
        for zeros in (1.0, 0.0)
    )
    assert skipped.cycles < 0.5 * sent.cycles


@pytest.mark.parametrize(("array", "zeros"), [((1, 1), 1.0), ((8, 16), 0.5)])
def test_what_no_machine_can_be(array: tuple[int, int], zeros: float) -> None:
    machine = PeConfig(*array, 1, MACHINE.buffers, 8.0, 16, 16, {"ports": 1.0, "streamed_zeros": zeros})
    with pytest.raises(SpecError, match="expected"):
        run(np.ones((4, 4), np.bool_), np.ones((4, 4), np.bool_), machine)
