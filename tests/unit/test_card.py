# SPDX-License-Identifier: Apache-2.0
"""A part for a card of one's own, read off measured rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simsparse.cli import main
from simsparse.config.hardware import load_hardware
from simsparse.errors import SpecError
from simsparse.validate import validate_file
from simsparse.validate.card import card_text, read_card
from simsparse.validate.measurement import measurements, read_measurements
from simsparse.validate.run import reference_folder

H100, H200 = "gpu/h100-sxm5-80gb", "gpu/h200-sxm5-141gb"
STATED = {"memory.bandwidth": "4.8 TB/s"}


def part(tmp_path: Path) -> Path:
    """An H200 made of the H100's file and rows of one measurement."""
    rows = read_measurements(reference_folder() / "probe_h200_sxm5_141gb.jsonl")
    file = tmp_path / "own.yaml"
    file.write_text(card_text(read_card(rows, H100, STATED), H100, "rows", "own"))
    return file


def test_the_new_part_predicts_rows_that_it_was_not_made_from(tmp_path: Path) -> None:
    """As well, within a point, as the part that comes along, and far better than the card that it extends."""
    other = reference_folder() / "probe_shapes_h200_sxm5_141gb.jsonl"
    errors = {hw: validate_file(other, hw).section("gemm_dense").mape for hw in (str(part(tmp_path)), H100, H200)}
    own, base, shipped = errors.values()
    assert own < shipped + 0.01
    assert own < base / 2


def test_values_that_were_not_measured_are_assumed(tmp_path: Path) -> None:
    made = dict(load_hardware(part(tmp_path)).quantities())
    assert made["memory.efficiency"].basis == "measured"
    assert made["memory.bandwidth"].basis == "datasheet"
    assert made["gemm.vector.stream"].basis == "assumed"


def test_shares_are_those_of_the_rows() -> None:
    rows = [{"section": "mem", "op": "reduce_read", "bytes": 1 << 30, "s": (1 << 30) / 3e12},
            {"section": "mem", "op": "d2d_copy", "bytes": 1 << 30, "s": 2 * (1 << 30) / 2e12}]  # fmt: skip
    found = {reading.path: float(reading.value) for reading in read_card(measurements(rows), H100)}
    assert found["memory.efficiency"] == pytest.approx(3 / 3.35, rel=1e-3)
    assert found["memory.copied"] == pytest.approx(2 / 3.35, rel=1e-3)


@pytest.mark.parametrize(
    ("rows", "base", "message"),
    [([], H100, "no row"), ([{"section": "attn"}], H100, "no row"), ([], "accel/sigma", "measures GPUs"),
     ([{"section": "mem", "op": "reduce_read", "bytes": 1 << 30, "s": 1e-4}], H100, "of the 3.35 TB/s")],
)  # fmt: skip
def test_rows_that_give_no_part_are_refused(rows: list[dict[str, Any]], base: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_card(measurements(rows), base)


def test_the_command_writes_the_part_and_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"section": "launch", "op": "tiny_kernel_graph", "s": 2e-6}\n')
    out, page = tmp_path / "own.yaml", tmp_path / "own.md"
    with pytest.raises(SystemExit) as left:
        main(["hw", "fit", "--data", str(data), "--extends", H100, "--out", str(out), "--page", str(page)])
    capsys.readouterr()
    assert left.value.code == 0
    assert load_hardware(out).launch.graph.si == pytest.approx(2e-6)  # type: ignore[attr-defined]
    assert "| `launch` | all | 1 |" in page.read_text()
