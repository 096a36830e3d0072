# SPDX-License-Identifier: Apache-2.0
"""What serving comes to: latencies by request, throughput, goodput, and whether the machine keeps up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from simsparse.errors import SpecError
from simsparse.serving.log import StepLog
from simsparse.sources.requests import Floats, Requests

if TYPE_CHECKING:
    import pandas as pd

GROWTH = 0.02
"""Share of the offered requests by which the queue may grow in a run that counts as kept up."""
PERCENTILES = (50, 90, 99)
MEASURES = ("ttft", "tpot", "e2e", "queue")
"""Latencies of a request: to its first token, per token after it, to its last, and until it is admitted."""


@dataclass(frozen=True)
class Distribution:
    """Seconds, one value per request that has one."""

    values: Floats

    @property
    def mean(self) -> float:
        """The mean; NaN of none."""
        return float(self.values.mean()) if len(self.values) else float("nan")

    def quantile(self, share: float) -> float:
        """The value below which ``share`` of all lie, linear between neighbours; NaN of none."""
        return float(np.quantile(self.values, share)) if len(self.values) else float("nan")

    @property
    def p50(self) -> float:
        """The median."""
        return self.quantile(0.5)

    @property
    def p90(self) -> float:
        """The 90th percentile."""
        return self.quantile(0.9)

    @property
    def p99(self) -> float:
        """The 99th percentile."""
        return self.quantile(0.99)

    def summary(self) -> dict[str, float]:
        """Mean and percentiles by name."""
        return {"mean": self.mean, **{f"p{p}": self.quantile(p / 100) for p in PERCENTILES}}


@dataclass(frozen=True)
class Saturation:
    """Whether the machine keeps up.

    ``offered_per_s`` requests arrive per second; the queue grows by ``growth_per_s`` requests over the second half of
    the arrivals; ``capacity_per_s`` requests end per second while others wait, None where none ever waits.
    """

    saturated: bool
    offered_per_s: float
    growth_per_s: float
    capacity_per_s: float | None


@dataclass(frozen=True)
class Served:
    """One run of serving; ``logs`` count the joules of one of the ``ranks`` of a replica, which do all the same.

    ``first_s``, ``done_s``, ``admitted_s`` (n,): seconds at which each request got its first token, its last, its
    place. ``logs``: what each replica did. ``static_watts``: of all devices, whatever runs. ``error_estimate``: largest
    relative error of the interpolated step times among shapes that were evaluated anew.
    """

    name: str
    system: str
    model: str
    requests: Requests
    arrived_s: Floats
    admitted_s: Floats
    first_s: Floats
    done_s: Floats
    logs: tuple[StepLog, ...]
    replica_of: tuple[int, ...]
    static_watts: float
    devices: int
    error_estimate: float
    kv_blocks: int | None
    kv_block: int
    prefix_hit_ratio: float | None
    preemptions: int
    ranks: int = 1
    assumed: tuple[str, ...] = ()
    unvalidated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def ttft(self) -> Distribution:
        """Seconds from arrival to the first token."""
        return Distribution(self.first_s - self.arrived_s)

    @cached_property
    def tpot(self) -> Distribution:
        """Seconds per token after the first: last minus first over the tokens after it; requests of one have none."""
        many = self.requests.output_tokens > 1
        return Distribution((self.done_s - self.first_s)[many] / (self.requests.output_tokens[many] - 1))

    @cached_property
    def e2e(self) -> Distribution:
        """Seconds from arrival to the last token."""
        return Distribution(self.done_s - self.arrived_s)

    @cached_property
    def queue(self) -> Distribution:
        """Seconds from arrival to admission."""
        return Distribution(self.admitted_s - self.arrived_s)

    @property
    def span_s(self) -> float:
        """Seconds from the first arrival to the last token."""
        return float(self.done_s.max() - self.arrived_s.min())

    @property
    def output_tokens_per_s(self) -> float:
        """Tokens written per second, over the whole run."""
        return float(self.requests.output_tokens.sum()) / self.span_s

    @property
    def total_tokens_per_s(self) -> float:
        """Tokens read and written per second, over the whole run."""
        return self.output_tokens_per_s + float(self.requests.input_tokens.sum()) / self.span_s

    @property
    def energy_j(self) -> float:
        """Joules of all devices from the first arrival to the last token, those at rest included."""
        return self.ranks * sum(log.joules for log in self.logs) + self.static_watts * self.span_s

    @property
    def joules_per_token(self) -> float:
        """Joules per token written."""
        return self.energy_j / float(self.requests.output_tokens.sum())

    def cost_per_million(self, price_per_device_hour: float) -> float:
        """Price of a million tokens written, at a price of a device and hour."""
        hours = self.devices * self.span_s / 3600
        return price_per_device_hour * hours / float(self.requests.output_tokens.sum()) * 1e6

    def good(self, slo: Mapping[str, float]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which requests are within ``slo``, seconds by measure (ttft, tpot, e2e, queue). Raises SpecError."""
        good = np.ones(len(self.requests), bool)
        for name, limit in slo.items():
            if name not in MEASURES:
                raise SpecError(f"{name!r} is not a latency; allowed: {', '.join(MEASURES)}", key="slo")
            if name == "tpot":
                many = self.requests.output_tokens > 1
                good[many] &= self.tpot.values <= limit
            else:
                good &= getattr(self, name).values <= limit
        return good

    def goodput(self, slo: Mapping[str, float]) -> float:
        """Requests per second that are within ``slo``."""
        return float(self.good(slo).sum()) / self.span_s

    @cached_property
    def saturation(self) -> Saturation:
        """Whether the queue grows as long as requests arrive."""
        offered = (len(self.requests) - 1) / max(float(np.ptp(self.arrived_s)), 1e-12)
        waiting_times, waiting = self._waiting()
        end = float(self.arrived_s.max())
        start = (float(self.arrived_s.min()) + end) / 2
        times = np.linspace(start, end, 101)
        at = np.interp(times, waiting_times, waiting) if len(waiting_times) else np.zeros(101)
        growth = float(np.polyfit(times - start, at, 1)[0]) if end > start else 0.0
        busy = [(run.start_s, run.end_s) for log in self.logs for run in log.runs if run.waiting]
        capacity = None
        if busy:
            begins, ends = np.array(busy).T
            total = float((ends - begins).sum()) / max(len(self.logs), 1)
            inside = np.zeros(len(self.done_s), bool)
            order = np.argsort(begins)
            slot = np.searchsorted(begins[order], self.done_s, side="left") - 1
            ok = slot >= 0
            inside[ok] = self.done_s[ok] <= ends[order][slot[ok]] + 1e-12
            capacity = float(inside.sum()) / total
        open_loop = self.requests.concurrency is None
        grown = growth > GROWTH * offered and growth * (end - start) > 1
        return Saturation(open_loop and grown, offered, growth, capacity)

    def _waiting(self) -> tuple[Floats, Floats]:
        """Times and requests that wait at them, over all replicas: arrived and not admitted."""
        times = np.concatenate([self.arrived_s, self.admitted_s])
        change = np.concatenate([np.ones(len(self.arrived_s)), -np.ones(len(self.admitted_s))])
        order = np.argsort(times, kind="stable")
        return times[order], np.cumsum(change[order])

    def table(self) -> pd.DataFrame:
        """Latencies in seconds: a row per measure, mean and percentiles as columns."""
        import pandas as pd

        return pd.DataFrame({name: getattr(self, name).summary() for name in MEASURES}).T

    def requests_table(self) -> pd.DataFrame:
        """A row per request: lengths, times in seconds, replica."""
        import pandas as pd

        return pd.DataFrame({
            "arrival_s": self.arrived_s, "input_tokens": self.requests.input_tokens,
            "output_tokens": self.requests.output_tokens, "admitted_s": self.admitted_s, "first_token_s": self.first_s,
            "last_token_s": self.done_s, "replica": list(self.replica_of),
        })  # fmt: skip
