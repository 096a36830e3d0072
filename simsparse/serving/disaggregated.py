# SPDX-License-Identifier: Apache-2.0
"""Prefill and decode on replicas of their own, with the cache of each prompt sent from one to the other.

A prefill replica sends the caches of the prompts that it has read one after another; the first token counts when the
cache is there. Left out: prefill replicas that wait for want of room on the decode side, and layers that are sent while
later ones are still computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simsparse.errors import SpecError, nearest
from simsparse.serving.book import Book
from simsparse.serving.build import Build
from simsparse.serving.replica import Replica
from simsparse.serving.routers import router_of
from simsparse.sources.options import positive, whole
from simsparse.sources.requests import Floats, Requests


@dataclass(frozen=True)
class Disaggregation:
    """``prefill`` and ``decode`` replicas; a prefill replica sends a cache in ``latency_s`` and at ``bytes_per_s``."""

    prefill: int
    decode: int
    bytes_per_s: float
    latency_s: float

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Disaggregation:
        """From a mapping with these keys; ``latency_s`` is 0 unless given. Raises SpecError."""
        known = ("prefill", "decode", "bytes_per_s", "latency_s")
        if unknown := next((name for name in options if name not in known), None):
            raise SpecError(f"{unknown!r} is not known here; {nearest(unknown, known)}", key="disaggregated")
        if missing := next((name for name in known[:3] if name not in options), None):
            raise SpecError(f"{missing} is missing", key="disaggregated")
        prefill, decode = (whole(name, options[name]) for name in known[:2])
        latency = options.get("latency_s", 0.0)
        seconds = positive("latency_s", latency) if latency else 0.0
        return cls(prefill, decode, positive("bytes_per_s", options["bytes_per_s"]), seconds)

    def sent_s(self, tokens: int, bytes_per_token: int) -> float:
        """Seconds that the cache of a prompt is under way."""
        return self.latency_s + tokens * bytes_per_token / self.bytes_per_s


def run_disaggregated(
    requests: Requests, build: Build, book: Book, split: Disaggregation, router: str
) -> tuple[list[Replica], Floats, list[int]]:
    """All requests through prefill, transfer and decode. Raises SpecError for a closed loop."""
    if requests.concurrency is not None:
        raise SpecError("prefill and decode apart need requests that come by themselves", key="disaggregated")
    readers = [build.replica(book) for _ in range(split.prefill)]
    for reader in readers:
        reader.ends_after_prefill = True
    placed = _submitted(requests, readers, requests.arrival_s, np.arange(len(requests)), router)
    ready = _sent(requests, book, split, placed, build.model.kv_bytes_per_token)
    writers = [build.replica(book) for _ in range(split.decode)]
    for writer in writers:
        writer.comes_read = True
    many = np.flatnonzero(requests.output_tokens > 1)
    order = many[np.argsort(ready[many], kind="stable")]
    _submitted(requests, writers, ready, order, router)
    book.first_s[:] = ready
    book.done_s[:] = np.maximum(book.done_s, ready)
    return [*readers, *writers], requests.arrival_s.copy(), placed


def _submitted(
    requests: Requests, fleet: list[Replica], times: Floats, order: np.ndarray[Any, np.dtype[np.intp]], router: str
) -> list[int]:
    chosen, placed = router_of(router, fleet, requests), [0] * len(requests)
    for request in order.tolist():
        placed[request] = chosen.choose(request, float(times[request]))
        fleet[placed[request]].submit(request, float(times[request]))
    for replica in fleet:
        replica.advance(math.inf)
    return placed


def _sent(requests: Requests, book: Book, split: Disaggregation, placed: list[int], row_bytes: int) -> Floats:
    """When the cache of each prompt is on the decode side."""
    free = [0.0] * split.prefill
    ready = np.zeros(len(requests))
    for request in np.argsort(book.first_s, kind="stable").tolist():
        start = max(float(book.first_s[request]), free[placed[request]])
        free[placed[request]] = start + split.sent_s(int(requests.input_tokens[request]), row_bytes)
        ready[request] = free[placed[request]]
    return ready
