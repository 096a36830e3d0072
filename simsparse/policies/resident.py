# SPDX-License-Identifier: Apache-2.0
"""Everything stays where it runs fastest."""

from __future__ import annotations

from simsparse.policies.base import MEASURED, POLICIES, Policy
from simsparse.policies.residency.keep_all import KeepAll


@POLICIES.register("resident")
def resident() -> Policy:
    """Weights, KV cache and activations in the memory of the device that runs each op.

    Left out: the time from the host's first launch to the first kernel, and from the last one to its wait
    (9 us on one H100 SXM5).
    """
    return Policy("resident", residency=KeepAll(), validated=MEASURED)
