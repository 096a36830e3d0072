# SPDX-License-Identifier: Apache-2.0
"""Schedules of systolic arrays with scratchpads: SCALE-Sim's cycles, the slow twin, conservation, monotony."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from schedule_twin import slow_schedule
from test_dataflow import RUNS, WORKLOADS

from simsparse.dataflow import DATAFLOWS, Buffers, PeArray
from simsparse.dataflow.folds.dma import Interface
from simsparse.dataflow.folds.fold_plan import plan_folds
from simsparse.dataflow.folds.schedule import FoldGemm, FoldSchedule, Scratchpad, schedule
from simsparse.errors import SpecError

NAMES = ("ws", "os", "is")
ROOMY = Scratchpad(Buffers(1 << 22, 1 << 22, 1 << 24), Interface(shared=4096.0))
sizes = st.integers(1, 40)
names = st.sampled_from(NAMES)
outers = st.sampled_from(["weights", "inputs"])
arrays = st.builds(PeArray, rows=st.integers(1, 6), cols=st.integers(1, 6), macs=st.integers(1, 3),
                   skew=st.sampled_from([0.0, 0.5, 1.0]), overlap=st.sampled_from([0.0, 0.5, 1.0]),
                   decode=st.integers(0, 2))  # fmt: skip
rates = st.sampled_from([1.0, 2.5, 8.0, 20.0, 64.0, 1000.0])
interfaces = st.one_of(
    st.builds(Interface, shared=rates), st.builds(Interface, input=rates, weight=rates, output=rates)
)
rooms = st.sampled_from([64, 96, 200, 512, 2048, 1 << 16])
pads = st.builds(Scratchpad, st.builds(Buffers, rooms, rooms, rooms), interfaces)


@st.composite
def products(draw: Any) -> FoldGemm:
    keep, group = draw(st.sampled_from([(1, 1), (1, 1), (2, 4), (1, 4), (3, 8)]))
    m, n, k = draw(sizes), draw(sizes), draw(sizes)
    bits = draw(st.sampled_from([4, 8, 16]))
    kept = k // group * keep + min(keep, k % group)
    return FoldGemm(m, n, k, m * k * bits, n * kept * (bits + (group - 1).bit_length()), m * n * bits, keep, group)


def walked(
    dataflow: str, product: FoldGemm, array: PeArray, pad: Scratchpad, outer: Any = None, cut: int = 1
) -> FoldSchedule | None:
    """The schedule; None where the drawn buffers are too small for a piece."""
    try:
        return schedule(dataflow, product, array, pad, outer, cut)
    except SpecError as error:
        assert "half a buffer holds" in str(error)
        return None


@pytest.mark.parametrize("run", [r for r in csv.DictReader(RUNS) if r["sparsity"] == "dense"],
                         ids=lambda run: "-".join(run.values()))  # fmt: skip
def test_compute_cycles_equal_scale_sim(run: dict[str, str]) -> None:
    rows, cols = map(int, run["array"].split("x"))
    layers = [
        schedule(run["dataflow"], FoldGemm.dense(m, n, k, 8), PeArray(rows, cols), ROOMY, "weights")
        for m, n, k in WORKLOADS[run["workload"]]
    ]
    assert sum(layer.compute - 1 for layer in layers) == int(run["cycles"])


@settings(max_examples=150)
@given(names, st.integers(1, 200), st.integers(1, 200), st.integers(1, 200), st.integers(1, 20), st.integers(1, 20))
def test_compute_cycles_are_the_published_formula_on_any_shape(
    name: str, m: int, n: int, k: int, rows: int, cols: int
) -> None:
    """SCALE-Sim prints the index of the last cycle: one less than the cycles that a layer takes."""
    across, flow, down = {"ws": (n, m, k), "is": (m, n, k), "os": (n, k, m)}[name]
    fold = flow + rows + cols - 2 + (0 if name == "os" else rows)
    last_cycle = -(-down // rows) * -(-across // cols) * fold - 1
    assert schedule(name, FoldGemm.dense(m, n, k, 8), PeArray(rows, cols), ROOMY, "weights").compute - 1 == last_cycle


@settings(max_examples=200)
@given(
    names,
    products(),
    arrays,
    pads,
    st.sampled_from(["weights", "inputs", "fitted", "blocked"]),
    st.sampled_from([1, 2, 5]),
)
def test_core_equals_its_twin(
    name: str, product: FoldGemm, array: PeArray, pad: Scratchpad, outer: Any, cut: int
) -> None:
    assume(outer not in ("fitted", "blocked") or name != "os")
    walk = walked(name, product, array, pad, outer, cut)
    if walk is None:
        return
    plan = plan_folds(name, product, array, pad.buffers, outer, cut)
    slow = slow_schedule(name, product, array, pad, outer, plan.piece, plan.interval, cut)
    assert slow == {"prefetch": walk.prefetch, "stall": walk.stall, "compute": walk.compute, "drain": walk.drain,
                    "dram": walk.dram, "ends": walk.folds["end"].tolist()}  # fmt: skip


@settings(max_examples=150)
@given(names, products(), arrays, pads)
def test_everything_adds_up(name: str, product: FoldGemm, array: PeArray, pad: Scratchpad) -> None:
    walk = walked(name, product, array, pad)
    if walk is None:
        return
    assert 0 < walk.utilization <= 1
    assert min(walk.prefetch, walk.stall, walk.drain) >= 0
    assert walk.folds["stall"].sum() == walk.stall
    assert walk.cycles >= walk.folds["end"][-1] + array.once_fill
    for operand, whole in (("input", product.input_bits), ("weight", product.weight_bits)):
        assert walk.folds[operand].sum() == walk.dram[operand] >= whole
        assert walk.dram[operand] % whole == 0, "an operand is read a whole number of times"
    assert walk.folds["output"].sum() == walk.dram["output"] == product.output_bits
    np.testing.assert_allclose(walk.traffic.sum(axis=1) * walk.bin_cycles, list(walk.dram.values()), rtol=1e-9)
    assert walk.traffic.shape[1] * walk.bin_cycles >= walk.cycles - 2 * array.pes
    assert walk.sram["output_write"] - walk.sram["output_read"] == product.m * product.n


@settings(max_examples=150)
@given(names, products(), arrays, pads, outers)
def test_no_waiting_is_the_closed_form(
    name: str, product: FoldGemm, array: PeArray, pad: Scratchpad, outer: Any
) -> None:
    """Compute cycles never depend on the memory; only the chunks that the output buffer forces do."""
    del pad
    walk = schedule(name, product, array, ROOMY, outer)
    assert walk.compute == int(DATAFLOWS.get(name).cycles(product.gemms, array))


@settings(max_examples=200)
@given(
    names, products(), arrays, st.builds(Buffers, rooms, rooms, rooms), st.sampled_from([1.0, 2.5, 8.0, 20.0]), outers
)
def test_bandwidth_never_costs(
    name: str, product: FoldGemm, array: PeArray, buffers: Buffers, rate: float, outer: Any
) -> None:
    slow, fast = (
        walked(name, product, array, Scratchpad(buffers, Interface(shared=r)), outer) for r in (rate, 2 * rate)
    )
    if slow and fast:
        assert fast.cycles <= slow.cycles
        assert fast.dram == slow.dram


@settings(max_examples=300)
@given(names, products(), arrays, st.builds(Buffers, rooms, rooms, rooms), rates, st.booleans(), outers)
def test_larger_read_buffers_never_cost(
    name: str, product: FoldGemm, array: PeArray, buffers: Buffers, rate: float, weight: bool, outer: Any
) -> None:
    """Where pieces are cut short for want of room, larger ones come a little later: those are left out."""
    more = Buffers(buffers.input * (1 if weight else 4), buffers.weight * (4 if weight else 1), buffers.output)
    small, large = (walked(name, product, array, Scratchpad(b, Interface(shared=rate)), outer) for b in (buffers, more))
    if small is None or large is None:
        return
    assert sum(large.dram.values()) <= sum(small.dram.values())
    if len({plan_folds(name, product, array, b, outer).piece for b in (buffers, more)}) == 1:
        assert large.cycles <= small.cycles


def test_a_starved_interface_sets_the_time() -> None:
    """One bit a cycle: every bit that crosses is a cycle, but for the last results' computation."""
    product = FoldGemm.dense(16, 16, 16, 8)
    walk = schedule(
        "ws", product, PeArray(16, 16), Scratchpad(Buffers(4096, 4096, 4096), Interface(shared=1.0)), "weights"
    )
    bits = sum(walk.dram.values())
    assert bits == 3 * 256 * 8
    assert walk.cycles == bits + 16 + 30


