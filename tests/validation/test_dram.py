# SPDX-License-Identifier: Apache-2.0
"""The DRAM core against Ramulator 2.1: ticks, row hits and latencies of its runs, and its commands one by one."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from dram_twin import Checker, address

import simsparse as ss
import simsparse.dram
from simsparse.dram import device_of

DATA = Path(__file__).parent / "data/dram"
TRACES = sorted(path.name for path in (DATA / "command_traces").iterdir())
PARTS = {
    "DDR4_2400R": "ddr4-2400", "DDR4_3200AA": "ddr4-3200", "DDR5_4800BN": "ddr5-4800", "DDR5_6400AN": "ddr5-6400",
    "LPDDR5_6400": "lpddr5-6400", "GDDR6_14000": "gddr6-14000", "HBM2_2000": "hbm2-2000", "HBM3_6400": "hbm3-6400",
    "HBM4_8000": "hbm4-8000",
}  # fmt: skip
pytestmark = pytest.mark.validation


def rows(config: str) -> list[dict[str, str]]:
    with (DATA / "dram_reference.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["config"] == config]


@pytest.mark.parametrize("config", [name for name in PARTS if name != "DDR5_6400AN"])
def test_ticks_are_those_of_ramulator(config: str) -> None:
    """Every run ends at the same tick, with the same row hits, misses and conflicts and the same mean latency."""
    for row in rows(config):
        run = ss.dram_stream(
            f"memory/{PARTS[config]}", row["pattern"], int(row["bytes"]), stride=int(row["stride_bytes"]),
            rw=row["rw"], mapping=row["mapping"], refresh=row["refresh"] == "AllBank",
            channels=int(row["channels"]), region=int(row["region_bytes"]),
        )  # fmt: skip
        found = run.ticks, run.row_hits, run.row_misses, run.row_conflicts
        assert found == tuple(int(row[key]) for key in ("ticks", "row_hits", "row_misses", "row_conflicts")), row
        latency = run.read_latency_ticks * run.reads / run.requests
        assert latency == pytest.approx(float(row["avg_read_latency_ticks"]), abs=0.006), row


@pytest.mark.parametrize("config", PARTS)
def test_part_and_configuration_file_have_the_same_constraints(config: str) -> None:
    """A part's formulas come to the rows of the resolved configuration, refresh management apart."""

    def rules(device: ss.dram.DramDevice) -> dict[tuple[object, ...], int]:
        found: dict[tuple[object, ...], int] = {}
        for c in device.constraints:
            for pair in ((before, after) for before in c.preceding for after in c.following):
                if not any(name.startswith(("RFM", "REFsb", "PREsb")) for name in pair):
                    key = (c.level, *pair, c.window, c.siblings)
                    found[key] = max(found.get(key, 0), c.ticks)
        return found

    part, file = device_of(f"memory/{PARTS[config]}"), device_of(DATA / f"configs/{config}.pass.yaml")
    assert rules(part) == rules(file)
    assert part.sizes == file.sizes
    assert (part.access_bytes, part.burst, part.read_latency) == (file.access_bytes, file.burst, file.read_latency)
    assert part.tick_s == pytest.approx(file.tick_s, rel=3e-3)  # the file's are rounded to picoseconds


@pytest.mark.parametrize("name", TRACES)
def test_commands_are_those_of_ramulator(name: str) -> None:
    """Command by command: tick, command, bank, and of activations the row, of accesses the column."""
    config, pattern = name.split("_bgil_", maxsplit=1)[0], name.split("_bgil_")[1].split("_", maxsplit=1)[0]
    device = device_of(f"memory/{PARTS[config]}")
    run = ss.dram_stream(f"memory/{PARTS[config]}", pattern, 16384, log=True)
    with (DATA / "command_traces" / name).open(encoding="utf-8") as file:
        expected = [_expected(device, row) for row in csv.DictReader(file)]
    ours = [
        (tick, command, address(device, command, bank), row if command == "ACT" else -1,
         column if command in ("RD", "WR") else -1)
        for tick, _, command, bank, row, column in run.log
    ]  # fmt: skip
    assert ours == expected


def _expected(device: ss.dram.DramDevice, row: dict[str, str]) -> tuple[object, ...]:
    command = row["command"]
    place = tuple(int(row[level]) for level in device.levels)
    opened = int(row["Row"]) if command == "ACT" else -1
    return int(row["clock"]), command, place, opened, int(row["Column"]) if command in ("RD", "WR") else -1


@pytest.mark.parametrize("name", TRACES)
def test_no_command_of_ramulator_breaks_a_constraint(name: str) -> None:
    """The checker accepts the reference's own commands: it is no stricter than the constraint list."""
    device = device_of(DATA / f"configs/{name.split('_bgil_', maxsplit=1)[0]}.pass.yaml")
    checker = Checker(device)
    with (DATA / "command_traces" / name).open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            place = tuple(int(row[level]) for level in device.levels)
            assert int(row["clock"]) >= checker.allowed(row["command"], place, int(row["clock"])), row
            checker.note(int(row["clock"]), row["command"], place)
