# SPDX-License-Identifier: Apache-2.0
"""The DRAM core: constraints, policies, mappings, traces, and what is refused."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
from dram_twin import Checker, address
from typer.testing import CliRunner

import simsparse as ss
import simsparse.dram
from simsparse.cli.app import app
from simsparse.config.ramulator import read_ramulator
from simsparse.dram import ControllerPolicy, DramDevice, device_of
from simsparse.dram.device import COMMANDS, Effect
from simsparse.dram.limits import constrain, earliest
from simsparse.dram.tables import new_channel, tables_of
from simsparse.errors import SimsparseError, SpecError, TraceError
from simsparse.validate.dram import is_dram_table, validate_dram

pytestmark = pytest.mark.xdist_group("dram")

CONFIGS = Path(__file__).parents[1] / "validation/data/dram/configs"
PARTS = ("ddr4-2400", "ddr5-4800", "lpddr5-6400", "gddr6-14000", "hbm2-2000", "hbm3-6400", "hbm4-8000")
FASTER = (("hbm2e", "hbm2-2000"), ("hbm3e", "hbm3-6400"), ("lpddr5x-8533", "lpddr5-6400"))
"""Grades of a standard, and the slower ones whose timings they take."""
CHECKED = (*PARTS, *(part for part, _ in FASTER))
STREAMS = [
    {"pattern": "random", "rw": "mix"},
    {"pattern": "seq", "rw": "mix", "mapping": "robaraco"},
    {"pattern": "random", "policy": ControllerPolicy(close_after=1)},
    {"pattern": "seq", "rw": "mix", "policy": ControllerPolicy(close_after=4, hit_cap=4, read_queue=8)},
]
REFRESHES = [(part, kind) for part in CHECKED for kind in device_of(f"memory/{part}").refreshes]


@pytest.mark.parametrize(("part", "refresh"), REFRESHES)
@pytest.mark.parametrize("stream", range(len(STREAMS)))
def test_no_command_breaks_a_constraint(part: str, refresh: str, stream: int) -> None:
    """A checker that looks at all commands before finds each one allowed, and the rows it needs open."""
    device = _often_refreshed(device_of(f"memory/{part}"), refresh)
    run = ss.dram_stream(
        device, bytes=500 * device.access_bytes, refresh=refresh, log=True, region=1 << 20, **STREAMS[stream]
    )
    checker, rows = Checker(device), {}
    for tick, _, command, bank, row, _ in run.log:
        place = address(device, command, bank)
        assert tick >= checker.allowed(command, place, tick), (tick, command, bank)
        _check_row(device, rows, command, bank, row)
        checker.note(tick, command, place)
    assert run.reads + run.writes + run.forwarded + run.coalesced == run.requests
    assert run.commands[device.refreshes[refresh].command] > 0


def _often_refreshed(device: DramDevice, kind: str) -> DramDevice:
    """The device with refreshes so often that a short run has several, and accesses between them."""
    refresh = device.refreshes[kind]
    longest = max(c.ticks for c in device.constraints if refresh.command in c.preceding)
    return replace(device, refreshes={kind: replace(refresh, interval=longest + 400)})


def _check_row(device: DramDevice, rows: dict[int, int], command: str, bank: int, row: int) -> None:
    """Accesses find their row open, activations and refreshes their banks closed."""
    kind = COMMANDS[command]
    banks = _banks(device, command, bank)
    if kind in (Effect.OPEN, Effect.OPEN_SECOND):
        assert bank not in rows
        rows[bank] = row
    elif kind in (Effect.READ, Effect.WRITE, Effect.READ_CLOSE, Effect.WRITE_CLOSE):
        assert rows[bank] == row
    elif kind in (Effect.REFRESH_ALL, Effect.REFRESH_BANK, Effect.REFRESH_SAME):
        assert not rows.keys() & set(banks)
    if kind in (
        Effect.CLOSE,
        Effect.CLOSE_ALL,
        Effect.CLOSE_SAME,
        Effect.READ_CLOSE,
        Effect.WRITE_CLOSE,
    ):
        for each in banks:
            rows.pop(each, None)


def _banks(device: DramDevice, command: str, bank: int) -> list[int]:
    whole = address(device, command, bank)
    places = {
        each: address(device, "ACT" if "ACT" in device.commands else "ACT1", each) for each in range(device.banks)
    }
    return [each for each, place in places.items() if all(a in (-1, b) for a, b in zip(whole, place, strict=True))]


@pytest.mark.parametrize("part", CHECKED)
def test_no_constraint_is_tighter_or_looser_than_its_ticks(part: str) -> None:
    """After random commands the core allows each command from the very tick on that the list of constraints says."""
    device = device_of(f"memory/{part}")
    policy = ControllerPolicy(close_after=1)
    rng = np.random.default_rng(7)
    for refresh in device.refreshes.values():
        tables = tables_of(device, policy, refresh)
        state, checker, tick = new_channel(tables), Checker(device), 0
        names = [name for name in device.commands if COMMANDS[name] < Effect.REFRESH_ALL or name == refresh.command]
        names = [name for name in names if not name.startswith("PREsb") or refresh.command == "REFsb"]
        for _ in range(60):
            tick += int(rng.integers(1, 40))
            command, bank = names[rng.integers(len(names))], int(rng.integers(device.banks))
            constrain(tables, state, device.commands.index(command), bank, tick)
            checker.note(tick, command, address(device, command, bank))
            asked, target = names[rng.integers(len(names))], int(rng.integers(device.banks))
            said = earliest(tables, state, device.commands.index(asked), target)
            assert said == checker.allowed(asked, address(device, asked, target)), (command, bank, asked, target)


def test_pattern_and_mapping_shape_the_row_hits() -> None:
    """In order nearly all accesses hit, at random nearly none; closing each row at once leaves hardly a conflict."""
    ordered = ss.dram_stream("memory/ddr4-2400", bytes=1 << 16)
    random = ss.dram_stream("memory/ddr4-2400", "random", bytes=1 << 16)
    closed = ss.dram_stream("memory/ddr4-2400", "random", bytes=1 << 16, policy=ControllerPolicy(close_after=1))
    assert ordered.row_hit_rate > 0.98
    assert random.row_hit_rate < 0.02
    assert closed.row_conflicts < random.row_conflicts / 10
    assert ordered.share_of_peak > random.share_of_peak
    assert ordered.bytes == 1 << 16


def test_a_cap_on_hits_lets_older_requests_go() -> None:
    """Two interleaved rows of one bank: without a cap the second waits for all hits of the first."""
    lines = [f"{address:#x} R" for number in range(48) for address in (number * 256, (1 << 17) + number * 256)]
    free = _traced(lines, ControllerPolicy())
    capped = _traced(lines, ControllerPolicy(hit_cap=1))
    assert capped.row_conflicts > free.row_conflicts
    assert capped.ticks > free.ticks


def _traced(lines: list[str], policy: ControllerPolicy) -> ss.dram.DramRun:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.txt"
        path.write_text("\n".join(lines), encoding="utf-8")
        return ss.dram_stream("memory/ddr4-2400", trace=path, policy=policy)


def test_channels_add_up() -> None:
    """Equal channels take the time of one; each has its own commands."""
    one = ss.dram_stream("memory/hbm3-6400", bytes=1 << 16)
    four = ss.dram_stream("memory/hbm3-6400", bytes=4 << 16, channels=4)
    assert four.ticks == one.ticks
    assert {name: 4 * count for name, count in one.commands.items()} == dict(four.commands)
    assert four.bytes_per_s == pytest.approx(4 * one.bytes_per_s)


def test_a_trace_is_what_a_pattern_is(tmp_path: Path) -> None:
    """The addresses of a pattern in a file give the pattern's run; a first tick holds an access back."""
    path = tmp_path / "addresses.txt"
    path.write_text("".join(f"{'ST' if n % 3 == 2 else 'LD'} {64 * n:#x}\n" for n in range(2000)), encoding="utf-8")
    assert ss.dram_stream("memory/ddr4-2400", trace=path) == ss.dram_stream("memory/ddr4-2400", bytes=128_000, rw="mix")
    path.write_text("0x0 R 1000\n# none\n0x40, R, 1000\n", encoding="utf-8")
    late, soon = ss.dram_stream("memory/ddr4-2400", trace=path), ss.dram_stream("memory/ddr4-2400", bytes=128)
    assert late.ticks == soon.ticks + 1000


