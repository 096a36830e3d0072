# SPDX-License-Identifier: Apache-2.0
"""Weights are copied when they are needed."""

from __future__ import annotations

from simsparse.policies.base import MEASURED, POLICIES, Policy
from simsparse.policies.prefetch.none import NoPrefetch
from simsparse.policies.residency.none import KeepNone


@POLICIES.register("on_demand")
def on_demand(what: str = "experts", chunk_bytes: int | None = None) -> Policy:
    """Routed experts (or all weights) are copied on the compute lane right before the op that needs them.

    Raises SpecError on options that KeepNone refuses.
    """
    return Policy(
        "on_demand", residency=KeepNone(chunk_bytes=chunk_bytes, what=what), prefetch=NoPrefetch(), validated=MEASURED
    )
