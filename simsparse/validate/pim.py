# SPDX-License-Identifier: Apache-2.0
"""Runs of other simulators of PIM against programs on the DRAM core: commands by kind, and cycles.

A row of AttAcc's simulator is one decode attention on one stack: ``pim_level`` bank, bg or buffer, with or without the
power limit. A row of Samsung's simulator is a product (``GEMV OUTPUTSxINPUTS fp16``) or a sum of two vectors (``ADD
ELEMENTS fp16``) on 64 pseudo channels, by the units or by a host that reads the operands.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import ceil
from pathlib import Path

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.pim import PimPart
from simsparse.devices.pim_attention import AttentionProgram, AttentionShape
from simsparse.devices.pim_pairs import PairProgram
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
    except (OSError, ValueError, csv.Error):
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
    if row.text("simulator").startswith("SAIT PIMSimulator"):
        return _samsung
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


def _samsung(row: Measurement) -> list[Prediction]:
    """Cycles of a product or a sum on HBM-PIM, or of a host's accesses to the same memory. Raises Unsupported."""
    match = re.fullmatch(r"(GEMV|ADD) (\d{1,9})(?:x(\d{1,9}))? fp16", row.text("op"))
    by_host = row.text("pim_level").startswith("host")
    if match is None or (match[1] == "GEMV") != (match[3] is not None):
        raise Unsupported(f"operator {row.text('op')[:40]!r}")
    return [Prediction(row, row.whole("cycles"), samsung_cycles(int(match[2]), int(match[3] or 0), by_host), "cycle")]


def samsung_cycles(outputs: int, inputs: int, by_host: bool) -> int:
    """Cycles of a product of FP16 on pim/hbm-pim, of a sum of two vectors without ``inputs``, to its last data."""
    part = load_hardware("pim/hbm-pim")
    if not isinstance(part, PimPart):
        raise SpecError(f"{part.name} is no PIM part", key="part")
    device = pim_device(part)
    channels, program = part.memory.stacks.whole * part.commands.channels.whole, PairProgram(device)
    lanes = device.access_bytes // 2
    bursts = [ceil(size / lanes / channels) for size in (outputs * inputs, inputs, outputs)]
    if by_host:
        steps = program.host(bursts[0] + bursts[1] if inputs else 2 * bursts[2], bursts[2])
    elif inputs:
        steps = program.product(ceil(outputs / channels), inputs, lanes)
    else:
        steps = program.added(ceil(outputs / channels), lanes)
    return run_steps(device, steps).ticks + device.read_latency


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
