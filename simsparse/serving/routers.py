# SPDX-License-Identifier: Apache-2.0
"""Routers: which replica a request goes to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from simsparse.registry import Registry
from simsparse.serving.replica import Replica
from simsparse.sources.requests import Requests


class RequestRouter(ABC):
    """Chooses a replica for each request when it comes."""

    def __init__(self, fleet: Sequence[Replica], requests: Requests) -> None:
        self.fleet, self.requests = fleet, requests

    @abstractmethod
    def choose(self, request: int, time: float) -> int:
        """The place of the replica for ``request``, which comes at ``time``."""


ROUTERS: Registry[type[RequestRouter]] = Registry("router policy", ("simsparse.serving.routers",))


def router_of(name: str, fleet: Sequence[Replica], requests: Requests) -> RequestRouter:
    """The router called ``name``. Raises SpecError with the nearest name."""
    return ROUTERS.get(name)(fleet, requests)


@ROUTERS.register("round_robin")
class RoundRobin(RequestRouter):
    """One after the other."""

    def choose(self, request: int, time: float) -> int:
        del time
        return request % len(self.fleet)


@ROUTERS.register("least_loaded")
class LeastLoaded(RequestRouter):
    """The replica with the fewest requests that wait or run; of several, the first."""

    def choose(self, request: int, time: float) -> int:
        del request
        for replica in self.fleet:
            replica.advance(time)
        loads = [replica.outstanding for replica in self.fleet]
        return loads.index(min(loads))


@ROUTERS.register("cache_aware")
class CacheAware(RequestRouter):
    """The replica that holds most of the prompt's prefix, among those not much more loaded than the least.

    A replica is passed over when it has over ``SLACK`` requests more than the least loaded one. Source: the cache-aware
    load balancing of SGLang's router.
    """

    SLACK = 16

    def choose(self, request: int, time: float) -> int:
        for replica in self.fleet:
            replica.advance(time)
        loads, ids = [replica.outstanding for replica in self.fleet], self.requests.prefix
        least = min(loads)
        found = [
            (-(cache.matched(ids[request]) if ids and (cache := replica.pool.prefixes) is not None else 0), load, i)
            for i, (replica, load) in enumerate(zip(self.fleet, loads, strict=True)) if load <= least + self.SLACK
        ]  # fmt: skip
        return min(found)[2]
