# SPDX-License-Identifier: Apache-2.0
"""Operators mapped onto a part of kind ``spatial``, with the mapping of each of their layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsparse.config.hardware import load_hardware, override_part
from simsparse.config.parts.spatial import SpatialPart
from simsparse.config.quantity import Part
from simsparse.core import Op
from simsparse.devices.base import device_for
from simsparse.devices.roofline import require_supported
from simsparse.devices.spatial import Spatial
from simsparse.errors import SpecError


@dataclass(frozen=True)
class MappedOp:
    """One layer of an operator: its mapping as ``lines`` and as JSON-able ``mapping``, and what one run of it costs.

    ``times``: how often the operator runs it. ``cycles``, ``latency_s``, ``energy_j`` (static power included),
    ``utilization`` (share of the array's slots), ``parts`` (cycles by what takes them), ``reads`` and ``writes`` (bytes
    by level). ``evaluated``: mappings looked at; ``all_of_them``: whether there were no others.
    """

    name: str
    times: int
    cycles: float
    latency_s: float
    energy_j: float
    utilization: float
    parts: dict[str, float]
    reads: dict[str, float]
    writes: dict[str, float]
    lines: tuple[str, ...]
    mapping: dict[str, Any]
    evaluated: int
    all_of_them: bool

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return {**self.__dict__, "lines": list(self.lines)}


def map_ops(ops: Sequence[Op] | Op, hw: Part | str | Path, objective: str = "latency") -> list[MappedOp]:
    """The best mapping of every layer in ``ops`` on ``hw`` by latency, energy or ``edp``; equal layers stand once.

    Raises SpecError when ``hw`` is not of kind ``spatial`` or the objective is unknown, MappingError when the part
    does not take an operator or nothing fits its memories.
    """
    part = hw if isinstance(hw, Part) else load_hardware(hw)
    if not isinstance(part, SpatialPart):
        raise SpecError(f"{part.name} is of kind {part.kind}; the mapper needs a part of kind spatial", key="hw")
    device = device_for(override_part(part, {"control.objective": objective}))
    assert isinstance(device, Spatial)
    given = [ops] if isinstance(ops, Op) else list(ops)
    require_supported(device, given)
    found: dict[Any, MappedOp] = {}
    for op in given:
        for times, one in device.mapped(op):
            key = one.layer.sizes, one.layer.strides, one.layer.bits, one.layer.keep, one.layer.group
            before = found[key].times if key in found else 0
            machine = device.machine(str(op.dtype))
            name = found[key].name if key in found else one.layer.name
            found[key] = MappedOp(
                name, before + times, one.cycles, one.cycles / part.clock.si, one.energy_j, one.utilization, one.parts,
                one.reads, one.writes, tuple(one.mapping.lines(machine)), one.mapping.to_dict(machine), one.evaluated,
                one.all_of_them,
            )  # fmt: skip
    return list(found.values())
