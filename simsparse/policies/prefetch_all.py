# SPDX-License-Identifier: Apache-2.0
"""All experts of the next layer are copied while this one computes."""

from __future__ import annotations

from simsparse.policies.base import MEASURED, POLICIES, Policy
from simsparse.policies.prefetch.all_experts import AllExperts
from simsparse.policies.residency.none import KeepNone


@POLICIES.register("prefetch_all")
def prefetch_all(what: str = "experts", chunk_bytes: int | None = None, across_steps: bool = False) -> Policy:
    """Two buffers of all experts of a layer; the first layer copies only the experts it needs.

    ``across_steps``: all weights of the first layer are copied while the step before ends. Raises SpecError
    on options that KeepNone refuses.
    """
    return Policy(
        "prefetch_all",
        residency=KeepNone(chunk_bytes=chunk_bytes, what=what),
        prefetch=AllExperts(across_steps),
        validated=None if across_steps else MEASURED,
    )
