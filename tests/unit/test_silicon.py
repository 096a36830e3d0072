# SPDX-License-Identifier: Apache-2.0
"""Area, energy and leakage that follow a design, against published chips and another tool's areas."""

from __future__ import annotations

import math

import pytest

import simsparse as ss
from simsparse.config.floorplan import accel_floorplan
from simsparse.config.hardware import load_hardware, load_system, override_part
from simsparse.config.parts.accel import AccelPart
from simsparse.config.silicon import Silicon, silicon_table
from simsparse.devices.base import device_for
from simsparse.errors import SpecError

PART = "accel/nm-array-16nm"
GEMMINI = (
    (16, 256, 110592, 0.499939), (16, 512, 130048, 0.75454), (16, 784, 267264, 1.238952), (16, 1376, 398336, 1.862173),
    (16, 1968, 329728, 1.75301), (16, 1024, 262144, 1.300916), (16, 3136, 257024, 2.071766),
    (16, 3584, 233472, 2.148129),
    (128, 2048, 1048576, 16.106937),
)  # fmt: skip
"""Side of the array, sums per column, bytes, mm2 by Accelergy (CACTI, Aladdin, 40 nm): ucb-bar/dosa, data."""


def part(**changes: str) -> AccelPart:
    found = override_part(load_hardware(PART), changes)
    assert isinstance(found, AccelPart)
    return found


def in_silicon(name: str, node: str, banks: int) -> AccelPart:
    """A shipped part with a technology."""
    given = load_hardware(name)
    fields = {key: getattr(given, key) for key in type(given).model_fields}
    said = {"node": {"value": node, "basis": "override"}, "banks": {"value": banks, "basis": "override"}}
    return AccelPart.model_validate({**fields, "silicon": said})


def area(**changes: str) -> float:
    found = part(**changes).counted_area
    assert found is not None
    return found.si


def test_arrays_buffers_and_formats_change_area_and_energy() -> None:
    base = area()
    assert area(**{"array.rows": "64", "array.cols": "64"}) > base + 3 * 2
    assert area(**{"buffers.weight": "4 MiB"}) > base + 2
    assert area(**{"sparsity.patterns": "1:2"}) < base
    assert area(**{"silicon.node": "7 nm"}) < base
    op = ss.ops.linear(512, 64, 64, "int8")
    joules = {
        text: ss.estimate(op, part(**{"silicon.banks": text})).energy_by_component["sram.byte"] for text in ("1", "64")
    }
    assert joules["1"] > joules["64"] * 1.5
    assert device_for(part(**{"array.rows": "128"})).static_watts > 2 * device_for(part()).static_watts
    assert load_system(PART).area_mm2 == pytest.approx(base)


def test_the_levels_of_a_hierarchy_are_priced_by_size() -> None:
    name = "spatial/two-level-16nm"
    small, large = (load_hardware(name, {"levels.global.size": size}) for size in ("64 KiB", "4 MiB"))
    assert small.counted_area and large.counted_area and large.counted_area.si > small.counted_area.si + 2
    prices = [device_for(each).prices[("global", "read_byte")] for each in (small, large)]
    assert prices[1] > 2 * prices[0]
    fields = {key: getattr(small, key) for key in type(small).model_fields}
    unpriced = {**fields["levels"], "dram": fields["levels"]["dram"].model_copy(update={"read": None})}
    with pytest.raises(ValueError, match="is another chip"):
        type(small).model_validate({**fields, "levels": unpriced})


def test_what_a_file_states_is_kept() -> None:
    stated = part(**{"energy.sram_byte": "3 pJ/byte", "area": "9 mm^2"})
    assert stated.prices.sram_byte is not None and stated.prices.sram_byte.si == pytest.approx(3e-12)
    assert stated.counted_area is not None and stated.counted_area.si == 9


def test_technologies_go_one_way_and_meet_the_table() -> None:
    nodes = [65, 45, 40, 32, 28, 22, 16, 12, 10, 7, 5, 4, 3]
    for name, args in (
        ("mac_area", ("int8",)),
        ("mac_j", ("int8",)),
        ("sram_area", (2**20,)),
        ("sram_byte_j", (2**15,)),
    ):
        values = [getattr(Silicon(nm), name)(*args) for nm in nodes]
        assert values == sorted(values, reverse=True), name
    assert Silicon(45).mac_j("int8") == pytest.approx(0.3e-12)
    assert Silicon(45).sram_byte_j(32768) == pytest.approx(20e-12 / 8)
    assert Silicon(45).sram_byte_j(8192) == pytest.approx(10e-12 / 8)


def test_a_published_chip_of_memories_has_its_area() -> None:
    """EIE: 40.8 mm2 at 45 nm, nearly all of it memory; no number here was fitted to it."""
    plan = accel_floorplan(in_silicon("accel/eie", "45 nm", 64))
    own = sum(each.area_mm2 for each in plan.components if each.name != "dram interface")
    assert own == pytest.approx(40.8, rel=0.15)


def test_a_published_array_has_most_of_its_area() -> None:
    """SIGMA: 65.1 mm2 at 28 nm without the large memories; its networks, which are left out, are the rest."""
    plan = accel_floorplan(in_silicon("accel/sigma", "28 nm", 128))
    array = next(each for each in plan.components if each.name == "pe array")
    assert 0.7 < array.area_mm2 / 65.1 < 1


def test_areas_are_near_another_tools() -> None:
    silicon = Silicon(40)
    errors = []
    for side, sums, scratchpad, theirs in GEMMINI:
        pes = side * side * (silicon.mac_area("int8") + silicon.register_area(8))
        ours = silicon.placed(pes) + silicon.sram_area(4 * side * sums) + silicon.sram_area(scratchpad)
        errors.append(ours / theirs - 1)
    assert sum(map(abs, errors)) / len(errors) < 0.25
    assert max(map(abs, errors)) < 0.35


def test_dies_cost_more_than_their_area() -> None:
    silicon = Silicon(7)
    assert silicon.die_usd(400) > 4 * silicon.die_usd(100)
    assert silicon.die_co2_kg(400) > 4 * silicon.die_co2_kg(100)
    dies, good = silicon.good_dies(100)
    assert 550 < dies < 700 and good == pytest.approx(math.exp(-0.1))
    assert silicon.die_usd(1e6) == math.inf


def test_what_has_no_component_is_refused() -> None:
    with pytest.raises(SpecError, match="no multiplier of fp64"):
        Silicon(16).mac_area("fp64")
    with pytest.raises(SpecError, match="no synthesised PE of 3:7"):
        Silicon(16).choice("3:7")
    given = load_hardware(PART)
    with pytest.raises(ValueError, match="without silicon it must be given"):
        AccelPart.model_validate({**{key: getattr(given, key) for key in type(given).model_fields}, "silicon": None})
    assert silicon_table().fab.defects.si > 0
