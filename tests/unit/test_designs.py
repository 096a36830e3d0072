# SPDX-License-Identifier: Apache-2.0
"""Questions about designs: the best within limits by brute force, sensitivities, and gains at equal area."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simsparse.advice.designs import DesignAnswer, best_design, gain_at_equal_area, renamed
from simsparse.cli.app import app
from simsparse.core import Trace, TraceBuilder, ops
from simsparse.errors import SpecError

HW = "accel/nm-array-16nm"


def model(name: str, m: int, wide: int) -> Trace:
    builder = TraceBuilder(name).add(ops.linear(m, wide, 512, "int8", name="up"))
    return builder.add(ops.linear(m, 512, wide, "int8", name="down")).build()


@pytest.fixture(scope="module")
def models() -> list[Trace]:
    return [model("small", 16, 1024), model("large", 512, 2048)]


@pytest.fixture(scope="module")
def free(models: list[Trace]) -> DesignAnswer:
    return best_design(models, HW, ("dense", "2:4", "1:4"), (16, 32, 64), (64, 512))


def test_the_best_is_the_least_score_of_all(free: DesignAnswer) -> None:
    assert len(free.points) == 18
    assert free.best is not None
    assert free.best.score == min(each.score for each in free.points)
    assert set(free.given_up.values()) == {1.0}
    for one in free.front:
        assert not any(other.edp < one.edp and other.area_mm2 < one.area_mm2 for other in free.points)


def test_limits_hold_and_say_what_they_cost(models: list[Trace], free: DesignAnswer) -> None:
    areas = sorted(each.area_mm2 for each in free.points)
    tight = best_design(models, HW, ("dense", "2:4", "1:4"), (16, 32, 64), (64, 512), area_mm2=areas[2])
    assert tight.best is not None and free.best is not None
    assert tight.best.area_mm2 <= areas[2]
    assert tight.given_up["area"] == pytest.approx(tight.best.score / free.best.score)
    assert all(each.area_mm2 <= areas[2] for each in tight.front)
    none = best_design(models, HW, ("dense",), (16,), (64,), power_w=1e-6)
    assert none.best is None and len(none.points) == 1


def test_one_step_away_is_the_point_there(free: DesignAnswer) -> None:
    best = free.best
    assert best is not None
    for name, value, ratio, area, _ in free.sensitivity:
        (point,) = [
            each for each in free.points
            if str(getattr(each, name)) == value
            and all(getattr(each, other) == getattr(best, other)
                    for other in ("pattern", "side", "buffer_kib") if other != name)
        ]  # fmt: skip
        assert ratio == pytest.approx(point.score / best.score)
        assert ratio >= 1 and area == point.area_mm2
    assert {name for name, *_ in free.sensitivity} == {"pattern", "side", "buffer_kib"}


def test_equal_area_takes_rows_and_keeps_most_of_the_gain() -> None:
    found = gain_at_equal_area(model("m", 512, 2048), HW, "1:4", 32, 256)
    assert found.sparse_area_mm2 > found.dense_area_mm2
    assert 1 <= found.rows < 32
    assert 1 < found.speed_same_area <= found.speed_same_array <= 4
    assert found.energy_same_array > 1


def test_parts_with_an_area_of_their_own_are_refused(models: list[Trace]) -> None:
    with pytest.raises(SpecError, match="no section silicon"):
        best_design(models, "accel/sigma", ("dense",), (16,), (64,))
    assert [trace.name for trace in renamed([models[0], models[0]])] == ["small 1", "small 2"]


def test_the_commands_print_the_same(models: list[Trace], tmp_path: Path) -> None:
    path = tmp_path / "m.trace"
    models[0].save(path)
    words = ["design", str(path), "--patterns", "dense,2:4", "--sides", "16", "--buffers", "64,128"]
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert found["best"]["score"] == min(each["score"] for each in found["points"])
    assert CliRunner().invoke(app, [*words, "--area", "1"]).exit_code == 1
    bad = CliRunner().invoke(app, ["design", str(path), "--sides", "16,x"])
    assert isinstance(bad.exception, SpecError)
