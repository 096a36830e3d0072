# SPDX-License-Identifier: Apache-2.0
"""Timing on the card: graphs of calls over rotating buffers, and the host's clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

RowDict = dict[str, Any]


L2_BYTES_TO_EXCEED = 128 << 20


def copies(weight_bytes: int) -> int:
    return max(1, min(16, -(-L2_BYTES_TO_EXCEED // weight_bytes)))


def graph_seconds(calls: list[Callable[[], object]], min_calls: int = 24) -> tuple[float, float, float]:
    """Median, least and most seconds of one call, from replays of a graph over all ``calls``."""
    import torch

    n = max(min_calls, len(calls))
    n += -n % len(calls)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for call in calls[:2]:
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(n):
            calls[i % len(calls)]()
    graph.replay()
    torch.cuda.synchronize()
    times: list[float] = []
    spent = 0.0
    while len(times) < 3 or (spent < 0.03 and len(times) < 15):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        stop.record()
        torch.cuda.synchronize()
        seconds = start.elapsed_time(stop) / 1e3
        times.append(seconds / n)
        spent += seconds
    return statistics.median(times), min(times), max(times)


def timed(row: RowDict, calls: list[Callable[[], object]]) -> RowDict:
    s, s_min, s_max = graph_seconds(calls)
    return {**row, "s": s, "s_min": s_min, "s_max": s_max, "graph": True}


def host_timed(call: Callable[[], object], repeats: int) -> RowDict:
    import torch

    call()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return {"s": statistics.median(times), "s_min": min(times)}


def prune24(w: Any) -> Any:
    """``w`` with the two smallest of every four set to zero, as torch's sparse tensor."""
    import torch

    pruned = w.clone()
    groups = pruned.view(-1, 4)
    groups.scatter_(1, groups.abs().argsort(dim=1)[:, :2], 0.0)
    return torch.sparse.to_sparse_semi_structured(pruned)
