# SPDX-License-Identifier: Apache-2.0
"""Configuration files of Ramulator 2: what one says of its DRAM and its controller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from simsparse.config.quantity import Frozen
from simsparse.config.validated import validate_document
from simsparse.config.yaml import Document, read_yaml
from simsparse.errors import nearest
from simsparse.paths import is_file

STANDARDS = ("DDR4", "DDR5", "LPDDR5", "GDDR6", "HBM2", "HBM3", "HBM4")
REFRESHES = {"AllBank": "all-bank", "PerBank": "per-bank", "HBM34PerBankRefresh": "per-bank", "NoRefresh": None}
"""Refresh managers of Ramulator 2, and the kind of refresh here."""
_CONTROLLERS = ("GenericDDR", "HBM12", "HBM34", "LPDDR5")
_SCHEDULERS = ("FRFCFS",)
_POLICIES = ("Open", "ClosedCAP")
_Count = Annotated[int, Field(ge=1, le=2**32)]
_Ticks = Annotated[int, Field(ge=0, le=2**32)]


class RamulatorConstraint(Frozen):
    """A row ``[level, preceding, following, latency, window, siblings]``; levels and commands are numbers."""

    level: int
    preceding: tuple[int, ...]
    following: tuple[int, ...]
    ticks: _Ticks
    window: Annotated[int, Field(ge=1, le=1024)] = 1
    siblings: bool = False


def _row(raw: Any) -> Any:
    if not isinstance(raw, list) or not 4 <= len(raw) <= 6:
        raise ValueError("expected [level, preceding, following, latency, window, siblings]")
    return dict(zip(RamulatorConstraint.model_fields, raw, strict=False))


class RamulatorChannel(Frozen):
    """One controller of a configuration file and its DRAM."""

    name: str
    standard: str
    counts: tuple[_Count, ...]
    timing: tuple[_Ticks, ...]
    commands: int
    width_bits: _Count
    constraints: tuple[Annotated[RamulatorConstraint, BeforeValidator(_row)], ...]
    refresh: str | None
    read_queue: Annotated[int, Field(ge=1)]
    write_queue: Annotated[int, Field(ge=1)]
    write_low: float
    write_high: float
    close_after: int | None = None


def is_ramulator(path: str | Path) -> bool:
    """Whether a YAML file is a resolved configuration of Ramulator 2. Raises SpecError where it can't be read."""
    if Path(path).suffix not in (".yaml", ".yml") or not is_file(Path(path)):
        return False
    data = read_yaml(Path(path)).data
    return isinstance(data, dict) and "memory_system" in data


def read_ramulator(path: str | Path) -> RamulatorChannel:
    """The first controller of the resolved configuration file ``path``. Raises SpecError that names file and line."""
    document = read_yaml(Path(path))
    place = ("memory_system", "controllers", 0)
    controller = _at(document, *place)
    dram = _at(document, *place, "dram")
    policy = _one_of(document, (*place, "row_policy", "impl"), _POLICIES)
    _one_of(document, (*place, "impl"), _CONTROLLERS)
    _one_of(document, (*place, "scheduler", "impl"), _SCHEDULERS)
    refresh = _one_of(document, (*place, "refresh_manager", "impl"), tuple(REFRESHES))
    values = {
        "name": Path(path).stem,
        "standard": _one_of(document, (*place, "dram", "impl"), STANDARDS),
        "counts": _at(document, *place, "dram", "org", "count"),
        "timing": _at(document, *place, "dram", "timing"),
        "commands": _count(document, *place, "dram", "command_cycles"),
        "width_bits": _at(document, *place, "dram", "channel_width"),
        "constraints": dram.get("timing_constraints", []),
        "refresh": REFRESHES[refresh],
        "read_queue": controller.get("read_buffer_size", 32),
        "write_queue": controller.get("write_buffer_size", 32),
        "write_low": controller.get("wr_low_watermark", 0.2),
        "write_high": controller.get("wr_high_watermark", 0.8),
        "close_after": controller["row_policy"].get("cap", 4) if policy == "ClosedCAP" else None,
    }
    channel: RamulatorChannel = validate_document(document, RamulatorChannel, values)
    return channel


def _at(document: Document, *path: str | int) -> Any:
    """What stands at ``path``. Raises SpecError that names the first key that is missing."""
    node = document.data
    for depth, key in enumerate(path):
        there = key in node if isinstance(node, dict) else isinstance(node, list) and key in range(len(node))
        if not there:
            raise document.error(path[: depth + 1], "is missing; expected a resolved configuration of Ramulator 2")
        node = node[key]
    return node


def _count(document: Document, *path: str | int) -> int:
    """How many entries the list or mapping at ``path`` has. Raises SpecError."""
    found = _at(document, *path)
    if not isinstance(found, list | dict):
        raise document.error(path, f"{found!r:.60} is not a list")
    return len(found)


def _one_of(document: Document, path: tuple[str | int, ...], known: tuple[str, ...]) -> str:
    value = _at(document, *path)
    if value not in known:
        raise document.error(path, f"{value!r:.60} is not simulated; {nearest(str(value), known)}")
    return str(value)
