# SPDX-License-Identifier: Apache-2.0
"""Replicas behind a router, and the requests that come to them."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np

from simsparse.serving.book import Book
from simsparse.serving.build import Build
from simsparse.serving.disaggregated import Disaggregation, run_disaggregated
from simsparse.serving.replica import Replica
from simsparse.serving.result import Served
from simsparse.serving.routers import RequestRouter, router_of
from simsparse.serving.speculation import Speculation
from simsparse.sources.requests import Floats, Requests


@dataclass(frozen=True)
class FleetPlan:
    """How many replicas there are and who gets a request; ``speculation``: drafts of every decode step;
    ``disaggregated``: replicas of prefill and decode apart, in place of ``replicas``."""

    replicas: int = 1
    router: str = "round_robin"
    speculation: Speculation | None = None
    disaggregated: Disaggregation | None = None
    seed: int = 0


def run_fleet(requests: Requests, build: Build, plan: FleetPlan) -> Served:
    """All requests through the replicas. Raises SimulationError when one never fits."""
    book = _book(requests, plan)
    if plan.disaggregated is not None:
        fleet, arrived, replica_of = run_disaggregated(requests, build, book, plan.disaggregated, plan.router)
        return _result(requests, build, fleet, book, (arrived, replica_of))
    fleet = [build.replica(book) for _ in range(plan.replicas)]
    chosen = router_of(plan.router, fleet, requests)
    placed = _closed(requests, fleet, chosen) if requests.concurrency else _open(requests, fleet, chosen)
    return _result(requests, build, fleet, book, placed)


def _book(requests: Requests, plan: FleetPlan) -> Book:
    drafts = plan.speculation
    if drafts is None:
        return Book(requests)
    steps = drafts.steps(requests.output_tokens - 1, np.random.default_rng([plan.seed, 7]))
    return Book(requests, steps, drafts.drafts + 1, drafts.draft_s)


def _open(requests: Requests, fleet: list[Replica], router: RequestRouter) -> tuple[Floats, list[int]]:
    """Requests that come by themselves."""
    placed = []
    for request, time in enumerate(requests.arrival_s.tolist()):
        placed.append(router.choose(request, time))
        fleet[placed[-1]].submit(request, time)
    for replica in fleet:
        replica.advance(math.inf)
    return requests.arrival_s.copy(), placed


def _closed(requests: Requests, fleet: list[Replica], router: RequestRouter) -> tuple[Floats, list[int]]:
    """A closed loop: the next request comes when one ends."""
    count, arrived, placed = len(requests), requests.arrival_s.copy(), [0] * len(requests)
    ended: list[float] = []
    for replica in fleet:
        replica.on_end = lambda _request, time: heapq.heappush(ended, time)
    first = min(requests.concurrency or 1, count)
    for request in range(first):
        _come(request, float(arrived[request]), fleet, router, placed)
    following = first
    while following < count:
        due = [(end, i) for i, replica in enumerate(fleet) if (end := replica.next_end()) is not None]
        end, at = min(due)
        fleet[at].advance(end)
        while ended and following < count:
            arrived[following] = heapq.heappop(ended)
            _come(following, float(arrived[following]), fleet, router, placed)
            following += 1
    for replica in fleet:
        replica.advance(math.inf)
    return arrived, placed


def _come(request: int, time: float, fleet: list[Replica], router: RequestRouter, placed: list[int]) -> None:
    placed[request] = router.choose(request, time)
    fleet[placed[request]].submit(request, time)


def _result(
    requests: Requests, build: Build, fleet: list[Replica], book: Book, placed: tuple[Floats, list[int]]
) -> Served:
    arrived, replica_of = placed
    shapes = [shape for replica in fleet for shape in replica.log.shapes][:32]
    machine, system, count = build.machine, build.machine.system, build.ranks * len(fleet)
    caches = [replica.pool.prefixes for replica in fleet if replica.pool.prefixes is not None]
    looked = sum(cache.lookups for cache in caches)
    return Served(
        requests.name, system.name, build.model.name, requests, arrived, book.admitted_s, book.first_s, book.done_s,
        tuple(replica.log for replica in fleet), tuple(replica_of),
        sum(machine.static_watts.values()) * count, len(machine.processors) * count,
        build.costs.error(shapes), build.kv_blocks, build.memory.block,
        sum(cache.hits for cache in caches) / looked if looked else None,
        sum(replica.preemptions for replica in fleet), build.ranks, (*system.assumed, *build.engine.assumed),
        notes=("whole steps are simulated; memory of caches has no limit",)
        if build.is_whole and build.kv_blocks is None else (),
    )  # fmt: skip
