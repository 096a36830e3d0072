# SPDX-License-Identifier: Apache-2.0
"""Kernels that move data, empty kernels, copies from and to the host, attention."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

from .timing import RowDict, timed


def attn_sets(cache_bytes: int) -> int:
    """Sets of queries, keys and values that rows of attention take in turns."""
    return max(1, min(16, -(-(256 << 20) // cache_bytes)))


def _sdpa(batch: int, heads: int, kv: int, dim: int, q_len: int, kv_len: int) -> list[Callable[[], object]]:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    calls: list[Callable[[], object]] = []
    for _ in range(attn_sets(2 * 2 * batch * kv * dim * kv_len)):
        q = torch.randn(batch, heads, q_len, dim, device="cuda", dtype=torch.bfloat16)
        k = torch.randn(batch, kv, kv_len, dim, device="cuda", dtype=torch.bfloat16)
        v = torch.randn_like(k)
        calls.append(partial(scaled_dot_product_attention, q, k, v, is_causal=q_len > 1, enable_gqa=heads != kv))
    return calls


def _attn_row(row: RowDict, calls: list[Callable[[], object]]) -> RowDict:
    return timed({**row, "copies": len(calls)}, calls)


def attn() -> Iterator[RowDict]:
    heads = [(32, 8, 128), (32, 32, 128), (64, 8, 128), (12, 12, 64), (72, 72, 128), (32, 4, 128)]
    for h, kv, d in heads:
        for batch in (1, 2, 4, 8, 16, 32, 64):
            for length in (128, 512, 1024, 2048, 4096, 8192, 16384, 32768):
                if 4 * batch * kv * d * length > 9e9:
                    continue
                row = {"section": "attn", "op": "sdpa_decode", "B": batch, "H": h, "KV": kv, "D": d, "L": length}
                yield _attn_row(row, _sdpa(batch, h, kv, d, 1, length))
    for h, kv, d in heads:
        for batch, length in ((1, 512), (1, 1024), (4, 1024), (1, 2048), (2, 2048), (1, 4096), (1, 8192)):
            row = {"section": "attn", "op": "sdpa_prefill_causal", "B": batch, "H": h, "KV": kv, "D": d, "L": length}
            yield _attn_row(row, _sdpa(batch, h, kv, d, length, length))


def mem() -> Iterator[RowDict]:
    import torch

    for power in range(12, 33, 2):
        elements = (1 << power) // 4
        src = torch.randn(elements, device="cuda")
        dst = torch.empty_like(src)
        calls: dict[str, Callable[[], object]] = {"d2d_copy": partial(dst.copy_, src), "reduce_read": src.sum}
        for op, call in calls.items():
            yield timed({"section": "mem", "op": op, "bytes": 1 << power}, [call])


def launch() -> Iterator[RowDict]:
    import torch

    x = torch.zeros(32, device="cuda")
    yield timed({"section": "launch", "op": "tiny_kernel_graph"}, [lambda: x.add_(1.0)])
    for op, each in (("tiny_kernel_eager_async", False), ("tiny_kernel_sync", True)):
        times = []
        for _ in range(20):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(100):
                x.add_(1.0)
                if each:
                    torch.cuda.synchronize()
            torch.cuda.synchronize()
            times.append((time.perf_counter() - start) / 100)
        yield {"section": "launch", "op": op, "s": statistics.median(times)}


def pcie() -> Iterator[RowDict]:
    import torch

    for power in range(8, 31, 2):
        host = torch.empty(1 << power, dtype=torch.uint8, pin_memory=True)
        dev = torch.empty(1 << power, dtype=torch.uint8, device="cuda")
        for op, dst, src in (("h2d_pinned", dev, host), ("d2h_pinned", host, dev)):
            times = []
            reps = max(4, min(50, (1 << 30) >> power))
            for _ in range(5):
                start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                torch.cuda.synchronize()
                start.record()
                for _ in range(reps):
                    dst.copy_(src, non_blocking=True)
                stop.record()
                torch.cuda.synchronize()
                times.append(start.elapsed_time(stop) / 1e3 / reps)
            yield {"section": "pcie", "op": op, "bytes": 1 << power, "s": statistics.median(times)}
