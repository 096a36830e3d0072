# SPDX-License-Identifier: Apache-2.0
"""Runs of other simulators of PIM against programs on the DRAM core: commands by kind, and cycles.

A row of AttAcc's simulator is one decode attention on one stack: ``pim_level`` bank, bg or buffer, with or without the
power limit.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.pim import PimPart
from simsparse.devices.pim_attention import AttentionProgram, AttentionShape
from simsparse.dram.device import DramDevice
from simsparse.dram.parts import pim_device
from simsparse.dram.program import run_steps
from simsparse.errors import SpecError
from simsparse.validate.comparison import Prediction, SectionReport, Unsupported, ValidationReport
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import read_rows

COLUMNS = frozenset(
    ("simulator", "op", "pim_level", "power_limited", "seq_len", "heads_per_stack", "cycles", "mac_cmds")
)
CYCLES_TOLERANCE = 0.04
"""AttAcc's own cache of results differs from runs of its code by as much."""
_PARTS: Mapping[tuple[str, int], str] = {
    ("bank", 1): "pim/bank-pim", ("bank", 0): "pim/bank-pim-unlimited",
    ("bg", 1): "pim/bank-group-pim", ("bg", 0): "pim/bank-group-pim-unlimited",
    ("buffer", 1): "pim/buffer-pim", ("buffer", 0): "pim/buffer-pim",
}  # fmt: skip
_COMMANDS = {"softmax_cmds": "SFM", "mv_gb_cmds": "MVGB", "mv_sb_cmds": "MVSB", "wr_gb_cmds": "WRGB"}
_SHOWN = ("op", "pim_level", "power_limited", "seq_len", "heads_per_stack", "dhead", "dbyte")


def is_pim_table(path: str | Path) -> bool:
    """Whether a CSV file has the columns of a table of PIM runs."""
    if not str(path).endswith(".csv"):
        return False
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return set(next(csv.reader(file), [])) >= COLUMNS
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def validate_pim(path: str | Path) -> ValidationReport:
    """Compare a table of PIM runs with programs on the core. Raises SpecError that names file and line."""
    rows = read_rows(path, lambda fields: str(fields["simulator"]))
    cycles, commands, left = _compared(rows)
    sections = []
    for name in sorted({row.section for row in rows}):
        skipped = dict(left.get(name, {}))
        sections.append(SectionReport(f"{name}: cycles", cycles.get(name, []), CYCLES_TOLERANCE, skipped))
        if name in commands:
            sections.append(SectionReport(f"{name}: commands", commands[name], 0.0))
    return ValidationReport(str(path), "pim/*", sections, {}, {})


_Found = dict[str, list[Prediction]]


def _compared(rows: Sequence[Measurement]) -> tuple[_Found, _Found, dict[str, Counter[str]]]:
    """Predictions of cycles and of commands, and the reasons of rows that were left out, by section."""
    cycles: _Found = {}
    commands: _Found = {}
    left: dict[str, Counter[str]] = {}
    for row in rows:
        try:
            with row.placed():
                first, *others = _kind(row)(row)
        except Unsupported as reason:
            left.setdefault(row.section, Counter())[str(reason)] += 1
            continue
        shown = replace(row, fields={key: row.fields[key] for key in _SHOWN if key in row.fields})
        cycles.setdefault(row.section, []).append(replace(first, row=shown))
        if others:
            commands.setdefault(row.section, []).extend(replace(other, row=shown) for other in others)
    return cycles, commands, left


def _kind(row: Measurement) -> Callable[[Measurement], list[Prediction]]:
    """How a row is predicted. Raises Unsupported."""
    if row.text("simulator").startswith("AttAcc"):
        return _attacc
    raise Unsupported("another simulator")


def _attacc(row: Measurement) -> list[Prediction]:
    """Cycles of a decode attention, then its commands by kind."""
    device, unit = attacc_channel(row.text("pim_level"), row.count("power_limited"))
    program = AttentionProgram(device, unit, AttentionShape(
        row.whole("heads_per_stack"), row.whole("seq_len"), row.whole("dhead"), row.whole("dbyte"), 16
    ))  # fmt: skip
    run = run_steps(device, program.steps())
    counts = {"mac_cmds": unit, **_COMMANDS}
    return [
        Prediction(row, row.whole("cycles"), run.ticks, "cycle"),
        *(Prediction(row, row.whole(key), program.counts[name], "command") for key, name in counts.items()),
    ]


def attacc_part(level: str, limited: int) -> str:
    """The part with units at ``level`` (bank, bg or buffer), held to the power limit or not. Raises Unsupported."""
    if (level, limited) not in _PARTS:
        raise Unsupported(f"units at the level {level[:40]!r}")
    return _PARTS[level, limited]


@cache
def attacc_channel(level: str, limited: int) -> tuple[DramDevice, str]:
    """The channel of ``attacc_part``, and the command of its units. Raises Unsupported."""
    part = load_hardware(attacc_part(level, limited))
    if not isinstance(part, PimPart) or part.dram is None:
        raise SpecError(f"{part.name} describes no commands", key="part")
    return pim_device(part), part.dram.unit
