# SPDX-License-Identifier: Apache-2.0
"""The mapper: counts against a twin that runs every loop, search against all mappings, the command and its errors."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapper_twin import fetched
from typer.testing import CliRunner

import simsparse as ss
from simsparse.cli.app import app
from simsparse.config.hardware import load_hardware, override_part
from simsparse.config.parts.spatial import SpatialPart
from simsparse.devices.base import device_for
from simsparse.devices.mapping import map_ops
from simsparse.errors import MappingError, SpecError
from simsparse.mapper.cost import evaluate, fits
from simsparse.mapper.layer import DIMS, INPUTS, OUTPUTS, WEIGHTS, LoopNest, gemm, layers_of
from simsparse.mapper.machine import MemoryLevel, SpatialMachine
from simsparse.mapper.mapping import Mapping, loop_text, nest_of
from simsparse.mapper.search import MappingObjective, map_layer
from simsparse.mapper.space import spaces
from simsparse.validate.gemmini import is_gemmini_table, validate_gemmini

ALL = frozenset((WEIGHTS, INPUTS, OUTPUTS))
K, C = DIMS.index("k"), DIMS.index("c")


def machine(room: float = 512.0, bypass: frozenset[int] = frozenset(), inner: float = 96.0) -> SpatialMachine:
    """DRAM, a buffer and a small local memory above a 4 x 2 array."""
    stores = (
        MemoryLevel("dram", ALL, bytes_per_cycle=4.0, read_j=100.0, write_j=100.0),
        MemoryLevel("buffer", ALL, bypass, room, 16.0, read_j=6.0, write_j=6.0),
        MemoryLevel("local", ALL, room=inner, read_j=1.0, write_j=1.0),
    )
    return SpatialMachine("toy", 1e9, 4, 2, (C,), (K,), WEIGHTS, stores, partial_sum=2.0, mac_j=0.5)


def gemmini() -> SpatialPart:
    part = load_hardware("spatial/gemmini-16x16")
    assert isinstance(part, SpatialPart)
    return part


@st.composite
def mappings(draw: st.DrawFn) -> tuple[LoopNest, Mapping]:
    """A small layer and a mapping whose tiles divide each other."""
    loops = [[draw(st.sampled_from([1, 1, 2, 3])) if draw(st.booleans()) else 1 for _ in DIMS] for _ in range(3)]
    unit = [1] * len(DIMS)
    unit[C], unit[K] = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2]))
    tiles = [tuple(unit)]
    for own in reversed(loops):
        tiles.append(tuple(size * count for size, count in zip(tiles[-1], own, strict=True)))
    tiles.reverse()
    sizes = tiles[0]
    stride = draw(st.sampled_from([1, 2]))
    keep, group = draw(st.sampled_from([(1, 1), (2, 4), (1, 2)]))
    if sizes[C] % keep:
        keep, group = 1, 1
    orders = tuple(tuple(draw(st.permutations(range(len(DIMS))))) for _ in range(3))
    return LoopNest("layer", sizes, (stride, 1), keep=keep, group=group), Mapping(tuple(tiles), orders, (ALL,) * 3)


@settings(max_examples=60)
@given(mappings())
def test_bytes_moved_are_those_of_running_every_loop(case: tuple[LoopNest, Mapping]) -> None:
    layer, mapping = case
    toy = machine()
    if np.prod([*layer.sizes]) > 4000:
        return
    found = evaluate(nest_of(layer, toy, [mapping]))
    weight_bytes = layer.weight_bits / 8
    expected_read = expected_written = 0.0
    for tensor, size in ((WEIGHTS, weight_bytes), (INPUTS, 1.0)):
        expected_read += fetched(layer, toy, mapping, tensor, 1)[0] * size
    sent, back = fetched(layer, toy, mapping, OUTPUTS, 1)
    expected_read += back * 2.0
    expected_written += (sent - back) * 1.0 + back * 2.0
    assert found.reads["dram"][0] == pytest.approx(expected_read)
    assert found.writes["dram"][0] == pytest.approx(expected_written)


@settings(max_examples=40)
@given(mappings())
def test_nothing_runs_faster_than_its_array_or_below_its_least_traffic(case: tuple[LoopNest, Mapping]) -> None:
    layer, mapping = case
    toy = machine()
    found = evaluate(nest_of(layer, toy, [mapping]))
    assert found.cycles[0] >= layer.macs / (toy.rows * toy.cols) * (1 - 1e-9)
    least = layer.sizes[K] * layer.sizes[C] * layer.sizes[5] * layer.sizes[6] * layer.weight_bits / 8
    assert found.reads["dram"][0] >= least * (1 - 1e-9)
    assert found.energy_j[0] > layer.macs * toy.mac_j


@pytest.mark.parametrize("objective", list(MappingObjective))
@pytest.mark.parametrize(
    "layer", [gemm(6, 8, 12), LoopNest("conv", (1, 4, 4, 6, 6, 3, 3)), gemm(8, 8, 8, keep=2, group=4)]
)
def test_the_search_finds_the_best_of_all_mappings(layer: LoopNest, objective: MappingObjective) -> None:
    toy = replace(machine(), stores=(machine().stores[0], replace(machine(inner=160.0).stores[2], name="local")))
    whole = map_layer(layer, toy, objective, 10**7)
    searched = map_layer(layer, toy, objective, 0)
    assert whole.all_of_them
    assert not searched.all_of_them
    score = {
        MappingObjective.LATENCY: lambda one: one.cycles, MappingObjective.ENERGY: lambda one: one.energy_j,
        MappingObjective.EDP: lambda one: one.cycles * one.energy_j,
    }[objective]  # fmt: skip
    assert score(searched) <= score(whole) * 1.02
    assert score(whole) <= score(searched) * (1 + 1e-9)


def test_each_objective_is_best_at_its_own() -> None:
    layer = LoopNest("conv", (1, 16, 8, 7, 7, 3, 3))
    found = {objective: map_layer(layer, machine(2048.0, inner=256.0), objective) for objective in MappingObjective}
    assert found[MappingObjective.LATENCY].cycles <= min(each.cycles for each in found.values()) * (1 + 1e-9)
    assert found[MappingObjective.ENERGY].energy_j <= min(each.energy_j for each in found.values()) * (1 + 1e-9)


def test_more_room_never_costs_and_bypass_is_one_more_choice() -> None:
    layer = gemm(12, 16, 24)
    cycles = [map_layer(layer, machine(room, inner=64.0)).cycles for room in (128.0, 512.0, 4096.0)]
    assert cycles == sorted(cycles, reverse=True)
    plain = map_layer(layer, machine(512.0), MappingObjective.ENERGY)
    free = map_layer(layer, machine(512.0, bypass=frozenset((WEIGHTS,))), MappingObjective.ENERGY)
    assert free.energy_j <= plain.energy_j * (1 + 1e-6)


def test_tiles_fit_their_memories_and_cover_the_layer() -> None:
    toy = machine()
    layer = LoopNest("conv", (1, 10, 9, 7, 7, 3, 3), (2, 2))
    best = map_layer(layer, toy)
    assert fits(nest_of(layer, toy, [best.mapping]))[0]
    assert best.mapping.tiles[0] == layer.sizes
    with pytest.raises(MappingError, match="no tile"):
        map_layer(layer, machine(room=2.0, inner=1.0))


def test_kept_weights_alone_take_cycles_and_room() -> None:
    part = override_part(gemmini(), {"array.patterns": "2:4,1:4"})
    dense = map_ops(ss.ops.linear(256, 256, 1024, "int8"), part)[0]
    half = map_ops(ss.ops.linear(256, 256, 1024, "int8", weight_sparsity="2:4"), part)[0]
    unknown = map_ops(ss.ops.linear(256, 256, 1024, "int8", weight_sparsity="2:4"), gemmini())[0]
    assert half.parts["array"] == pytest.approx(dense.parts["array"] / 2, rel=0.1)
    assert unknown.cycles == dense.cycles


def test_a_convolution_and_its_layer() -> None:
    op = ss.ops.conv2d(2, 16, 32, 28, 28, 3, 3, stride=2, padding=1, groups=4, dtype="int8")
    ((times, layer),) = layers_of(op)
    assert (times, layer.sizes, layer.strides) == (4, (2, 8, 4, 14, 14, 3, 3), (2, 2))
    assert times * layer.macs == op.dense_macs
    device = device_for(gemmini())
    assert "transposed" in (device.supports(ss.ops.conv2d(1, 8, 8, 8, 8, 2, 2, transposed=True, dtype="int8")) or "")


def test_loops_are_read_as_timeloop_writes_them() -> None:
    text = "L3[WIO] P7 Q14 - L2[WI] N1 K16X - L1[O] K4 S7 C3X - L0[W] P4"
    assert loop_text(text)[0] == [("P", 7, False), ("Q", 14, False)]
    assert loop_text(text)[1] == [("N", 1, False), ("K", 16, True)]
    with pytest.raises(MappingError, match="is not a level of loops"):
        loop_text("L3[WIO] P7 - nonsense")


HEADER = ("set", "timeloop_cycle", "mapping", "arch_mem1_entries", "arch_mem2_entries", "C", "K", "N", "P", "Q", "R",
          "S", "Wstride", "Hstride", "auto_tiling", "gemmini_auto_cycle", "gemmini_cycle")  # fmt: skip
ROWS = (
    ("test_dnn", 2458624, "L3[WIO] P2 Q7 - L2[WI] N1 K16X - L1[O] S7 K4 R7 Q2 P4 C3X - L0[W] Q8 P14", 3584, 233472, 3,
     64, 1, 112, 112, 7, 7, 2, 2, "7_7_23_22_3_16_1", 2577642, 2510892),
    ("test_both", 20480000, "L3[WIO] P4 Q20 K4 - L2[WI] N1 K16X - L1[O] K2 S2 R2 C16 Q10 P5 C16X - L0[W] P10", 1968,
     329728, 256, 128, 1, 200, 200, 2, 2, 1, 1, "2_2_23_22_208_16_1", 34101188, 23407899),
    ("test_analytical", 451584, "L3[WIO] K16 - L2[WI] N1 K16X - L1[O] S3 R3 C16 P14 C16X - L0[W] Q14", 784, 267264, 256,
     256, 1, 14, 14, 3, 3, 1, 1, "3_3_14_14_240_32_1", 756452, 483400),
    ("train", 4137502, "L3[WIO] P8 C8 K8 - L2[WI] N1 K4X - L1[O] K4 C4 P2 C4X - L0[W] P8", 2048, 1048576, 128, 128, 1,
     128, 1, 1, 1, 1, 1, "", "", 4137502),
    ("train", 191255, "L3[WIO] C2 S3 K32 R3 - L2[WI] N1 K32X - L1[O] Q7 P7 C16X - L0[W] N1", 2048, 1048576, 32, 1024, 1,
     7, 7, 3, 3, 1, 1, "", "", 191255),
)  # fmt: skip
"""Five rows of the table of ucb-bar/dosa, commit a7a3239."""


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    path = tmp_path / "mapped.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *ROWS, ROWS[0]])
    return path


def test_given_mappings_take_what_the_rtl_took(measured: Path) -> None:
    assert is_gemmini_table(measured)
    report = validate_gemmini(measured)
    mapped = report.section("mapped")
    assert mapped.skipped == {"stands twice": 1}
    assert len(mapped.predictions) == len(ROWS)
    assert mapped.mape < 0.20
    assert mapped.rank_correlation == pytest.approx(1.0)
    own = report.to_dict()["own_mappings"]
    assert own["layers"] == 3
    assert own["not_slower_than_measured"] == own["not_slower_than_predicted"] == 1.0


def test_the_command_compares_and_maps(measured: Path) -> None:
    run = CliRunner().invoke(app, ["validate", "--data", str(measured), "--json"])
    assert run.exit_code == 0
    sections = {each["section"]: each for each in json.loads(run.stdout)["sections"]}
    assert sections["mapped_16x16"]["compared"] == 3
    run = CliRunner().invoke(
        app, ["map", "linear", "m=64", "n=64", "k=64", "dtype=int8", "--hw", "spatial/gemmini-16x16", "--json"]
    )
    (layer,) = json.loads(run.stdout)["layers"]
    assert layer["cycles"] > 64 * 64 * 64 / 256
    assert [each["name"] for each in layer["mapping"]["levels"]] == ["dram", "scratchpad", "accumulator"]


@pytest.mark.parametrize(("change", "message"), [
    ({"levels.accumulator.order": "k"}, "order must hold"),
    ({"control.overlap": "0.5"}, "at least 1"),
    ({"array.stationary": "sums"}, "stationary"),
    ({"levels.scratchpad.bypass": "outputs"}, "only what a level keeps"),
])  # fmt: skip
def test_bad_hierarchies_are_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        override_part(gemmini(), change)


def test_a_space_counts_what_it_holds() -> None:
    (space,) = spaces(gemm(4, 2, 4), machine())
    assert space.count >= 1
    with pytest.raises(SpecError, match="needs a part of kind spatial"):
        map_ops(ss.ops.linear(1, 8, 8, "int8"), "accel/sigma")
