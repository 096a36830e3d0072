# SPDX-License-Identifier: Apache-2.0
"""The report of all sparse engines over density."""

from __future__ import annotations

import itertools
from math import comb
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from simsparse.cli.app import app
from simsparse.config.hardware import load_hardware
from simsparse.dataflow.sparse_engine import ENGINES
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.report.density import (
    ARRANGEMENT,
    BOTH,
    NM_ARRAYS,
    STRAY,
    WEIGHTS,
    Curve,
    crossovers,
    dense_arrays,
    density_curves,
    engine_parts,
    large_enough,
)
from simsparse.report.density_figure import density_plots, spread
from simsparse.report.density_page import density_page
from simsparse.report.density_weights import ARRANGED, BY_DENSITY, INPUTS_ALONE, NO_ZEROS, arranged, grouped_pattern

TWO = ("accel/gamma", "accel/matraptor")


def curve(part: str, slots: tuple[float, ...], multipliers: int = 2, family: str = WEIGHTS) -> Curve:
    return Curve(part, "fp16", multipliers, family, 32, 1.0, (0.01, 0.1, 1.0), slots)


def ladder(slots: tuple[float, float, float]) -> Curve:
    return Curve("accel/l", "fp16", 2, ARRANGEMENT, 32, 1.0, (0.25, 0.5, 1.0), slots, ("1:4", "2:4", "dense"))


@pytest.mark.parametrize(
    ("slots", "level", "even"),
    [((0.01, 0.1, 10.0), 1.0, 0.1 * 10**0.5), ((0.1, 0.2, 0.9), 1.0, 1.0), ((2.0, 3.0, 4.0), 1.0, None),
     ((0.1, 1.0, 10.0), 1.0, 0.1), ((0.1, 1.0, 10.0), 10.0, 1.0), ((2.0, 8.0, 32.0), 4.0, 0.01 * 10**0.5)],
)  # fmt: skip
def test_the_density_at_which_skipping_zeros_stops_to_pay(
    slots: tuple[float, ...], level: float, even: float | None
) -> None:
    assert curve("a", slots).below(level) == (None if even is None else pytest.approx(even))


def test_an_arrangement_has_room_for_sparser_weights() -> None:
    line = ladder((0.3, 0.6, 1.1))
    assert [line.at(density) for density in (0.01, 0.25, 0.3, 0.5, 0.7, 1.0)] == [0.3, 0.3, 0.6, 0.6, 1.1, 1.1]
    assert [line.densest_below(level) for level in (0.2, 0.4, 1.0, 1.2)] == [None, "1:4", "2:4", "dense"]


def test_the_least_at_each_density_leaves_out_parts_of_one_multiplier() -> None:
    curves = [curve("a", (0.1, 0.5, 1.0)), curve("b", (0.2, 0.4, 1.0)), curve("one", (0.0, 0.0, 0.0), 1)]
    assert [name for _, name, _ in crossovers(curves, WEIGHTS)] == ["a", "b", "a"]
    assert crossovers(curves[2:], WEIGHTS)[0][1] == "one"
    assert crossovers(curves, BOTH) == []


@pytest.mark.parametrize(
    ("slots", "multipliers", "most", "size"),
    [
        ({}, 8, 4096, 512),
        ({256: 2.0, 512: 1.5, 1024: 1.2, 2048: 1.04}, 8, 4096, 2048),
        ({256: 2.0, 512: 1.5, 1024: 1.2, 2048: 1.04}, 8, 1024, 1024),
        ({512: 3.0, 1024: 3.0, 2048: 3.0, 4096: 3.0}, 8, 4096, 256),
        ({}, 512**3, 4096, 4096),
    ],
)
def test_a_product_is_as_large_as_fills_the_part(
    slots: dict[int, float], multipliers: int, most: int, size: int
) -> None:
    found, unfilled = large_enough(lambda side: slots.get(side, 1.0), multipliers, most)
    assert (found, unfilled) == (size, slots.get(size, 1.0))


@pytest.mark.parametrize(("n", "m", "g"), [(1, 4, 2), (2, 4, 3), (4, 4, 2)])
def test_grouped_weights_have_every_choice_as_often(n: int, m: int, g: int) -> None:
    chunk = comb(m, n) * g
    mask = grouped_pattern(2 * chunk, 3 * m, n, m, g).mask()
    for rows, group in itertools.product(np.split(mask, 2), range(3)):
        choices, counts = np.unique(rows[:, group * m : (group + 1) * m], axis=0, return_counts=True)
        assert len(choices) == comb(m, n) and set(counts.tolist()) == {g}
    assert grouped_pattern(chunk - 1, 3 * m - 1, n, m, g).shape == (chunk - 1, 3 * m - 1)


def test_engines_named_here_exist() -> None:
    assert ARRANGED | INPUTS_ALONE | NO_ZEROS.keys() <= set(ENGINES)
    assert BY_DENSITY <= ARRANGED


