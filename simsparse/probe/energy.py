# SPDX-License-Identifier: Apache-2.0
"""The card's own energy counter, and its power limit over time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from .timing import RowDict, prune24


def _laps(calls: list[Callable[[], object]], count: int) -> list[float]:
    """Seconds of each of ``count`` calls issued back to back, taking turns."""
    import torch

    marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    marks[0].record()
    for i in range(count):
        calls[i % len(calls)]()
        marks[i + 1].record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) / 1e3 for a, b in pairwise(marks)]


def power() -> Iterator[RowDict]:
    """What the power limit does to a large GEMM: after a rest, and at several duty cycles.

    After a rest: ``s`` of the first calls, ``sustained_s`` of the last half, ``full_s`` the time
    until a call takes 5 % longer than the first ones. In turns of ``busy`` calls and ``rest_s``
    without any: ``duty``, the share of time that the calls take.
    """
    import torch

    m, n, k = 8192, 28672, 7168
    shape = {"section": "power", "m": m, "n": n, "k": k, "dtype": "torch.bfloat16"}
    x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
    weights = [torch.randn(n, k, device="cuda", dtype=torch.bfloat16) * 0.02 for _ in range(2)]
    calls: list[Callable[[], object]] = [partial(torch.nn.functional.linear, x, w) for w in weights]
    for rest in (0.1, 1.0):
        torch.cuda.synchronize()
        time.sleep(rest)
        laps = _laps(calls, 120)
        first = statistics.median(laps[1:7])
        full = next((i for i, lap in enumerate(laps) if i > 1 and lap > 1.05 * first), len(laps))
        yield {**shape, "op": "gemm_after_rest", "rest_s": rest, "s": first, "full_s": sum(laps[:full]),
               "sustained_s": statistics.fmean(laps[60:])}  # fmt: skip
    for rest in (0.0005, 0.0015, 0.0025, 0.004, 0.007):
        began, times = time.perf_counter(), list[float]()
        while time.perf_counter() - began < 1.0:
            times += _laps(calls, 2)
            stop = time.perf_counter() + rest
            while time.perf_counter() < stop:
                pass
        yield {**shape, "op": "gemm_duty", "busy": 2, "rest_s": rest, "s": statistics.fmean(times),
               "duty": sum(times) / (time.perf_counter() - began)}  # fmt: skip


class _Meter:
    """The card's own energy counter, in joules, through NVML."""

    def __init__(self) -> None:
        import ctypes

        self._nvml = ctypes.CDLL("libnvidia-ml.so.1")
        self._nvml.nvmlInit_v2()
        self._device = ctypes.c_void_p()
        self._nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._device))
        self._value = ctypes.c_ulonglong()
        self._ref = ctypes.byref

    def joules(self) -> float:
        if self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device, self._ref(self._value)):
            raise RuntimeError("the card has no energy counter")
        return self._value.value / 1e3


def _energy_row(row: RowDict, call: Callable[[], object], meter: _Meter, seconds: float = 1.2) -> RowDict:
    import torch

    for _ in range(3):
        call()
    torch.cuda.synchronize()
    calls, start, joules = 0, time.perf_counter(), meter.joules()
    while time.perf_counter() - start < seconds:
        call()
        torch.cuda.synchronize()
        calls += 1
    spent, used = time.perf_counter() - start, meter.joules() - joules
    return {"section": "energy", **row, "calls": calls, "s": spent / calls, "joule": used / calls,
            "watt": used / spent}  # fmt: skip


ENERGY_MNK = [
    (4096, 4096, 4096), (8192, 8192, 8192), (1024, 8192, 8192), (256, 8192, 8192), (64, 8192, 8192), (1, 8192, 8192),
    (16, 14336, 4096), (4096, 14336, 4096), (128, 28672, 8192),
]  # fmt: skip


def energy() -> Iterator[RowDict]:
    import torch

    meter = _Meter()
    time.sleep(1.0)
    start, joules = time.perf_counter(), meter.joules()
    time.sleep(2.0)
    yield {"section": "energy", "op": "idle", "watt": (meter.joules() - joules) / (time.perf_counter() - start)}
    for m, n, k in ENERGY_MNK:
        x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
        dense = [torch.randn(n, k, device="cuda", dtype=torch.bfloat16) * 0.02 for _ in range(4)]
        for sparse24 in (False, True):
            weights = [prune24(w) for w in dense] if sparse24 else dense

            def body(x: Any = x, weights: Any = weights) -> None:
                for i in range(20):
                    torch.nn.functional.linear(x, weights[i % 4])

            row = {"op": "gemm_x20", "m": m, "n": n, "k": k, "sparse24": sparse24, "dtype": "bf16"}
            yield _energy_row(row, body, meter)
    source = torch.randn(1 << 28, device="cuda")
    target = torch.empty_like(source)
    host = torch.empty(1 << 28, dtype=torch.uint8, pin_memory=True)
    device = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    yield _energy_row({"op": "d2d_1GiB", "bytes": 1 << 30}, partial(target.copy_, source), meter)
    yield _energy_row({"op": "read_1GiB", "bytes": 1 << 30}, source.sum, meter)
    yield _energy_row({"op": "h2d_256MiB", "bytes": 1 << 28}, partial(device.copy_, host, non_blocking=True), meter)
    for batch, length in ((8, 4096), (32, 8192)):
        q = torch.randn(batch, 32, 1, 128, device="cuda", dtype=torch.bfloat16)
        kv = torch.randn(batch, 32, length, 128, device="cuda", dtype=torch.bfloat16)
        row = {"op": "sdpa_decode", "B": batch, "H": 32, "KV": 32, "D": 128, "L": length}
        yield _energy_row(row, partial(torch.nn.functional.scaled_dot_product_attention, q, kv, kv), meter)
