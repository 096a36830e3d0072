# SPDX-License-Identifier: Apache-2.0
"""Dataflows: the contract, SCALE-Sim's runs, the cycle core against its slow twin, DRAM traffic."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simsparse.dataflow import DATAFLOWS, Buffers, Gemms, PeArray, dram_traffic
from simsparse.errors import MappingError, SpecError
from simsparse.testing import DataflowContract

RUNS = (Path(__file__).parents[1] / "validation/data/peers/scalesim_3.0.0.csv").read_text().splitlines()
RESNET18 = [
    (12544, 64, 147), *[(3136, 64, 576)] * 4, (784, 128, 576), (784, 128, 64), *[(784, 128, 1152)] * 3,
    (196, 256, 1152), (196, 256, 128), *[(196, 256, 2304)] * 3,
    (49, 512, 2304), (49, 512, 256), *[(49, 512, 4608)] * 3,
]  # fmt: skip
WORKLOADS = {
    "gemm512": [(512, 512, 512)],
    "gemm1024": [(1024, 1024, 1024)],
    "bert": [*[(128, 768, 768)] * 4, (128, 3072, 768), (128, 768, 3072)],
    "resnet18": RESNET18,
}
Mask = NDArray[np.bool_]


class TestWeightStationary(DataflowContract):
    name, dataflow = "ws", DATAFLOWS.get("ws")


class TestWeightGather(DataflowContract):
    name, dataflow = "ws_gather", DATAFLOWS.get("ws_gather")


class TestOutputStationary(DataflowContract):
    name, dataflow = "os", DATAFLOWS.get("os")


class TestInputStationary(DataflowContract):
    name, dataflow = "is", DATAFLOWS.get("is")


def test_every_dataflow_is_under_contract() -> None:
    assert {contract.name for contract in DataflowContract.__subclasses__()} == set(DATAFLOWS)


@pytest.mark.parametrize("run", list(csv.DictReader(RUNS)), ids=lambda run: "-".join(run.values()))
def test_cycles_equal_scale_sim(run: dict[str, str]) -> None:
    m, n, k = np.array(WORKLOADS[run["workload"]]).T
    rows, cols = map(int, run["array"].split("x"))
    keep, group = (2, 4) if run["sparsity"] == "2:4" else (1, 1)
    name = "ws_gather" if run["sparsity"] == "2:4" else run["dataflow"]
    cycles = DATAFLOWS.get(name).cycles(Gemms.of(m, n, k, keep, group), PeArray(rows, cols))
    assert int((cycles - 1).sum()) == int(run["cycles"])


def test_double_buffering_approaches_the_ideal() -> None:
    """Loads hidden and one fill: k n / PEs folds of m cycles, plus the first load and one fill."""
    cycles = DATAFLOWS.get("ws").cycles(Gemms.of(512, 512, 512), PeArray(32, 32, skew=0.0, overlap=1.0))
    assert int(cycles) == 512**3 // 1024 + 32 + 62


def test_loads_longer_than_streams_show() -> None:
    """One token: the load of the next fold hides behind one cycle only."""
    cycles = DATAFLOWS.get("ws").cycles(Gemms.of(1, 32, 64), PeArray(32, 32, skew=0.0, overlap=1.0))
    assert int(cycles) == 32 + 1 + (32 - 1) + 1 + 62


def test_two_of_four_halves_the_stream() -> None:
    """512^3 on 32 x 32: 64 folds of 64 load, 1024 stream and 62 fill cycles."""
    assert int(DATAFLOWS.get("ws").cycles(Gemms.of(512, 512, 512, 2, 4), PeArray(32, 32))) == 64 * (64 + 1024 + 62)


def slow_walk(weights: Mask, inputs: Mask, array: PeArray, span: int) -> tuple[int, int]:
    """(cycles, effectual MACs), one PE and one token at a time."""
    (n, k), m = weights.shape, len(inputs)
    cycles = previous = 0
    started = False
    for left in range(0, n, array.cols):
        for top in range(0, k, array.rows * span):
            depth = range(top, min(k, top + array.rows * span))
            pes = [
                sum(bool(weights[output, i]) for i in depth if (i - top) // span == row)
                for output in range(left, min(n, left + array.cols))
                for row in range(array.rows)
            ]
            live = [token for token in range(m) if any(inputs[token, i] for i in depth)]
            if not live or not max(pes):
                continue
            interval = -(-max(pes) // array.macs)
            load = array.rows * interval
            shown = load - min(int(array.overlap * load), previous) if started else load
            stream = sum(interval for _ in live) + array.fold_fill + array.decode
            cycles, previous, started = cycles + shown + stream, stream, True
    macs = sum(bool(weights[o, i]) and bool(inputs[t, i]) for o in range(n) for i in range(k) for t in range(m))
    return cycles + array.once_fill * started, macs


arrays = st.builds(PeArray, rows=st.integers(1, 4), cols=st.integers(1, 4), macs=st.integers(1, 3),
                   skew=st.sampled_from([0.0, 0.5, 1.0]), overlap=st.sampled_from([0.0, 0.5, 1.0]),
                   decode=st.integers(0, 2))  # fmt: skip
seeds = st.integers(0, 2**32 - 1)


def random_masks(seed: int) -> tuple[Mask, Mask]:
    rng = np.random.default_rng(seed)
    m, n, k = rng.integers(1, 12, 3)
    weights, inputs = rng.random(2)
    return rng.random((n, k)) < weights, rng.random((m, k)) < inputs


@settings(max_examples=150)
@given(seeds, arrays, st.integers(1, 4))
def test_core_equals_its_twin(seed: int, array: PeArray, span: int) -> None:
    weights, inputs = random_masks(seed)
    walk = DATAFLOWS.get("ws").cycles_with_masks(weights, inputs, array, span)
    assert (walk.cycles, walk.macs) == slow_walk(weights, inputs, array, span)
    assert 0.0 <= walk.utilization <= 1.0


@settings(max_examples=100)
@given(seeds, arrays, st.integers(1, 4))
def test_a_denser_mask_is_never_faster(seed: int, array: PeArray, span: int) -> None:
    weights, inputs = random_masks(seed)
    more_weights, more_inputs = weights.copy(), inputs.copy()
    rng = np.random.default_rng(seed)
    more_weights[tuple(rng.integers(0, size) for size in weights.shape)] = True
    more_inputs[tuple(rng.integers(0, size) for size in inputs.shape)] = True
    walk = DATAFLOWS.get("ws").cycles_with_masks
    base = walk(weights, inputs, array, span)
    for denser in (walk(more_weights, inputs, array, span), walk(weights, more_inputs, array, span)):
        assert denser.cycles >= base.cycles
        assert denser.macs >= base.macs


@settings(max_examples=60)
@given(arrays, st.integers(1, 5), st.integers(1, 9), st.integers(1, 6), st.sampled_from([(1, 2), (2, 4), (1, 4)]))
def test_core_equals_the_closed_form_on_full_groups(
    array: PeArray, m: int, n: int, groups: int, pattern: tuple[int, int]
) -> None:
    keep, group = pattern
    gemms = Gemms.of(m, n, groups * group, keep, group)
    span = int(gemms.per_pe(array.macs)[0])
    groups += -groups % (span // group)
    gemms = Gemms.of(m, n, groups * group, keep, group)
    weights = np.zeros((n, groups, group), bool)
    weights[:, :, :keep] = True
    walk = DATAFLOWS.get("ws").cycles_with_masks(weights.reshape(n, -1), m, array, span)
    assert walk.cycles == int(DATAFLOWS.get("ws").cycles(gemms, array))
    assert walk.macs == int(gemms.macs)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SpecError, match="expected"):
        DATAFLOWS.get("ws").cycles_with_masks(np.ones((4, 8), bool), np.ones((2, 9), bool), PeArray(2, 2), 1)
    with pytest.raises(MappingError, match="no cycle core"):
        DATAFLOWS.get("os").cycles_with_masks(np.ones((4, 8), bool), 3, PeArray(2, 2), 1)


@pytest.mark.parametrize("bad", [{"rows": 0}, {"overlap": 1.5}, {"macs": 0}])
def test_bad_arrays_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(SpecError):
        PeArray(**{"rows": 4, "cols": 4, **bad})  # type: ignore[arg-type]


def test_bad_gemms_are_refused() -> None:
    for shape in ((0, 1, 1, 1, 1), (1, 1, 1, 3, 2)):
        with pytest.raises(SpecError):
            Gemms.of(*shape)


def traffic_of(room: int) -> tuple[float, float]:
    """(read, minimum) bytes of a 256^3 product in 2-byte elements with ``room`` bytes a buffer."""
    gemms, array = Gemms.of(256, 256, 256), PeArray(32, 32)
    buffers = Buffers(room, room, room)
    tile = DATAFLOWS.get("ws").tiles(gemms, array, buffers.partial_sums())
    size = np.array(2.0 * 256 * 256)
    return float(dram_traffic(gemms, array, tile, buffers, size, size, size).read), float(2 * size)


def test_large_buffers_read_everything_once() -> None:
    read, least = traffic_of(1 << 20)
    assert read == least


def test_smaller_buffers_never_read_less() -> None:
    reads = [traffic_of(room)[0] for room in (1 << 20, 1 << 17, 1 << 15, 1 << 13, 1 << 10)]
    assert reads == sorted(reads)
    assert reads[-1] > reads[0]