def test_writes_that_wait_answer_reads_and_take_up_later_writes(tmp_path: Path) -> None:
    path = tmp_path / "addresses.txt"
    path.write_text("0x0 W\n0x0 R\n0x0 W\n", encoding="utf-8")
    run = ss.dram_stream("memory/ddr4-2400", trace=path)
    assert (run.writes, run.forwarded, run.coalesced, run.reads) == (1, 1, 1, 0)


def test_energy_is_the_sum_of_its_parts() -> None:
    """Reads cost more the more there are, standby the longer it takes; interface parts are within a byte's price."""
    part = ss.load_hardware("memory/hbm3-6400")
    run = ss.dram_stream(part, bytes=1 << 20)
    assert run.total_energy_j == pytest.approx(sum(run.energy_j.values()))
    moved = run.energy_j["read"] + run.energy_j["tsv"] + run.energy_j["io"]
    assert moved == pytest.approx((1 << 20) * part.energy.read_byte.si)
    assert run.energy_j["activate"] == pytest.approx(run.commands["ACT"] * 0.909e-9)
    assert ss.dram_stream(part, "random", bytes=1 << 20).total_energy_j > run.total_energy_j


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pattern": "sideways"}, "sideways"),
        ({"rw": "x"}, "'x'"),
        ({"mapping": "Column Row"}, "BankGroup"),
        ({"mapping": "Colunm"}, "Column"),
        ({"refresh": "per-rank"}, "all-bank"),
        ({"channels": 0}, "channels"),
        ({"bytes": 8}, "bytes"),
        ({"bytes": 10**15}, "15625000000000 accesses; at most 100000000 are run one by one"),
        ({"region": 8}, "region"),
        ({"pattern": "stride", "stride": 100}, "stride"),
        ({"part": "gpu/h100-sxm5-80gb"}, "memory"),
        ({"part": ss.load_hardware("memory/hbm2e").model_copy(update={"dram": None})}, "no section dram"),
    ],
)
def test_what_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        ss.dram_stream(**{"part": "memory/ddr4-2400", **changes})


