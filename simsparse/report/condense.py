# SPDX-License-Identifier: Apache-2.0
"""Fewer rows and colours for figures when a sweep has more than one can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simsparse.report.results import Results

MAX_WORKLOADS = 6
MAX_CONFIGURATIONS = 14
MAX_SPARSITIES = 7


def condense(results: Results) -> Results:
    """``results`` itself, or a selection of its points with a ``note`` that says which.

    Kept are the first workloads, the configurations that come closest to the fastest, and sparsities spread
    evenly from the densest to the sparsest.
    """
    workloads = results.workloads[:MAX_WORKLOADS]
    configurations = _fastest(results)
    sparsities = _spread(results.sparsities)
    counts = {
        "workloads": (len(workloads), len(results.workloads)),
        "configurations, the fastest": (len(configurations), len(results.configurations)),
        "sparsities, evenly spread": (len(sparsities), len(results.sparsities)),
    }
    said = [f"{shown} of {total} {what}" for what, (shown, total) in counts.items() if shown < total]
    if not said:
        return results
    points = tuple(
        p
        for p in results.points
        if p.workload in workloads and p.configuration in configurations and p.sparsity in sparsities
    )
    note = f" Shown: {'; '.join(said)}. The tables hold all points."
    patterns = results.patterns or tuple(results.sparsities)
    return replace(results, points=points, patterns=patterns, note=results.note + note)


def _fastest(results: Results) -> list[str]:
    """At most ``MAX_CONFIGURATIONS`` configurations, in order, by their smallest ratio to a workload's best latency."""
    best: dict[str, float] = {}
    for point in results.done:
        best[point.workload] = min(point.latency_s, best.get(point.workload, point.latency_s))
    ratios: dict[str, float] = {}
    for point in results.done:
        ratio = point.latency_s / best[point.workload] if best[point.workload] else 1.0
        ratios[point.configuration] = min(ratio, ratios.get(point.configuration, ratio))
    ranked = sorted(results.configurations, key=lambda configuration: ratios.get(configuration, float("inf")))[
        :MAX_CONFIGURATIONS
    ]
    return [configuration for configuration in results.configurations if configuration in ranked]


def _spread(items: Sequence[str]) -> list[str]:
    if len(items) <= MAX_SPARSITIES:
        return list(items)
    return [items[round(i * (len(items) - 1) / (MAX_SPARSITIES - 1))] for i in range(MAX_SPARSITIES)]