@pytest.mark.parametrize(
    ("part", "labels"),
    [
        ("sat", ["1:8", "2:8", "4:8", "dense"]),
        ("sparse-tensor-core", ["2:8", "2:6", "2:4", "dense"]),
        ("vegeta", ["1:4", "2:4", "dense"]),
        ("s4", ["1 of 32", "2 of 32", "4 of 32", "8 of 32", "16 of 32", "dense"]),
        ("nmg-counter", ["1:16:16", "1:8:16", "1:4:16", "2:4:16", "dense"]),
        ("block-mma", ["block128:0.5", "dense"]),
        ("fan-in-gather", ["bank256:0.5", "dense"]),
    ],
)
def test_an_engine_is_fed_what_it_is_for(part: str, labels: list[str]) -> None:
    device = SparseEngineDevice(load_hardware(f"accel/{part}"))
    machine = device.machine(min(device.part.array.macs))
    found = arranged(device.engine.name, machine, (0.5, 1.0), 256)
    assert [each.label for each in found] == labels
    for each in found:
        assert each.draw(256, 256).density == pytest.approx(each.density, rel=0.05)


def test_curves_are_multiplier_cycles_of_the_dense_product() -> None:
    curves, absent = density_curves(32, (0.1, 1.0), TWO)
    assert not absent
    assert [(each.part, each.family) for each in curves] == [(part, side) for part in TWO for side in (WEIGHTS, BOTH)]
    assert all(each.slots[-1] >= 1 for each in curves)
    assert all(each.slots[0] < each.slots[-1] for each in curves)


def test_an_arranged_engine_does_better_on_its_own_zeros() -> None:
    (own, stray), absent = density_curves(64, (0.25, 1.0), ("accel/vegeta",))
    assert (own.family, stray.family, absent) == (ARRANGEMENT, STRAY, {})
    assert own.at(0.25) < stray.at(0.25) and own.at(1.0) == stray.at(1.0)


def test_an_engine_without_use_for_zeros_is_left_out_with_the_reason() -> None:
    curves, absent = density_curves(16, (1.0,), ("accel/edge-moe-zcu102",))
    assert not curves and "experts" in absent["accel/edge-moe-zcu102"]


def test_systolic_arrays_run_their_patterns_and_dense_weights() -> None:
    (wide, narrow), _ = density_curves(64, (1.0,), NM_ARRAYS)
    assert narrow.labels == ("2:4", "dense") and narrow.slots[0] < narrow.slots[1]
    assert list(wide.densities) == sorted(set(wide.densities)) and wide.densities[0] == 1 / 16
    assert all(len(each.slots) == 1 and each.slots[0] > 1 for each in dense_arrays(64))


def test_every_part_round_an_engine_is_drawn() -> None:
    assert set(TWO) <= set(engine_parts())
    assert "accel/systolic-ws-32x32" not in engine_parts()


@pytest.mark.parametrize("wanted", [[0.5, 0.5, 0.5], [0.0, 0.01, 0.9], [0.1, 0.4, 0.41, 1.0], [1.0, 1.0]])
def test_names_keep_apart_and_inside(wanted: list[float]) -> None:
    places = spread(wanted, 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(places))
    assert min(places) >= 0 and max(places) <= 1 + 1e-9


def test_no_two_lines_of_a_panel_look_alike() -> None:
    curves = [curve(f"accel/{i}", (0.1 + i / 100, 0.5, 1.0)) for i in range(30)]
    (plot,) = density_plots(curves, ladder((0.3, 0.6, 1.1)))
    looks = [(line.get_color(), line.get_linestyle()) for line in plot.figure.axes[0].lines]
    assert len(set(looks)) == len(looks) == 32


def test_the_page_tells_crossovers_by_density_or_by_arrangement() -> None:
    curves = [curve("accel/a", (0.01, 0.1, 10.0)), ladder((0.3, 0.6, 1.1)), curve("accel/b", (2.0, 3.0, 4.0))]
    page = density_page(curves, [curve("accel/d", (1.0, 1.0, 0.5))], {"accel/x": "why"}, None)
    assert "| a | random zeros in the weights | 0.32 | 0.22 |" in page
    assert "| l | weights arranged for the engine | 2:4 | 1:4 |" in page
    assert "| b | random zeros in the weights | nowhere | nowhere |" in page
    assert "Not drawn: accel/x: why." in page


def test_the_command_writes_a_page_and_its_plots(tmp_path: Path) -> None:
    parts = [text for part in (*TWO, "accel/vegeta") for text in ("--part", part)]
    result = CliRunner().invoke(app, ["density", "--size", "32", "--out", str(tmp_path), *parts])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "gamma" in page and "--size 32" in page
    for name in ("density", "density-both", "density-arranged"):
        assert f"({name}.png)" in page and (tmp_path / f"{name}.png").stat().st_size > 5000