@pytest.mark.parametrize(
    "text", ["0x0 Q", "R", "0x0 R 5 6", "-4 R", "0xffffffffffffffff R", "64 R 99999999999", "R" * 9000]
)
def test_a_bad_line_of_a_trace_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "addresses.txt"
    path.write_text(f"0x0 R\n{text}\n", encoding="utf-8")
    with pytest.raises(TraceError, match=r"addresses.txt:2"):
        ss.dram_stream("memory/ddr4-2400", trace=path)


@pytest.mark.parametrize("key", ["command_cycles", "org", "timing"])
def test_another_value_in_a_configuration_of_ramulator_is_refused(tmp_path: Path, key: str) -> None:
    dram = {"impl": "DDR4", "org": {"count": [1]}, "timing": {}, "command_cycles": [], "channel_width": 64, key: 5}
    places = {"row_policy": "Open", "scheduler": "FRFCFS", "refresh_manager": "NoRefresh"}
    controller = {"impl": "GenericDDR", "dram": dram, **{name: {"impl": impl} for name, impl in places.items()}}
    path = tmp_path / "a.yaml"
    path.write_text(json.dumps({"memory_system": {"controllers": [controller]}}), encoding="utf-8")
    with pytest.raises(SpecError, match=rf"a.yaml:1: .*{key}"):
        read_ramulator(path)


@pytest.mark.parametrize("text", ["", "# nothing\n\n"])
def test_a_trace_without_accesses_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "addresses.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TraceError, match=r"addresses.txt: holds no access"):
        ss.dram_stream("memory/ddr4-2400", trace=path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--channels", "\u00b2"), ("--channels", "9" * 5000), ("--bytes", "1e300 GB"), ("--stride", "1e308 GB"),
        ("--region", "9" * 40), ("--hit-cap", "0"), ("--close-after", "0"), ("--mapping", "\u00b2 Row"),
        ("--mapping", "Row:\u00b2"), ("--mapping", "9" * 5000), ("--mapping", "Row:" + "9" * 5000),
    ],
)  # fmt: skip
def test_options_that_are_no_such_number_are_refused(option: str, value: str) -> None:
    """Digits of other kinds, numbers beyond any memory, and 0 where a count is due."""
    outcome = CliRunner().invoke(app, ["dram", "memory/ddr4-2400", "--bytes", "64", option, value])
    assert isinstance(outcome.exception, SpecError), outcome.exception


def test_errors_are_typed() -> None:
    with pytest.raises(SimsparseError):
        ControllerPolicy(write_low=0.9, write_high=0.1)


def test_validate_reads_a_table_of_runs(tmp_path: Path) -> None:
    """A part by its configuration's name, else the file beside it; another controller is not compared."""
    run = ss.dram_stream("memory/ddr4-2400", bytes=4096)
    header = "simulator,config,mapping,refresh,rw,pattern,bytes,ticks,tick_ns,stride_bytes,config_file"
    rows = [
        f"ramulator2.1,DDR4_2400R,bgil,AllBank,r,seq,4096,{run.ticks},0.833,0,",
        f"ramulator2.1,OWN,bgil,AllBank,r,seq,4096,{2 * run.ticks},0.833,0,own.yaml",
        "ramulator2.1,ELSE,bgil,AllBank,r,seq,4096,5,0.833,0,",
        "DRAMsim3,DDR4_8Gb_x8_2400,ini,per ini,r,seq,4096,5,0.833,0,",
    ]
    table = tmp_path / "runs.csv"
    table.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    (tmp_path / "own.yaml").write_text((CONFIGS / "DDR4_2400R.pass.yaml").read_text("utf-8"), encoding="utf-8")
    assert is_dram_table(table)
    report = validate_dram(table)
    assert report.section("ramulator2.1 DDR4_2400R").mape == 0
    assert report.section("ramulator2.1 OWN").mape == pytest.approx(0.5)
    assert not report.passed
    assert sum(report.section("ramulator2.1 ELSE").skipped.values()) == 1
    assert sum(report.section("DRAMsim3 DDR4_8Gb_x8_2400").skipped.values()) == 1


