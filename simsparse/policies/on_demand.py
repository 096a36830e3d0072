"""Weights are copied when they are needed."""

from __future__ import annotations

from simsparse.policies.base import POLICIES
from simsparse.policies.streaming import Streaming


@POLICIES.register("on_demand")
class OnDemand(Streaming):
    """Routed experts (or weights) are copied on the compute lane right before the op that needs them."""

    name = "on_demand"
    ahead = False
