# SPDX-License-Identifier: Apache-2.0
"""Engines for N:M weights: the contract, slow twins of their cores, and what the mechanisms must do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.hardware import load_hardware
from simsparse.core import DENSE, Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.nm_array import NmArray, fullest, output_stationary, weight_stationary
from simsparse.dataflow.nm_product import SCHEDULES, LoopOrder
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, Work
from simsparse.dataflow.tile_engine import TileEngine, run_tiles, slabs
from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

SAT = {"group": 8, "add_latency": 4, "interleave": 4, "skew": 1.0, "drain": 1}


def sat_machine(dram_bytes: float = 1e9, **settings: float) -> PeConfig:
    return PeConfig(4, 4, 1, Buffers(1 << 14, 1 << 14, 1 << 14), dram_bytes, 16, 16, {**SAT, **settings})


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
@settings(max_examples=60)
def test_the_fullest_group_is_found_as_pe_by_pe(n: int, k: int, cols: int, group: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((n, k)) < 0.4
    assert fullest(NonZeros.of(mask), cols, group).tolist() == pe_by_pe(mask, cols, group)


@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=60)
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
    pattern = Sparsity.parse(sparsity).draw(n, k, 0)
    return ENGINES.get("sat").run(pattern, NonZeros.dense(m, k), sat_machine(**settings))


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
    walked = ENGINES.get("sat").run(Sparsity.parse(sparsity).draw(n, k, 0), NonZeros.dense(m, k), machine)
    closed = ENGINES.get("sat").expect(shape, Sparsity.parse(sparsity), DENSE, machine)
    assert (closed.cycles, dict(closed.causes)) == (walked.cycles, dict(walked.causes))


def vegeta_machine(**settings: float) -> PeConfig:
    given = {"lanes": 2, "registers": 8, "forwarding": 1, "load_bytes": 512.0, "sparse": 1, **settings}
    return PeConfig(16, 1, 32, Buffers(1, 1, 1), 64.0, 16, 32, given)


class TestVegeta(EngineContract):
    name, engine = "vegeta", ENGINES.get("vegeta")
    machine = vegeta_machine()
    sparsities = (*EngineContract.sparsities, ("2:4", "dense"), ("1:4", "dense"))


def instruction_by_instruction(counts: np.ndarray, tokens: int, k: int, engine: TileEngine) -> int:
    """Cycles of a list of instructions (slab, row tile, token tile), one resource after the other."""
    width = 4 // min((int(c) for c in counts.ravel() if c), default=4)
    rows, cols = engine.blocking(width)
    load = math.ceil(1024 / engine.load_bytes)
    last = -(-((k - 1) % 128 + 1) // 32)
    token_tiles = -(-tokens // 16)
    loads = fed = held = end = 0
    feeds_of_slabs = [0]
    for top in range(0, counts.shape[0], rows):
        for left in range(0, token_tiles, cols):
            tiles = [(i, j) for i in range(top, min(top + rows, counts.shape[0]))
                     for j in range(left, min(left + cols, token_tiles))]  # fmt: skip
            ready = {tile: loads + (order + 1) * load for order, tile in enumerate(tiles)}
            loads += load * len(tiles)
            across, down = sorted({j for _, j in tiles}), sorted({i for i, _ in tiles})
            for slab in range(counts.shape[1]):
                final = slab == counts.shape[1] - 1
                number = {i: -(-int(counts[i, slab]) * last // 4) if final else int(counts[i, slab]) for i in down}
                if not any(number.values()):
                    continue
                loads = max(loads, feeds_of_slabs[-1])
                feeds_of_slabs.append(fed)
                loads += load * len(across) * (last if final else 4)
                inputs = loads
                for piece in range(max(number.values())):
                    for i in (i for i in down if number[i] > piece):
                        loads += load
                        weights = max(loads, held) + engine.rows
                        for j in across:
                            start = max(fed, inputs, loads, ready[i, j], weights)
                            held = start if j == across[0] else held
                            fed, ready[i, j] = start + 16, start + engine.ready
                            end = start + engine.first_result + 16 + engine.cols - 1
            loads += load * len(tiles)
    return end or loads


@given(
    tiles=st.integers(1, 7), slab_count=st.integers(1, 4), tokens=st.integers(1, 60), tail=st.integers(0, 127),
    load_bytes=st.sampled_from([32.0, 128.0, 1024.0]), forwarding=st.booleans(), registers=st.integers(6, 9),
    seed=st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=60)
def test_tile_instructions_are_walked_one_by_one(
    tiles: int, slab_count: int, tokens: int, tail: int, load_bytes: float, forwarding: bool, registers: int, seed: int
) -> None:
    engine = TileEngine(16, 4, 2, registers, forwarding, load_bytes)
    counts = np.random.default_rng(seed).choice([0, 1, 2, 4], (tiles, slab_count)).astype(np.int64)
    k = slab_count * 128 - tail
    run = run_tiles(counts, tokens, k, engine, indexed=False)
    assert run.cycles == instruction_by_instruction(counts, tokens, k, engine)


def test_tiles_of_four_columns_take_what_their_fullest_group_needs() -> None:
    mask = np.zeros((32, 256), np.bool_)
    mask[0, 0], mask[0, 128:130], mask[20, 0:3] = True, True, True
    assert slabs(NonZeros.of(mask)).tolist() == [[1, 2], [4, 0]]


def test_a_matrix_engine_needs_its_multipliers() -> None:
    with pytest.raises(SpecError, match="expected 512"):
        ENGINES.get("vegeta").run(NonZeros.dense(16, 128), NonZeros.dense(16, 128), replace(vegeta_machine(), macs=1))


CORE = {"keep": 2, "widest": 8, "tokens": 16, "sram_bytes": 12.0, "compress_inputs": 0}


def core_machine(**settings: float) -> PeConfig:
    return PeConfig(8, 4, 1, Buffers(1 << 12, 1 << 12, 1 << 12), 16.0, 8, 8, {**CORE, **settings})


class TestSparseTensorCore(EngineContract):
    name, engine = "sparse_tensor_core", ENGINES.get("sparse_tensor_core")
    machine = core_machine()
    sparsities = (*EngineContract.sparsities, ("2:4", "dense"), ("2:8", "unstructured:0.5"), ("2:6", "dense"))


class TestSparseTensorCoreWithInputsCompressed(TestSparseTensorCore):
    machine = core_machine(compress_inputs=1)


def pass_by_pass(weights: np.ndarray, inputs: np.ndarray, group: int, packed: bool) -> int:
    """Cycles of an 8 x 4 core with 2 of ``group`` weights, shared memory of 12 bytes a cycle."""
    (n, k), m = weights.shape, inputs.shape[0]
    keep, window = (1, 4) if group == 1 else (2, 4 // 2 * group)
    index = (group - 1).bit_length()
    loads, computes = [], []
    for out in range(0, n, 8):
        for token in range(0, m, 16):
            for column in range(0, k, window):
                tile = inputs[token : token + 16, column : column + window]
                slots = -(-tile.shape[1] // group) * keep
                bits = len(weights[out : out + 8]) * slots * (8 + index)
                bits += 8 * int(tile.sum()) + tile.size if packed else 8 * tile.size
                loads.append(math.ceil(math.ceil(bits / 8) / 12))
                computes.append(len(tile))
    ready = end = 0
    for load, compute in zip(loads, computes, strict=True):
        start = max(ready + load, end)
        ready, end = start, start + compute
    return end


@given(
    m=st.integers(1, 40), n=st.integers(1, 20), k=st.integers(1, 50), group=st.sampled_from([1, 4, 6, 8]),
    packed=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=50)
def test_a_tensor_core_is_walked_pass_by_pass(m: int, n: int, k: int, group: int, packed: bool, seed: int) -> None:
    pattern = "dense" if group == 1 else f"2:{group}"
    weights = Sparsity.parse(pattern).draw(n, k, seed)
    inputs = Sparsity.parse("unstructured:0.5").draw(m, k, seed)
    work = ENGINES.get("sparse_tensor_core").run(weights, inputs, replace(
        core_machine(compress_inputs=packed), dram_bytes=1e9))  # fmt: skip
    fitting = [g for g in (1, 4, 6, 8) if g == 1 or _fits(weights.mask(), g)]
    assert work.cycles == min(pass_by_pass(weights.mask(), inputs.mask(), g, packed) for g in fitting)


def _fits(mask: np.ndarray, group: int) -> bool:
    return all(int(row[at : at + group].sum()) <= 2 for row in mask for at in range(0, mask.shape[1], group))


def test_inputs_limit_what_wider_groups_gain() -> None:
    weights, inputs = Sparsity.parse("2:8").draw(64, 128, 0), NonZeros.dense(64, 128)
    engine = ENGINES.get("sparse_tensor_core")
    narrow, wide = (engine.run(weights, inputs, core_machine(sram_bytes=rate)).causes["sram"] for rate in (8.0, 1e6))
    assert narrow > 0 and wide <= 1


def s4_machine(**changes: float) -> PeConfig:
    return replace(PeConfig(8, 16, 1, Buffers(1, 1, 1), 32.0, 8, 8, {"bank": 32}), **changes)  # type: ignore[arg-type]


class TestS4(EngineContract):
    name, engine = "s4", ENGINES.get("s4")
    machine = s4_machine()
    sparsities = (*EngineContract.sparsities, ("bank32:0.0625", "dense"), ("1:4", "unstructured:0.5"))


def bank_by_bank(mask: np.ndarray, tokens: int, bank: int) -> int:
    """Cycles of 8 outputs x 16 tokens at a time: each row one weight a cycle, each bank its share of 8 reads."""
    total = 0
    for first in range(0, len(mask), 8):
        block = mask[first : first + 8]
        banks = [block[:, at : at + bank].sum() for at in range(0, mask.shape[1], bank)]
        rows = max(int(row.sum()) for row in block)
        total += max(rows, math.ceil(int(max(banks)) * len(banks) / 8))
    return total * math.ceil(tokens / 16)


@given(st.integers(1, 20), st.integers(1, 80), st.integers(1, 40), st.sampled_from([4, 16, 32]), st.integers(0, 99))
@settings(max_examples=50)
def test_rows_and_banks_are_waited_for(n: int, k: int, tokens: int, bank: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((n, k)) < 0.3
    machine = s4_machine(dram_bytes=1e9, settings={"bank": bank})  # type: ignore[arg-type]
    work = ENGINES.get("s4").run(NonZeros.of(mask), NonZeros.dense(tokens, k), machine)
    assert work.cycles - work.causes["dram"] == bank_by_bank(mask, tokens, bank)


def test_balanced_banks_never_conflict() -> None:
    engine, inputs = ENGINES.get("s4"), NonZeros.dense(16, 256)
    even = engine.run(Sparsity.parse("bank32:0.125").draw(64, 256, 0), inputs, s4_machine())
    uneven = engine.run(Sparsity.parse("unstructured:0.125").draw(64, 256, 0), inputs, s4_machine())
    assert even.causes["conflict"] == even.causes["idle"] == 0
    assert uneven.causes["conflict"] + uneven.causes["idle"] > 0.15 * even.causes["compute"]


@pytest.mark.parametrize(
    ("part", "dtype"), [("sat", "fp16"), ("vegeta", "bf16"), ("sparse-tensor-core", "int8"), ("s4", "int8")]
)
def test_parts_run_at_both_levels(part: str, dtype: str) -> None:
    op = ss.ops.linear(m=64, n=128, k=512, dtype=dtype, weight_sparsity="2:4")
    closed, walked = (ss.estimate(op, f"accel/{part}", level=level) for level in (0, 2))
    assert closed.latency_s == pytest.approx(walked.latency_s, rel=0.02)
    assert ss.cycles(op, load_hardware(f"accel/{part}")).utilization <= 1


def product_step_by_step(mask: np.ndarray, tokens: int, machine: PeConfig, schedule: LoopOrder) -> int:
    """Cycles of one product on a 4 x 4 array with adders of 2 cycles, folds filled each time, tile after tile."""
    (n, k), room = mask.shape, machine.buffers
    blocks = [mask[at : at + 4] for at in range(0, n, 4)]
    indexed = schedule.sparse and not mask.all()
    stored = [int(b.sum()) * 19 / 8 if indexed else b.shape[0] * k * 2 for b in blocks]
    fits = int(room.input // 2 * tokens / (tokens * k * 2))
    stretch = min(fits, room.output // 8 // min(n, 4)) if schedule.weights else max(8, fits // 8 * 8)
    stretch = max(1, min(stretch, tokens))
    counts = [min(stretch, tokens - at) for at in range(0, tokens, stretch)]
    tiles: list[list[int]] = []
    for index, size in enumerate(stored):
        if not tiles or sum(stored[i] for i in tiles[-1]) + size > room.weight // 2:
            tiles.append([])
        tiles[-1].append(index)
    weights = [sum(stored[i] for i in tile) for tile in tiles]
    steps = [(t, s) for t in range(len(tiles)) for s in range(len(counts))]
    choices = []
    for outer in (True, False):
        resident = max(weights) <= room.weight // 2 and (outer or len(weights) == 1)
        kept = tokens * k * 2 <= room.input // 2 if outer else max(counts) * k * 2 <= room.input // 2
        order = steps if outer else sorted(steps, key=lambda step: (step[1], step[0]))
        loads = [weights[t] * (s == 0 or not resident) + counts[s] * k * 2 * (t == 0 or not kept) for t, s in order]
        choices.append((sum(loads), order, loads))
    _, order, loads = choices[0] if choices[0][0] <= choices[1][0] else choices[1]
    compute = [sum(block_cycles(blocks[i], counts[s], schedule) for i in tiles[t]) for t, s in order]
    writes = [sum(len(blocks[i]) for i in tiles[t]) * counts[s] * 2 for t, s in order]
    arrivals = [*loads, 0, 0]
    leaves = [0, 0, *writes]
    cycle = math.ceil(arrivals[0] / machine.dram_bytes)
    for step in range(1, len(arrivals)):
        channel = math.ceil((arrivals[step] + leaves[step]) / machine.dram_bytes)
        cycle += max(channel, compute[step - 1] if step <= len(compute) else 0)
    return cycle


def block_cycles(block: np.ndarray, tokens: int, schedule: LoopOrder) -> int:
    """Cycles of up to 4 outputs, group by group, 2 sums in flight."""
    k, group = block.shape[1], 8 if schedule.sparse else 1
    beats = [
        max(int(row[at : at + group].sum()) for row in block) if schedule.sparse else 1 for at in range(0, k, group)
    ]
    if not schedule.weights:
        total = 0
        for first in range(0, tokens, 8):
            sums = math.ceil(min(8, tokens - first) / 4)
            total += max(sum(beats) * 2, 4 * sums) + (4 + 4 - 2 + 2) if sum(beats) else 0
        return total
    folds = [max(beats[at : at + 4]) for at in range(0, len(beats), 4)]
    streams = [beat * sum(max(2, min(2, tokens - at)) for at in range(0, tokens, 2)) if beat > 1 else beat * tokens
               for beat in folds]  # fmt: skip
    loads = [max(0, 4 * beat - before) for beat, before in zip(folds, [streams[-1], *streams[:-1]], strict=True)]
    return sum(streams) + sum(loads) + sum(1 for beat in folds if beat) * (3 * 2 + 3)


@given(
    n=st.integers(1, 14), k=st.integers(1, 90), tokens=st.integers(1, 70), density=st.sampled_from([0.1, 0.4, 1.0]),
    buffers=st.sampled_from([256, 700, 4096]), dram_bytes=st.sampled_from([2.0, 16.0, 1e6]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60)
def test_tiles_are_loaded_computed_and_written_step_by_step(
    n: int, k: int, tokens: int, density: float, buffers: int, dram_bytes: float, seed: int
) -> None:
    mask = np.random.default_rng(seed).random((n, k)) < density
    machine = replace(sat_machine(dram_bytes, add_latency=2, interleave=2), buffers=Buffers(buffers, buffers, buffers))
    work = ENGINES.get("sat").run(NonZeros.of(mask), NonZeros.dense(tokens, k), machine)
    assert work.cycles == min(product_step_by_step(mask, tokens, machine, schedule) for schedule in SCHEDULES)
