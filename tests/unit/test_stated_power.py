# SPDX-License-Identifier: Apache-2.0
"""Stated power and area of parts, and what a pass costs per area and per joule."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import simsparse as ss
from simsparse._simulate import simulate
from simsparse.config.hardware import load_hardware, load_system
from simsparse.config.parts.accel import AccelPart
from simsparse.config.paths import part_names
from simsparse.core.pareto import pareto_front
from simsparse.report.metrics import PER_AREA, PER_JOULE
from simsparse.report.results import StoredPoint
from simsparse.sweep import run_sweep

ACCELERATORS = [name for name in part_names() if name.startswith("accel/")]
SWEEP = """
name: two
workload: {trace: one.trace}
axes:
  system: [accel/sigma, accel/vegeta]
level: 0
objectives: [latency_s, energy_j, area_mm2]
"""

WORDS = """
name: words
workload: {trace: one.trace}
system: systems/systolic-ws-32x32
axes:
  override.accel0.array.dataflow: [ws, os]
  override.accel0.sparsity.patterns: ["1:8", "2:4, 2:8"]
level: 0
"""


def test_stated_power_is_that_of_the_paper_and_not_priced() -> None:
    """SIGMA's abstract: 65.1 mm2, 22.33 W."""
    op = ss.ops.linear(m=64, n=64, k=64, dtype="bf16")
    trace = ss.TraceBuilder("one").add(op).build()
    system = load_system("accel/sigma")
    assert (system.area_mm2, system.power_w) == (65.1, 22.33)
    stated = simulate(trace, system)
    louder = simulate(trace, system.with_overrides({f"{next(iter(system.devices))}.power": "99 W"}))
    assert (stated.power_w, louder.power_w) == (22.33, 99)
    assert stated.energy_j == louder.energy_j


def test_power_is_not_known_where_one_device_has_none() -> None:
    assert load_system("accel/vegeta").power_w is None
    assert load_system("systems/h100-pcie5").power_w == 700
    assert load_system("systems/h200-x2-nvlink").power_w == 1400


@pytest.mark.parametrize("name", ACCELERATORS)
def test_power_at_rest_is_within_the_stated_power(name: str) -> None:
    part = load_hardware(name)
    assert isinstance(part, AccelPart)
    assert part.stated_power is None or part.energy.static.si < part.stated_power.si


def test_a_sweep_has_the_columns(tmp_path: Path) -> None:
    op = ss.ops.linear(m=64, n=64, k=64, dtype="bf16")
    ss.TraceBuilder("one").add(op).build().save(str(tmp_path / "one.trace"))
    (tmp_path / "two.yaml").write_text(SWEEP)
    frame = run_sweep(str(tmp_path / "two.yaml"), tmp_path / "out")
    assert frame["area_mm2"].tolist()[0] == 65.1 and math.isnan(frame["area_mm2"].tolist()[1])
    assert frame["power_w"].tolist()[0] == 22.33 and math.isnan(frame["power_w"].tolist()[1])


def test_a_sweep_varies_dataflow_and_patterns(tmp_path: Path) -> None:
    """Words and lists of words can be axes; each point is the run of the system with them."""
    op = ss.ops.linear(m=64, n=64, k=64, dtype="int8", weight_sparsity="2:4")
    trace = ss.TraceBuilder("one").add(op).build()
    trace.save(str(tmp_path / "one.trace"))
    (tmp_path / "words.yaml").write_text(WORDS)
    frame = run_sweep(str(tmp_path / "words.yaml"), tmp_path / "out")
    system = load_system("accel/systolic-ws-32x32")
    device = next(iter(system.devices))
    for row in frame.to_dict("records"):
        changed = {path: row[f"override.accel0.{path}"] for path in ("array.dataflow", "sparsity.patterns")}
        alone = simulate(trace, system.with_overrides({f"{device}.{path}": text for path, text in changed.items()}))
        assert row["latency_s"] == pytest.approx(alone.latency_s, rel=1e-12)
    assert frame["latency_s"].nunique() == 4


def _point(latency_s: float, energy_j: float, area_mm2: float | None) -> StoredPoint:
    return StoredPoint("k", "w", "s", "dense", "x", latency_s=latency_s, energy_j=energy_j, area_mm2=area_mm2)


def test_passes_per_area_and_per_joule_by_hand() -> None:
    point = _point(0.5, 4.0, 10.0)
    assert (PER_AREA.of(point), PER_JOULE.of(point)) == (0.2, 0.25)
    assert PER_AREA.text(0.2) == "0.200 1/s/mm²"
    unknown = _point(0.5, 0.0, None)
    assert math.isnan(PER_AREA.of(unknown)) and math.isnan(PER_JOULE.of(unknown))


def test_the_front_of_what_is_better_when_larger_is_at_the_upper_right() -> None:
    points = [_point(1, 1, 1), _point(2, 2, 1), _point(0.5, 4, 1), _point(4, 0.5, 1)]
    front = pareto_front([(PER_JOULE.cost(point), PER_AREA.cost(point)) for point in points])
    assert sorted(front) == [0, 2, 3]


@pytest.mark.parametrize("name", [name for name in ACCELERATORS if "sky130" not in name])
def test_every_accelerator_has_a_system(name: str) -> None:
    systems = [load_system(system) for system in part_names() if system.startswith("systems/")]
    assert any(part.name == name for system in systems for part in system.devices.values())
