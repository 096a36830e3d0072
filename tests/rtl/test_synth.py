# SPDX-License-Identifier: Apache-2.0
"""Areas add up, netlists compute what models say, and nets switch as often as a hand count."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from simsparse.rtl.activity import activity
from simsparse.rtl.blocks.cells import StreamRegister
from simsparse.rtl.blocks.dense_pe import DensePE
from simsparse.rtl.blocks.dot_pe import NMDotPE
from simsparse.rtl.datapath import GROUPS, dense_stream, nm_stream, weights
from simsparse.rtl.library import area_library, sky130_cells
from simsparse.rtl.sta import driven
from simsparse.rtl.stream import DrivenStream
from simsparse.rtl.synth import Netlist, synthesise
from simsparse.rtl.yosys import run

AREAS = {"nand2_1": 3.7536, "dfrtp_1": 25.024, "mux2_1": 11.2608}
"""um2, as the Liberty file sky130_fd_sc_hd__tt_025C_1v80 has them."""


def made(module: str, parameters: dict[str, int], folder: Path) -> Netlist:
    return synthesise(module, parameters, area_library(folder), folder)


def test_cells_have_the_areas_of_the_library() -> None:
    cells = {cell.name.removeprefix("sky130_fd_sc_hd__"): cell.area for cell in sky130_cells()}
    assert {name: cells[name] for name in AREAS} == pytest.approx(AREAS)


def test_area_is_the_sum_of_the_cells(tmp_path: Path) -> None:
    netlist = made("stream_fifo", {"Width": 4, "Depth": 3}, tmp_path)
    used = re.findall(r"^  (sky130_fd_sc_hd__\w+) ", netlist.verilog.read_text(encoding="utf-8"), re.MULTILINE)
    cells = {cell.name: cell.area for cell in sky130_cells()}
    assert netlist.cells == len(used)
    assert netlist.area == pytest.approx(sum(cells[name] for name in used))
    registers = [name for name in used if "__df" in name]
    assert netlist.register_area == pytest.approx(sum(cells[name] for name in registers))
    assert len(registers) == 4 * 3 + 2 + 2 + 2


def test_choice_of_operands_costs_area(tmp_path: Path) -> None:
    small = {"DataWidth": 4, "AccWidth": 12}
    areas = [
        made(module, {**sizes, **small}, tmp_path / str(place)).area
        for place, (module, sizes) in enumerate(
            [("dense_pe", {"Lanes": 1}), ("nm_dot_pe", {"N": 1, "M": 4}), ("nm_dot_pe", {"N": 1, "M": 8})]
        )
    ]
    assert areas[0] < areas[1] < areas[2]


@pytest.mark.usefixtures("_simulator")
def test_a_register_switches_as_its_data_does(tmp_path: Path) -> None:
    block, count = StreamRegister(8), 400
    netlist = made(block.module, dict(block.parameters), tmp_path)
    beats = {"data": np.where(np.arange(count)[:, None] % 2, -1, 0).astype(np.int64)}
    always = np.ones(1, np.bool_)
    stream = DrivenStream(beats, count, always, always)
    seen = activity(block, netlist, area_library(tmp_path), stream, tmp_path / "activity")
    switching = [toggles for pin, toggles in seen.toggles.items() if pin.endswith("/Q")]
    assert sorted(switching)[1:] == pytest.approx([1.0] * 8, abs=0.02)
    assert sorted(switching)[0] == pytest.approx(0.0, abs=0.02)
    assert seen.toggles["ready_i"] == 0


def test_power_is_analysed_with_a_flip_flop_before_every_input_but_the_clock(tmp_path: Path) -> None:
    netlist = made("stream_fifo", {"Width": 4, "Depth": 3}, tmp_path)
    text = driven(netlist)
    driven_nets = re.findall(r"drive_\d+ \(\.CLK\(clk_i\), \.D\(data\), \.Q\((.*)\)\);", text)
    assert driven_nets == ["rst_ni", "valid_i", *(f"data_i[{bit}]" for bit in range(4)), "ready_i"]
    (tmp_path / "driven.v").write_text(text, encoding="utf-8")
    library = area_library(tmp_path)
    library.write_text(library.read_text(encoding="utf-8").replace("dfxtp_1", "dfxtp_4"), encoding="utf-8")
    cells = [f"read_liberty -overwrite {each}" for each in (area_library(tmp_path / "one"), library)]
    run([*cells, "read_verilog driven.v", "hierarchy -check -top driven"], tmp_path)


def test_streams_hold_the_same_useful_products() -> None:
    kept, inputs = weights(2, 4, 8)
    assert ((kept != 0).sum(axis=1) <= 2).all()
    sparse, dense = NMDotPE(2, 4), DensePE(2)
    sums = (kept * inputs).sum(axis=1).reshape(-1, 32).sum(axis=1)
    for block, stream, beats in ((sparse, nm_stream(sparse), GROUPS), (dense, dense_stream(dense, 2, 4), 2 * GROUPS)):
        assert stream.count == beats
        assert block.expected(stream.beats).outputs["sum"][:, 0].tolist() == sums.tolist()
