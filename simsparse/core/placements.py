# SPDX-License-Identifier: Apache-2.0
"""Placements: where operators run and where their weights rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from simsparse.core.trace import Trace


class Placement(NamedTuple):
    """Where one op runs and where its weights live when it starts.

    ``weight_home`` is the device whose memory holds the weights at rest; when it differs from
    ``device``, the policy moves them over the links.
    """

    device: str
    weight_home: str


@dataclass(frozen=True)
class Placements:
    """The device of every op of a trace and where its weights rest, in program order, and notes for the report."""

    trace: Trace
    policy: str
    devices: tuple[str, ...]
    weight_homes: tuple[str, ...]
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_op(self) -> dict[str, Placement]:
        """Placements by the names of ops."""
        columns = zip(self.trace.ops, self.devices, self.weight_homes, strict=True)
        return {op.name: Placement(device, home) for op, device, home in columns}
