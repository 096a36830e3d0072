# SPDX-License-Identifier: Apache-2.0
"""Figures of serving: latency over the rate with its knee, distributions, queue and cache over time, requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simsparse.report.plot import Plot, finish, panels, plain_log
from simsparse.report.si import scale_for
from simsparse.report.style import INK, MUTED, SMALL_PT, figure_style
from simsparse.serving.rates import RatePoint, knee

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsparse.serving import Served

LINES = {"p50": ("#0072B2", "-", "o"), "p90": ("#E69F00", "--", "s"), "p99": ("#D55E00", ":", "^")}
NAMES = {"ttft": "Time to the first token", "tpot": "Time per token after it"}
WAITING, READING, WRITING = "#c8c8c8", "#EE7733", "#0077BB"
MOST_ROWS = 60
"""Requests that are drawn one by one."""


def rate_plot(points: Sequence[RatePoint], slo: Mapping[str, float]) -> Plot:
    """Percentiles of latencies over the rate, the limits and the knee."""
    found, first = knee(points), points[0].served
    with figure_style():
        figure, axes = panels(2, 3.2)
        for ax, (name, label) in zip(axes, NAMES.items(), strict=True):
            _rate_lines(ax, points, name, slo.get(name))
            ax.set_xlabel("Requests offered per second")
            ax.set_ylabel(f"{label} (ms), log scale")
            if found is not None:
                ax.axvline(found.rate, color=INK, linewidth=0.9)
                ax.annotate(f"knee {found.rate:.3g}/s", (found.rate, 0.02), xycoords=("data", "axes fraction"),
                            xytext=(3, 0), textcoords="offset points", fontsize=SMALL_PT, color=INK)  # fmt: skip
        kept = f"keeps up to {found.rate:.3g} requests per second" if found else "keeps none of these rates"
        title = f"{first.model} on {first.system} {kept}"
        finish(figure, title, axes[0].get_legend_handles_labels()[0])
    caption = "Hollow points: the queue grows, so that latencies hold for this length of run only. Grey: the limit."
    return Plot("rates", "Latency over the rate", title, caption, figure)


def _rate_lines(ax: Axes, points: Sequence[RatePoint], name: str, limit: float | None) -> None:
    rates = [point.rate for point in points]
    every: list[float] = []
    for text, (colour, style, marker) in LINES.items():
        values = [getattr(getattr(point.served, name), text) * 1e3 for point in points]
        every += values
        ax.plot(rates, values, style, color=colour, label=text, linewidth=1.2)
        for point, value in zip(points, values, strict=True):
            face = "white" if point.served.saturation.saturated else colour
            ax.plot([point.rate], [value], marker, color=colour, markerfacecolor=face, markersize=4)
    if limit is not None:
        ax.axhline(limit * 1e3, color=MUTED, linewidth=0.9, label="limit")
    if any(point.served.saturation.saturated for point in points):
        ax.plot([], [], "o", color=MUTED, markerfacecolor="white", markersize=4, label="the queue grows")
    ax.set_yscale("log")
    plain_log(ax.yaxis, max(every) / max(min(every), 1e-9))


def distribution_plot(served: Served) -> Plot:
    """Share of requests up to each latency."""
    with figure_style():
        figure, axes = panels(2, 2.8)
        for ax, (name, label) in zip(axes, NAMES.items(), strict=True):
            own = getattr(served, name)
            values = np.sort(own.values)
            scale = scale_for(values.tolist(), "s")
            ax.step(values / scale.factor, np.arange(1, len(values) + 1) / len(values), where="post", color="#0072B2")
            for share, text in ((0.5, "p50"), (0.99, "p99")):
                at = own.quantile(share) / scale.factor
                ax.axvline(at, color=MUTED, linewidth=0.8)
                ax.annotate(text, (at, 0.03), xytext=(2, 0), textcoords="offset points", fontsize=SMALL_PT, color=MUTED)
            ax.set_xlabel(f"{label} ({scale.unit})")
            ax.set_ylabel("Share of requests")
            ax.set_ylim(0, 1.02)
        title = f"Half of the requests have their first token in {own_text(served.ttft.p50)}, 99 % in "
        title += own_text(served.ttft.p99)
        finish(figure, title)
    return Plot("distributions", "Distribution of latencies", title, "Each step is one request.", figure)


def own_text(seconds: float) -> str:
    """Seconds in words of a title."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def time_plot(served: Served) -> Plot:
    """Requests that wait and decode, and tokens in the cache, over time, of all replicas."""
    with figure_style():
        figure, axes = panels(2, 2.6, columns=1, sharex=True)
        for i, log in enumerate(served.logs):
            times = [run.start_s for run in log.runs]
            alone = len(served.logs) == 1
            for values, label, colour in (
                ([run.decoding for run in log.runs], "decoding", WRITING),
                ([run.waiting for run in log.runs], "waiting", "#CC3311"),
            ):
                axes[0].step(times, values, where="post", color=colour, linewidth=0.9, alpha=1 if alone else 0.5,
                             label=label if i == 0 else "_")  # fmt: skip
            tokens = [run.cached_tokens for run in log.runs]
            axes[1].step(times, tokens, where="post", color="#009E73", linewidth=0.9, alpha=1 if alone else 0.5)
        if served.kv_blocks is not None:
            room = served.kv_blocks * served.kv_block
            peak = max(run.cached_tokens for log in served.logs for run in log.runs)
            if peak > 0.3 * room:
                axes[1].axhline(room, color=MUTED, linewidth=0.9)
        axes[0].set_ylabel("Requests")
        axes[1].set_ylabel("Tokens in the cache of\ndecoding sequences")
        axes[1].set_xlabel("Time (s)")
        growth = served.saturation
        title = f"The queue grows by {growth.growth_per_s:.2g} requests per second" if growth.saturated else (
            "The queue does not grow")  # fmt: skip
        finish(figure, title, axes[0].get_legend_handles_labels()[0])
    return Plot("time", "Queue and cache over time", title, "A line per replica; grey: what the memory holds.", figure)


def gantt_plot(served: Served) -> Plot:
    """When each of the first requests waits, is read and is written."""
    count = min(MOST_ROWS, len(served.requests))
    with figure_style():
        figure, (ax,) = panels(1, 0.9 + 0.075 * count)
        rows = np.arange(count)
        arrived, admitted, first, done = (
            each[:count] for each in (served.arrived_s, served.admitted_s, served.first_s, served.done_s)
        )
        for start, end, colour, label in (
            (arrived, admitted, WAITING, "waits"), (admitted, first, READING, "prompt is read"),
            (first, done, WRITING, "tokens are written"),
        ):  # fmt: skip
            ax.barh(rows, end - start, left=start, height=0.8, color=colour, label=label)
        ax.set_ylim(count - 0.5, -0.5)
        ax.set_xlabel("Time (s)")
        ax.set_ylabel("Request, in order of arrival")
        title = f"The first {count} requests of {len(served.requests)}"
        finish(figure, title, ax.get_legend_handles_labels()[0])
    return Plot("requests", "Requests over time", title, "A row per request.", figure)


def served_plots(served: Served) -> list[Plot]:
    """All figures of one run."""
    return [distribution_plot(served), time_plot(served), gantt_plot(served)]