def test_prefilled_buffers_start_late() -> None:
    """8 KiB operands, half of a 4 KiB buffer at one byte a cycle each."""
    product, buffers = FoldGemm.dense(64, 64, 128, 8), Buffers(4096, 4096, 1 << 20)
    link = Interface(input=8.0, weight=8.0, output=8.0)
    late = schedule("ws", product, PeArray(8, 8), Scratchpad(buffers, link, prefill=True), "weights")
    soon = schedule("ws", product, PeArray(8, 8), Scratchpad(buffers, link), "weights")
    assert (late.prefetch, soon.prefetch) == (2048, 64)
    assert late.dram == soon.dram


def test_small_output_buffers_cut_the_stream() -> None:
    """4 x 8 partial sums of 4 bytes in half of 256 bytes: the weights of 64 tokens are loaded 16 times."""
    buffers = Buffers(1 << 16, 1 << 10, 256)
    walk = schedule(
        "ws", FoldGemm.dense(64, 64, 64, 8), PeArray(8, 8), Scratchpad(buffers, Interface(shared=64.0)), "inputs"
    )
    assert walk.dram["weight"] == 16 * 64 * 64 * 8
    assert walk.dram["input"] == 64 * 64 * 8


@pytest.mark.parametrize("link", [Interface(), Interface(shared=0.0), Interface(input=8.0, weight=8.0)])
def test_interfaces_without_rates_are_refused(link: Interface) -> None:
    with pytest.raises(SpecError, match="positive"):
        schedule("ws", FoldGemm.dense(4, 4, 4, 8), PeArray(2, 2), Scratchpad(Buffers(64, 64, 64), link))


def test_what_has_no_room_is_refused() -> None:
    with pytest.raises(SpecError, match="half a buffer holds 4 bytes; a tile of the stationary operand has 64"):
        schedule(
            "ws", FoldGemm.dense(8, 64, 64, 8), PeArray(8, 8), Scratchpad(Buffers(1 << 20, 8, 1 << 20), Interface(8.0))
        )
    with pytest.raises(SpecError, match="has no schedule"):
        schedule("ws_gather", FoldGemm.dense(8, 8, 8, 8), PeArray(8, 8), ROOMY)
    with pytest.raises(SpecError, match="keep <= group"):
        FoldGemm(1, 1, 1, 1, 1, 1, keep=3, group=2)
