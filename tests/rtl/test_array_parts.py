# SPDX-License-Identifier: Apache-2.0
"""The parts, the plot and the sweep that rest on the datapath study say what the study says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import simsparse as ss
from simsparse.paths import data_root
from simsparse.report.datapath import datapath_plot
from simsparse.rtl.array_parts import SIDE, array_parts

ROOT = Path(__file__).resolve().parents[2]
PARTS = data_root() / "hw_models" / "accel"
SWEEP = "configs/sweeps/nm-array-sky130.yaml"


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "reports/rtl/datapath.json").read_text(encoding="utf-8"))
    return found


def test_parts_are_those_of_the_study(study: dict[str, Any]) -> None:
    parts = array_parts(study)
    assert {path.name for path in PARTS.glob("nm-array-sky130-*.yaml")} == set(parts)
    assert all((PARTS / name).read_text(encoding="utf-8") == text for name, text in parts.items())


def test_a_part_holds_the_area_and_energy_of_its_pes(study: dict[str, Any]) -> None:
    row = next(row for row in study["rows"] if (row["n"], row["m"], row["bits"]) == (2, 4, 8))
    system = ss.load_system("accel/nm-array-sky130-2to4")
    assert system.area_mm2 == pytest.approx(SIDE * SIDE * row["nm"]["area_um2"] / 1e6, rel=1e-3)
    part = next(iter(system.devices.values()))
    prices = dict(part.quantities())
    assert prices["energy.mac.int8"].si == pytest.approx(row["nm"]["energy_pj"] * 1e-12)
    assert prices["array.macs.int8"].si == 2


def test_energy_is_that_of_its_parts_and_a_sparse_pe_beats_zeros(study: dict[str, Any]) -> None:
    for row in study["rows"]:
        for pe in (row["nm"], row["dense"], row["dense_on_nm"]):
            assert pe["energy_pj"] == pytest.approx(pe["internal_pj"] + pe["switching_pj"], abs=2e-4)
            assert pe["period_ns"] <= study["clock_ns"]
        assert row["nm"]["energy_pj"] < row["dense_on_nm"]["energy_pj"]
        assert row["nm"]["area_um2"] > row["dense"]["area_um2"]


def test_plot_is_labelled_with_units(study: dict[str, Any]) -> None:
    axes = datapath_plot(study).figure.axes
    area, energy = axes[0], axes[len(axes) // 2]
    assert "um²" in area.get_ylabel() and "pJ" in energy.get_ylabel()
    assert [axis.get_title(loc="left") for axis in axes[: len(axes) // 2]] == ["4 bits", "8 bits", "16 bits"]
    assert [label.get_text() for label in area.get_xticklabels()][:2] == ["1:4", "2:4"]


def test_the_sweep_uses_them(tmp_path: Path) -> None:
    points = ss.run_sweep(SWEEP, out=tmp_path)
    by_system = points.set_index("system")
    sparse, dense = (by_system.loc[f"accel/nm-array-sky130-{name}"] for name in ("2to4", "dense-x2"))
    assert sparse["energy_j"] < dense["energy_j"] and sparse["latency_s"] < dense["latency_s"]
    assert sparse["area_mm2"] > dense["area_mm2"]


def test_the_trace_of_the_sweep_is_a_feed_forward_layer() -> None:
    trace = ss.load_trace(str(data_root() / "configs/sweeps/data/llama2-7b-ffn-int8.trace"))
    assert [(op.dims["m"], op.dims["n"], op.dims["k"]) for op in trace.ops] == [
        (512, 11008, 4096), (512, 11008, 4096), (512, 4096, 11008),
    ]  # fmt: skip
