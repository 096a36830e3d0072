# SPDX-License-Identifier: Apache-2.0
"""The cost of one operator on one part, before anything else competes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simsparse.core.counts import ActionCounts


@dataclass(frozen=True, slots=True)
class OpCycles:
    """Level-2 outcome of an op with the masks of its operands: cycles of the device's own clock and action counts.

    ``utilization``: share of the multiply-accumulate slots that did an effectual one. ``causes``: cycles by what they
    were spent on, which add up to ``cycles``; empty where the core does not separate them.
    """

    cycles: int
    utilization: float
    counts: ActionCounts
    causes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpCost:
    """Latency, bound and action counts of an op run alone.

    ``breakdown`` gives seconds per contributor (compute, memory, launch, ...); they may overlap, so
    they need not add up to ``latency_s``. ``bound`` names the contributor that sets the latency.
    ``level`` is the fidelity (0 estimate, 1 system, 2 cycles). ``validated`` names the reference
    that the model was checked against, None when nothing checks it.
    """

    latency_s: float
    bound: str
    breakdown: Mapping[str, float] = field(default_factory=dict)
    counts: ActionCounts = field(default_factory=ActionCounts)
    level: int = 0
    validated: str | None = None
