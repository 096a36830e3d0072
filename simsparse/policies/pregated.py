"""The experts that the next layer needs are copied while this one computes."""

from __future__ import annotations

from simsparse.policies.base import POLICIES
from simsparse.policies.streaming import Streaming


@POLICIES.register("pregated")
class Pregated(Streaming):
    """The gate of layer l+1 is known when layer l starts, as pre-gated MoE models are trained to allow."""

    name = "pregated"
