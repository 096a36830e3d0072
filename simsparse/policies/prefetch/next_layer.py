# SPDX-License-Identifier: Apache-2.0
"""What the next layer reads, which is known a layer before."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.prefetch.base import PREFETCHES, Prefetch


@PREFETCHES.register("next_layer")
@dataclass(frozen=True)
class NextLayer(Prefetch):
    """The gate of layer l+1 is known when layer l starts, as pre-gated MoE models are trained to allow.

    Option: ``across_steps``, weights of the first layer that no gate chooses are copied while the step before ends.
    """

    name = "next_layer"
    lookahead = 1
    across_steps: bool = False

    def ahead(self, view: View) -> tuple[Weight, ...]:
        return view.read()