def test_energy_of_counted_commands_is_that_of_dramsim3() -> None:
    report = validate_dram(CONFIGS.parent / "dram_energy_reference.csv")
    assert len(report.sections) == 4
    assert all(section.predictions and section.mape < 0.03 for section in report.sections)


def test_a_configuration_file_brings_its_queues(tmp_path: Path) -> None:
    """Queues and refresh of the file hold; what is not simulated is named with its line."""
    text = (CONFIGS / "DDR4_2400R.pass.yaml").read_text("utf-8")
    path = tmp_path / "own.yaml"
    path.write_text(
        text.replace("read_buffer_size: 32", "read_buffer_size: 4").replace("AllBank", "NoRefresh"), "utf-8"
    )
    short = ss.dram_stream(path, "random", bytes=1 << 18)
    assert short.ticks > ss.dram_stream("memory/ddr4-2400", "random", bytes=1 << 18).ticks
    assert "REFab" not in short.commands
    path.write_text(text.replace("impl: FRFCFS", "impl: Own"), "utf-8")
    with pytest.raises(SpecError, match=r"own.yaml:17.*Own"):
        ss.dram_stream(path)
    for before, after in (("65536, 1024]", "65536]"), ("[2400, 4,", "[4,"), ("[3, [6], [0], 50]", "[3, [6], [9], 50]")):
        path.write_text(text.replace(before, after), "utf-8")
        with pytest.raises(SpecError, match=r"own.*(count|timing)"):
            ss.dram_stream(path)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("channel_width: 64", "channel_width: -1", "width_bits"), ("channel_width: 64", "channel_width: 0", "width"),
        ("[3, [6], [0], 50]", "[3, [6], [0], 99999999999999999999]", "ticks"),
        ("65536, 1024]", "99999999999999999999, 1024]", "counts"), ("65536, 1024]", "-1, 1024]", "counts"),
        ("4, 4, 65536", "4, 2147483648, 65536", "banks in a channel"), ("[2400, 4,", "[2400, 0,", "burst"),
    ],
)  # fmt: skip
def test_a_configuration_file_with_numbers_of_no_dram_is_refused(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    text = (CONFIGS / "DDR4_2400R.pass.yaml").read_text("utf-8")
    assert before in text
    path = tmp_path / "own.yaml"
    path.write_text(text.replace(before, after), "utf-8")
    with pytest.raises(SpecError, match=said):
        ss.dram_stream(path, bytes=4096)


OF_THE_STANDARD = {"hbm3e": ("nCCDL", "nRFC", "nRREFD")}
CLOCKS = {"nBL", "nBL_min", "nBL_max", "nCCDS", "nCCDL", "nCCDR", "nCCDS_WR", "nCCDL_WR", "nPPD", "nWCKPST", "nCAS",
          "nAAD", "nCS"}  # fmt: skip


@pytest.mark.parametrize(("part", "base"), FASTER)
def test_timings_of_a_faster_grade_are_those_of_its_base_in_ns_or_clocks(part: str, base: str) -> None:
    """Least times in ns are rounded up to ticks, greatest ones (refresh) down; what counts clocks stays."""
    fast, slow = (ss.load_hardware(f"memory/{name}").dram for name in (part, base))
    for name in slow.timing.keys() - set(OF_THE_STANDARD.get(part, ())):
        scale = 1.0 if name in CLOCKS else slow.tick.si / fast.tick.si
        whole = floor if name.startswith("nREFI") else ceil
        assert fast.timing[name].whole == whole(round(slow.timing[name].whole * scale, 3)), name


@pytest.mark.parametrize("part", [*CHECKED, "ddr4-3200", "ddr5-6400"])
def test_shares_of_level_0_are_those_of_the_core(part: str) -> None:
    """A part's shares of peak, in order and at random, lie within 5 % of runs of its commands."""
    loaded = ss.load_hardware(f"memory/{part}")
    size = 24_000 * loaded.burst.whole
    for pattern, share in (("seq", loaded.sequential), ("random", loaded.random)):
        assert ss.dram_stream(loaded, pattern, bytes=size).share_of_peak == pytest.approx(share.si, rel=0.05)


def test_a_short_row_of_a_table_is_named(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    table.write_text("simulator,config,mapping,refresh,rw,pattern,bytes,ticks,tick_ns\nramulator2.1,DDR4\n", "utf-8")
    with pytest.raises(SpecError, match=r"runs.csv:2"):
        validate_dram(table)
