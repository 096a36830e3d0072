"""All experts of the next layer are copied while this one computes."""

from __future__ import annotations

from simsparse.policies.base import POLICIES
from simsparse.policies.streaming import Streaming


@POLICIES.register("prefetch_all")
class PrefetchAll(Streaming):
    """Two buffers of all experts of a layer; the first layer copies only the experts it needs."""

    name = "prefetch_all"
    every_expert = True
