"""The report of all sparse engines over density."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from simsparse.cli.app import app
from simsparse.report.density import SIDES, Curve, crossovers, density_curves, engine_parts

TWO = ("accel/gamma", "accel/matraptor")


def curve(part: str, slots: tuple[float, ...], multipliers: int = 2) -> Curve:
    return Curve(part, "fp16", multipliers, SIDES[0], (0.01, 0.1, 1.0), slots)


@pytest.mark.parametrize(
    ("slots", "even"),
    [((0.01, 0.1, 10.0), 0.1 * 10**0.5), ((0.1, 0.2, 0.9), 1.0), ((2.0, 3.0, 4.0), None), ((0.1, 1.0, 10.0), 0.1)],
)
def test_the_density_at_which_skipping_zeros_stops_to_pay(slots: tuple[float, ...], even: float | None) -> None:
    assert curve("a", slots).break_even == (None if even is None else pytest.approx(even))


def test_the_least_at_each_density_leaves_out_parts_of_one_multiplier() -> None:
    curves = [curve("a", (0.1, 0.5, 1.0)), curve("b", (0.2, 0.4, 1.0)), curve("one", (0.0, 0.0, 0.0), 1)]
    assert [name for _, name, _ in crossovers(curves, SIDES[0])] == ["a", "b", "a"]
    assert crossovers(curves[2:], SIDES[0])[0][1] == "one"


def test_curves_are_multiplier_cycles_of_the_dense_product() -> None:
    curves, absent = density_curves(32, (0.1, 1.0), TWO)
    assert not absent
    assert [(each.part, each.side) for each in curves] == [(part, side) for part in TWO for side in SIDES]
    assert all(each.slots[-1] >= 1 for each in curves)
    assert all(each.slots[0] < each.slots[-1] for each in curves)


def test_every_part_round_an_engine_is_drawn() -> None:
    assert set(TWO) <= set(engine_parts())
    assert "accel/systolic-ws-32x32" not in engine_parts()


def test_the_command_writes_a_page_and_its_plot(tmp_path: Path) -> None:
    parts = [text for part in TWO for text in ("--part", part)]
    result = CliRunner().invoke(app, ["density", "--size", "16", "--out", str(tmp_path), *parts])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "accel/gamma" in page and "Least, of parts" in page
    assert (tmp_path / "density.png").stat().st_size > 5000
