# SPDX-License-Identifier: Apache-2.0
"""Runs of other DRAM simulators against the core: ticks of streams, and energy of counted commands.

Rows of Ramulator 2 name a configuration such as ``HBM3_6400``, which is the part ``memory/hbm3-6400``, or a
configuration file that lies beside the table (in ``configs/`` or with it). Rows of simulators whose controllers differ
are counted and left out.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.memory import MemoryPart
from simsparse.config.paths import part_names
from simsparse.dram import device_of, dram_stream
from simsparse.dram.energy import command_prices
from simsparse.errors import SpecError
from simsparse.validate.comparison import Prediction, SectionReport, Unsupported, ValidationReport
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import read_rows

TICKS = frozenset(("simulator", "config", "mapping", "refresh", "rw", "pattern", "bytes", "ticks", "tick_ns"))
ENERGY = frozenset(("simulator", "config", "num_act", "num_read", "num_refresh", "act_energy_pJ", "read_energy_pJ"))
TICKS_TOLERANCE, ENERGY_TOLERANCE = 0.01, 0.03
_SHOWN = ("channels", "mapping", "refresh", "rw", "pattern", "bytes", "stride_bytes")
"""Columns that say what was run."""
_REFRESHES: Mapping[str, bool | str] = {
    "AllBank": "all-bank",
    "PerBank": "per-bank",
    "HBM34PerBankRefresh": "per-bank",
    "NoRefresh": False,
}
_ENERGY_PARTS = {
    "HBM2_8Gb_x128": "memory/hbm2-2000", "DDR4_8Gb_x8_2400": "memory/ddr4-2400", "DDR4_8Gb_x8_3200": "memory/ddr4-3200"
}  # fmt: skip
"""Configurations of DRAMsim3, and the part with their currents."""


def is_dram_table(path: str | Path) -> bool:
    """Whether a CSV file has the columns of a table of DRAM runs."""
    if not str(path).endswith(".csv"):
        return False
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            header = set(next(csv.reader(file), []))
    except (OSError, ValueError, csv.Error):
        return False
    return header >= TICKS or header >= ENERGY


def validate_dram(path: str | Path) -> ValidationReport:
    """Compare a table of DRAM runs with the core. Raises SpecError that names file and line."""
    rows = read_rows(path, lambda fields: f"{str(fields['simulator']).split('@')[0]} {fields['config']}")
    energy = rows and rows[0].fields.keys() >= ENERGY
    predict: Callable[[Measurement], list[Prediction]] = _energies if energy else _run
    by_section: dict[str, list[Measurement]] = {}
    for row in rows:
        by_section.setdefault(row.section, []).append(row)
    tolerance = ENERGY_TOLERANCE if energy else TICKS_TOLERANCE
    reports = [_report(name, own, predict, tolerance) for name, own in sorted(by_section.items())]
    return ValidationReport(str(path), "memory/*", reports, {}, {})


def _report(
    name: str, rows: Sequence[Measurement], predict: Callable[[Measurement], list[Prediction]], tolerance: float
) -> SectionReport:
    found: list[Prediction] = []
    left: Counter[str] = Counter()
    for row in rows:
        try:
            with row.placed():
                found += [replace(prediction, row=_shown(row)) for prediction in predict(row)]
        except Unsupported as reason:
            left[str(reason)] += 1
    return SectionReport(name, found, tolerance, dict(left))


def _shown(row: Measurement) -> Measurement:
    """``row`` with what was run alone."""
    return replace(row, fields={key: row.fields[key] for key in _SHOWN if key in row.fields})


def _run(row: Measurement) -> list[Prediction]:
    """The ticks of one stream."""
    if not row.text("simulator").startswith("ramulator2"):
        raise Unsupported("another controller: queues per bank, other refresh")
    refresh = row.text("refresh")
    if refresh not in _REFRESHES:
        raise Unsupported(f"refresh {refresh[:40]}")
    pattern = row.text("pattern")
    run = dram_stream(
        _device_name(row.file, row.text("config"), str(row.fields.get("config_file", ""))), pattern, row.whole("bytes"),
        stride=row.count("stride_bytes") if pattern == "stride" else 0, rw=row.text("rw"), mapping=_mapping(row),
        refresh=_REFRESHES[refresh], channels=row.whole("channels") if "channels" in row.fields else 1,
        region=row.whole("region_bytes") if "region_bytes" in row.fields else None,
    )  # fmt: skip
    return [Prediction(row, row.whole("ticks"), run.ticks, "tick")]


def _mapping(row: Measurement) -> str:
    """The mapping as bits where the row says them, else by name."""
    bits = row.fields.get("map_bits_lsb_first")
    return bits if isinstance(bits, str) and bits else row.text("mapping")


@cache
def _device_name(file: str, config: str, config_file: str) -> str:
    """The part that ``config`` names, else the configuration file beside the table. Raises Unsupported."""
    match = re.fullmatch(r"([A-Z0-9]+?X?)_(\d+)[A-Z]*", config)
    part = f"memory/{match[1].lower()}-{match[2]}" if match else ""
    if part in part_names():
        return part
    folder = Path(file).parent
    for path in (folder / "configs" / config_file, folder / "dram_configs" / config_file, folder / config_file):
        if config_file and path.is_file():
            return str(path)
    raise Unsupported(f"no part and no configuration file of {config[:40]}")


def _energies(row: Measurement) -> list[Prediction]:
    """Joules of a run's activations, reads and refreshes by the part's prices, and seconds that its standby pays for.

    DRAMsim3 multiplies milliamperes, volts and clocks and calls it pJ, which it is where a clock takes 1 ns; here the
    clock's nanoseconds are put in.
    """
    config = re.sub(r"_1ch(_bgil)?$", "", row.text("config"))
    if config not in _ENERGY_PARTS:
        raise Unsupported(f"no part with the currents of {config[:40]}")
    part, states = _priced(_ENERGY_PARTS[config])
    prices, tick = command_prices(part, device_of(part)), device_of(part).tick_s
    pico = 1e-12 * tick * 1e9
    commands = {
        "act_energy_pJ": row.count("num_act") * prices.activate,
        "read_energy_pJ": row.count("num_read") * states * prices.read,
        "refresh_energy_pJ": row.count("num_refresh") * states * prices.refresh,
    }
    given = sum(_pj(row, key) for key in commands)
    standby = _pj(row, "act_standby_pJ") / prices.active_w + _pj(row, "pre_standby_pJ") / prices.idle_w
    ranks = 1 if states > 1 else 2
    return [
        Prediction(row, given * pico, sum(commands.values()), "J"),
        Prediction(row, row.whole("cycles") * ranks * tick, standby * pico / states, "s"),
    ]


def _pj(row: Measurement, key: str) -> float:
    value = row.fields.get(key, 0.0)
    if not isinstance(value, int | float):
        raise row.error(key, f"{value!r:.60} is not a number")
    return float(value)


@cache
def _priced(name: str) -> tuple[MemoryPart, int]:
    """A part and how many of its power states (pseudo-channels) answer one access of the reference's channel."""
    part = load_hardware(name)
    if not isinstance(part, MemoryPart):
        raise SpecError(f"{name} is not a memory part", key="part")
    return part, device_of(part).sizes.get("PseudoChannel", 1)
