# SPDX-License-Identifier: Apache-2.0
"""All experts of the next layer are copied while this one computes."""

from __future__ import annotations

from simsparse.policies.base import MEASURED, POLICIES, Policy
from simsparse.policies.prefetch.all_experts import AllExperts
from simsparse.policies.residency.none import KeepNone


@POLICIES.register("prefetch_all")
def prefetch_all(what: str = "experts", chunk_bytes: int | None = None) -> Policy:
    """Two buffers of all experts of a layer; the first layer copies only the experts it needs.

    Raises SpecError on options that KeepNone refuses.
    """
    return Policy("prefetch_all", residency=KeepNone(chunk_bytes, what), prefetch=AllExperts(), validated=MEASURED)
