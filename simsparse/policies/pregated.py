# SPDX-License-Identifier: Apache-2.0
"""The experts that the next layer needs are copied while this one computes."""

from __future__ import annotations

from simsparse.policies.base import MEASURED, POLICIES, Policy
from simsparse.policies.prefetch.next_layer import NextLayer
from simsparse.policies.residency.none import KeepNone


@POLICIES.register("pregated")
def pregated(what: str = "experts", chunk_bytes: int | None = None, across_steps: bool = False) -> Policy:
    """The gate of layer l+1 is known when layer l starts, as pre-gated MoE models are trained to allow.

    ``across_steps``: weights of the first layer that no gate chooses are copied while the step before ends. Raises
    SpecError on options that KeepNone refuses.
    """
    return Policy(
        "pregated",
        residency=KeepNone(chunk_bytes=chunk_bytes, what=what),
        prefetch=NextLayer(across_steps),
        validated=None if across_steps else MEASURED,
    )
