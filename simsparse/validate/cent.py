# SPDX-License-Identifier: Apache-2.0
"""Rows of CENT's simulation of Llama-2 on CXL devices of GDDR6-AiM, against programs on the DRAM core.

A row is a model on so many devices, ``Tensor parallelism`` of which share a block, for one number of keys. Simulated
are the time of a block in memory, that of embedding and head, and the energy of a token; the row's own times of CXL and
of the device's controller are taken as given, since they come from closed forms.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.pim import PimPart
from simsparse.dram.device import DramDevice
from simsparse.dram.parts import pim_device
from simsparse.errors import SpecError
from simsparse.models.zoo import MODELS
from simsparse.validate.comparison import Prediction, SectionReport, ValidationReport
from simsparse.validate.measurement import Measurement
from simsparse.validate.reference.cent_block import (
    CentDevice,
    CentPlan,
    CentRun,
    CentShape,
    block_steps,
    embedding_steps,
    weight_steps,
)
from simsparse.validate.tables import read_rows

PART = "pim/aim-gddr6"
COLUMNS = frozenset(("Tensor parallelism", "Channels per block", "Sequence length", "PIM latency", "Token energy (mJ)"))
TOLERANCES = {"PIM latency": 0.05, "Embedding latency": 0.05, "Token latency (ms)": 0.05, "Token energy (mJ)": 0.15}
"""Times: the accesses through a device's port are a closed form. Energy: its controller and buffers are left out."""
_UNSTATED_MS = 0.15
"""Milliseconds that a token takes at the host in CENT's simulation."""


def is_cent_table(path: str | Path) -> bool:
    """Whether a CSV file has the columns of CENT's results."""
    if not str(path).endswith(".csv"):
        return False
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return set(next(csv.reader(file), [])) >= COLUMNS
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def validate_cent(path: str | Path) -> ValidationReport:
    """Compare a table of CENT's results with programs on the core. Raises SpecError that names file and line."""
    rows, machine = read_rows(path, lambda fields: str(fields["Model"])), CentMachine()
    found: dict[str, list[Prediction]] = {key: [] for key in TOLERANCES}
    for row in rows:
        with row.placed():
            predicted = machine.predicted(row)
            for key, value in predicted.items():
                found[key].append(Prediction(row, row.number(key), value, "mJ" if "mJ" in key else "ms"))
    sections = [SectionReport(key, found[key], tolerance) for key, tolerance in TOLERANCES.items()]
    return ValidationReport(str(path), PART, sections, {}, {})


@dataclass(frozen=True)
class _CentLayout:
    """How a row lays a model out: ``used`` devices with a plan of each, ``layers`` blocks."""

    shape: CentShape
    plan: CentPlan
    layers: int
    used: int


class CentMachine:
    """Predictions of rows on ``PART``; equal operators run once."""

    def __init__(self) -> None:
        self._devices: dict[tuple[CentShape, CentPlan], CentDevice] = {}

    def predicted(self, row: Measurement) -> dict[str, float]:
        """By column of the table what the row is predicted to be. Raises SpecError."""
        layout, keys = _layout(row, self._channels), row.whole("Sequence length")
        device = self._device(layout.shape, layout.plan)
        block, embedding = device.run(block_steps(layout.shape, keys)), device.run(embedding_steps(layout.shape))
        block_ms, embedding_ms = (1e3 * run.ticks * self._dram.tick_s for run in (block, embedding))
        given = row.number("CXL latency") + row.number("Acc latency")
        return {
            "PIM latency": block_ms, "Embedding latency": embedding_ms,
            "Token latency (ms)": (block_ms + given) * layout.layers + embedding_ms + _UNSTATED_MS,
            "Token energy (mJ)": 1e3 * self._token_joules(layout, device, block),
        }  # fmt: skip

    def _token_joules(self, layout: _CentLayout, device: CentDevice, block: CentRun) -> float:
        """A block's energy over all blocks. Blocks in lock step on a device share their runs."""
        shared = layout.plan.devices
        if shared == 1 and layout.plan.copies > 1:
            return layout.used * self._joules(layout, block)
        others = device.run(weight_steps(layout.shape))
        return layout.layers * (self._joules(layout, block) + (shared - 1) * self._joules(layout, others))

    def _joules(self, layout: _CentLayout, run: CentRun) -> float:
        """Energy of one device; its standby is that of one channel, as in CENT's simulation."""
        price, count = self._part.energy, run.commands
        channels, column = layout.plan.channels * layout.plan.copies, self._dram.access_bytes
        banks = self._dram.banks
        rows = banks * count["ACT16"] + count["ACT"]
        internal = column * (banks * count["MAC16"] + banks / 4 * count["EWMUL16"])
        moved = sum(count[name] for name in ("WRGB", "WRMAC16", "RDMAC16", "RDAF16", "RDCP", "WRCP"))
        written = banks * count["WR16"]
        external = column * (channels * (moved + written) + run.accesses)
        standby = price.static.si / self._channels * run.ticks * self._dram.tick_s
        return (channels * (rows * price.activate.si + internal * price.internal_byte.si)
                + external * price.external_byte.si + standby)  # fmt: skip

    @cached_property
    def _part(self) -> PimPart:
        part = load_hardware(PART)
        if not isinstance(part, PimPart):
            raise SpecError(f"{part.name} is no PIM part", key="part")
        return part

    @cached_property
    def _dram(self) -> DramDevice:
        return pim_device(self._part)

    @cached_property
    def _sums(self) -> int:
        dram = self._part.dram
        if dram is None or dram.sums is None:
            raise SpecError(f"{self._part.name} has no program of GDDR6-AiM", key="dram.sums")
        return dram.sums.whole

    @cached_property
    def _channels(self) -> int:
        return self._part.memory.stacks.whole * self._part.commands.channels.whole

    def _device(self, shape: CentShape, plan: CentPlan) -> CentDevice:
        if (shape, plan) not in self._devices:
            self._devices[shape, plan] = CentDevice(self._dram, self._sums, shape, plan)
        return self._devices[shape, plan]


def _layout(row: Measurement, channels: int) -> _CentLayout:
    """The layout of a row. Raises SpecError for a model that is not known."""
    name = row.text("Model").lower()
    if name not in MODELS:
        raise SpecError(f"{row.text('Model')!r} is not a model that is known", key="Model")
    size = MODELS[name].shape
    shape = CentShape(size["hidden_size"], size["intermediate_size"], size["num_attention_heads"],
                      size["num_key_value_heads"], size["vocab_size"])  # fmt: skip
    of_block, layers = row.whole("Channels per block"), size["num_hidden_layers"]
    copies = channels // of_block
    return _CentLayout(
        shape, CentPlan(row.whole("Tensor parallelism"), of_block, copies), layers, ceil(layers / copies)
    )
