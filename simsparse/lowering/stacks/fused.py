# SPDX-License-Identifier: Apache-2.0
"""Serving engines: one good kernel per operator, as a trace has them."""

from __future__ import annotations

from simsparse.core import Trace
from simsparse.lowering.stacks.base import STACKS, Stack, called


@STACKS.register("fused")
class Fused(Stack):
    """Norms, rotary embeddings and activations fused, attention on grouped heads, experts in grouped kernels."""

    name = "fused"

    def launched(self, trace: Trace) -> Trace:
        return trace if self.graph else called(trace)
