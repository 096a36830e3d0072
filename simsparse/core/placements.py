"""Placements: where operators run and where their weights rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simsparse.core.trace import Trace


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one op runs and where its weights live when it starts.

    ``weight_home`` is the device whose memory holds the weights at rest; when it differs from
    ``device``, the policy moves them over the links.
    """

    device: str
    weight_home: str


@dataclass(frozen=True)
class Placements:
    """A placement for every op of a trace, by op name, and the policy's notes for the report."""

    trace: Trace
    policy: str
    placements: Mapping[str, Placement]
    notes: Mapping[str, str] = field(default_factory=dict)
