"""Measure a GPU: the JSON lines that ``simsparse validate`` compares the models with.

Stands alone on torch, so that this one file can be copied to a machine that has nothing else:
``python probe.py --out gpu.jsonl [--sections gemm_dense,attn] [--limit-s 500]``.

Every row carries ``section``, the operation's shape and the median seconds ``s``. GEMMs and
attention are replays of a CUDA graph of at least 24 calls that rotate over distinct buffers, so
that weights and keys come from HBM and not from the L2 cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

Row = dict[str, Any]

GEMM_NK = [
    (4096, 4096), (11008, 4096), (4096, 11008), (1024, 4096), (6144, 4096), (12288, 4096),
    (14336, 4096), (4096, 14336), (28672, 4096), (32000, 4096),
    (8192, 8192), (1024, 8192), (10240, 8192), (28672, 8192), (8192, 28672),
    (5120, 5120), (13824, 5120), (5120, 13824),
    (9216, 9216), (36864, 9216), (9216, 36864), (7168, 7168), (28672, 7168), (7168, 28672),
    (768, 768), (2304, 768), (3072, 768), (768, 3072), (1024, 1024), (4096, 1024),
    (2048, 2048), (8192, 2048), (2048, 8192), (768, 2048), (2048, 768), (3072, 3072),
    (512, 512), (1536, 1536), (10240, 2560), (2560, 10240),
]  # fmt: skip
GEMM_M = [1, 2, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192]
L2_BYTES_TO_EXCEED = 128 << 20
MAX_GEMM_BYTES = 3 << 30


def _copies(weight_bytes: int) -> int:
    return max(1, min(16, -(-L2_BYTES_TO_EXCEED // weight_bytes)))


def _graph_seconds(calls: list[Callable[[], object]], min_calls: int = 24) -> tuple[float, float, float]:
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


def _timed(row: Row, calls: list[Callable[[], object]]) -> Row:
    s, s_min, s_max = _graph_seconds(calls)
    return {**row, "s": s, "s_min": s_min, "s_max": s_max, "graph": True}


def _prune24(w: Any) -> Any:
    """``w`` with the two smallest of every four set to zero, as torch's sparse tensor."""
    import torch

    pruned = w.clone()
    groups = pruned.view(-1, 4)
    groups.scatter_(1, groups.abs().argsort(dim=1)[:, :2], 0.0)
    return torch.sparse.to_sparse_semi_structured(pruned)


def _gemm(n: int, k: int, sparse24: bool) -> Iterator[Row]:
    import torch
    from torch.nn.functional import linear

    copies = _copies(2 * n * k)
    weights: list[Any] = []
    for _ in range(copies):
        w = torch.randn(n, k, device="cuda", dtype=torch.bfloat16) * 0.02
        weights.append(_prune24(w) if sparse24 else w)
    section = "gemm_sparse24" if sparse24 else "gemm_dense"
    for m in GEMM_M:
        if 2 * (m * k + m * n) > MAX_GEMM_BYTES or (m * n * k) > 1.6e12:
            continue
        xs = [torch.randn(m, k, device="cuda", dtype=torch.bfloat16) for _ in weights]
        calls: list[Callable[[], object]] = [partial(linear, x, w) for x, w in zip(xs, weights, strict=True)]
        row = {"section": section, "op": "linear", "m": m, "n": n, "k": k,
               "dtype": "torch.bfloat16", "sparse24": sparse24, "copies": copies}  # fmt: skip
        yield _timed(row, calls)


def gemm_dense() -> Iterator[Row]:
    for n, k in GEMM_NK:
        yield from _gemm(n, k, sparse24=False)


def gemm_sparse24() -> Iterator[Row]:
    for n, k in GEMM_NK:
        yield from _gemm(n, k, sparse24=True)


def _sdpa(batch: int, heads: int, kv: int, dim: int, q_len: int, kv_len: int) -> list[Callable[[], object]]:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    kv_bytes = 2 * 2 * batch * kv * dim * kv_len
    calls: list[Callable[[], object]] = []
    for _ in range(max(1, min(16, -(-(256 << 20) // kv_bytes)))):
        q = torch.randn(batch, heads, q_len, dim, device="cuda", dtype=torch.bfloat16)
        k = torch.randn(batch, kv, kv_len, dim, device="cuda", dtype=torch.bfloat16)
        v = torch.randn_like(k)
        calls.append(partial(scaled_dot_product_attention, q, k, v, is_causal=q_len > 1, enable_gqa=heads != kv))
    return calls


def attn() -> Iterator[Row]:
    heads = [(32, 8, 128), (32, 32, 128), (64, 8, 128), (12, 12, 64), (72, 72, 128), (32, 4, 128)]
    for h, kv, d in heads:
        for batch in (1, 2, 4, 8, 16, 32, 64):
            for length in (128, 512, 1024, 2048, 4096, 8192, 16384, 32768):
                if 4 * batch * kv * d * length > 9e9:
                    continue
                row = {"section": "attn", "op": "sdpa_decode", "B": batch, "H": h, "KV": kv, "D": d, "L": length}
                yield _timed(row, _sdpa(batch, h, kv, d, 1, length))
    for h, kv, d in heads:
        for batch, length in ((1, 512), (1, 1024), (4, 1024), (1, 2048), (2, 2048), (1, 4096), (1, 8192)):
            row = {"section": "attn", "op": "sdpa_prefill_causal", "B": batch, "H": h, "KV": kv, "D": d, "L": length}
            yield _timed(row, _sdpa(batch, h, kv, d, length, length))


def mem() -> Iterator[Row]:
    import torch

    for power in range(12, 33, 2):
        elements = (1 << power) // 4
        src = torch.randn(elements, device="cuda")
        dst = torch.empty_like(src)
        calls: dict[str, Callable[[], object]] = {"d2d_copy": partial(dst.copy_, src), "reduce_read": src.sum}
        for op, call in calls.items():
            yield _timed({"section": "mem", "op": op, "bytes": 1 << power}, [call])


def launch() -> Iterator[Row]:
    import torch

    x = torch.zeros(32, device="cuda")
    yield _timed({"section": "launch", "op": "tiny_kernel_graph"}, [lambda: x.add_(1.0)])
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


def pcie() -> Iterator[Row]:
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


OFFLOAD = [  # model, d, ff, mats, layers, dtype, experts, active, tokens an expert
    ("switch_base", 768, 3072, 2, 12, "float32", 32, 1, 1),
    ("switch_base_b8", 768, 3072, 2, 12, "float32", 64, 6, 2),
    ("switch_large", 1024, 4096, 2, 12, "float32", 128, 1, 1),
    ("qwen3_moe", 2048, 768, 3, 12, "bfloat16", 128, 8, 1),
    ("olmoe", 2048, 1024, 3, 12, "bfloat16", 64, 8, 4),
    ("mixtral_b4", 4096, 14336, 3, 4, "bfloat16", 8, 5, 2),
    ("mixtral_8x22b", 6144, 16384, 3, 3, "bfloat16", 8, 2, 1),
]


def _offload_case(
    model: str, d: int, ff: int, mats: int, layers: int, dtype: str, experts: int,
                  active: int, tokens: int) -> Iterator[Row]:  # fmt: skip
    import torch

    kind = getattr(torch, dtype)
    size = torch.tensor([], dtype=kind).element_size()
    expert_elements = mats * d * ff
    attn_w = [[torch.randn(d, d, device="cuda", dtype=kind) for _ in range(4)] for _ in range(layers)]
    buffers = [torch.randn(experts, mats, ff, d, device="cuda", dtype=kind) * 0.02 for _ in range(2)]
    host = torch.empty(active, expert_elements, dtype=kind, pin_memory=True)
    host.copy_(buffers[0].view(experts, -1)[:active])
    x = torch.randn(tokens * active, d, device="cuda", dtype=kind)
    xe = torch.randn(tokens, d, device="cuda", dtype=kind)

    def attention(layer: int) -> None:
        for w in attn_w[layer]:
            torch.nn.functional.linear(x, w)

    def expert_part(layer: int) -> None:
        for e in range(active):
            w = buffers[layer % 2][e]
            hidden = torch.nn.functional.linear(xe, w[0])
            if mats == 2:
                hidden = torch.relu(hidden)
            else:
                hidden = torch.nn.functional.silu(hidden) * torch.nn.functional.linear(xe, w[2])
            torch.nn.functional.linear(hidden, w[1].t())

    graphs = []
    for layer in range(layers):
        pair = []
        for part in (attention, expert_part):
            part(layer)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                part(layer)
            pair.append(graph)
        graphs.append(pair)

    def copy(layer: int, count: int) -> None:
        for e in range(count):
            buffers[layer % 2][e].view(-1).copy_(host[e % active], non_blocking=True)

    side = torch.cuda.Stream()

    def run(mode: str) -> None:
        ahead = {"pregated": active, "prefetch_all": experts}.get(mode, 0)
        if ahead:
            copy(0, active)
        for layer in range(layers):
            if ahead and layer + 1 < layers:
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    copy(layer + 1, ahead)
            graphs[layer][0].replay()
            if mode == "on_demand":
                copy(layer, active)
            graphs[layer][1].replay()
            if ahead:
                torch.cuda.current_stream().wait_stream(side)

    for mode in ("resident", "on_demand", "pregated", "prefetch_all"):
        yield {"section": "offload", "op": "moe_offload", "model": model, "d": d, "ff": ff, "mats": mats,
               "layers": layers, "dtype": f"torch.{dtype}", "experts": experts, "batch": tokens, "n_act": active,
               "tok_per_expert": tokens, "expert_bytes": expert_elements * size, "mode": mode,
               **_host_timed(partial(run, mode), 5)}  # fmt: skip


def offload() -> Iterator[Row]:
    for case in OFFLOAD:
        yield from _offload_case(*case)


SWITCH_NK = [(768, 768), (3072, 768), (768, 3072), (1024, 1024), (4096, 1024), (1024, 4096), (512, 512), (2048, 2048)]


def gemm_fp32() -> Iterator[Row]:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    for n, k in SWITCH_NK:
        copies = _copies(4 * n * k)
        weights = [torch.randn(n, k, device="cuda") for _ in range(copies)]
        for m in (1, 2, 4, 8, 16, 32, 64, 128, 512, 2048):
            xs = [torch.randn(m, k, device="cuda") for _ in weights]
            calls: list[Callable[[], object]] = [
                partial(torch.nn.functional.linear, x, w) for x, w in zip(xs, weights, strict=True)
            ]
            row = {"section": "gemm_fp32", "op": "linear", "m": m, "n": n, "k": k,
                   "dtype": "torch.float32", "sparse24": False, "copies": copies}  # fmt: skip
            yield _timed(row, calls)


LOWP_NK = [(4096, 4096), (11008, 4096), (4096, 11008), (1024, 8192), (8192, 8192), (28672, 8192), (2048, 2048)]


def _scaled_mm(x: Any, w: Any, one: Any) -> object:
    import torch

    return torch._scaled_mm(x, w.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


def lowp() -> Iterator[Row]:
    import torch

    one = torch.ones((), device="cuda")
    for n, k in LOWP_NK:
        copies = _copies(n * k)
        for m in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192):
            fp8_x = [torch.randn(m, k, device="cuda").to(torch.float8_e4m3fn) for _ in range(copies)]
            fp8_w = [torch.randn(n, k, device="cuda").to(torch.float8_e4m3fn) for _ in range(copies)]
            int_x = [torch.randint(-128, 127, (m, k), device="cuda", dtype=torch.int8) for _ in range(copies)]
            int_w = [torch.randint(-128, 127, (n, k), device="cuda", dtype=torch.int8) for _ in range(copies)]
            cases: dict[str, list[Callable[[], object]]] = {
                "fp8_e4m3": [partial(_scaled_mm, x, w, one) for x, w in zip(fp8_x, fp8_w, strict=True)],
                "int8": [partial(torch._int_mm, x, w.t()) for x, w in zip(int_x, int_w, strict=True)],
            }
            for dtype, calls in cases.items():
                if dtype == "int8" and m <= 16:
                    continue
                row = {"section": "lowp", "op": "linear", "m": m, "n": n, "k": k, "dtype": dtype,
                       "sparse24": False, "copies": copies}  # fmt: skip
                yield _timed(row, calls)


STREAM = [  # model, d, ff, mats, experts, top_k, layers
    ("opt6.7b", 4096, 16384, 2, 1, 1, 4),
    ("llama70b", 8192, 28672, 3, 1, 1, 3),
    ("qwen3_moe", 2048, 768, 3, 128, 8, 4),
]


def _stream_case(model: str, d: int, ff: int, mats: int, experts: int, top_k: int, layers: int) -> Iterator[Row]:
    import torch

    elements = 4 * d * d + experts * mats * d * ff
    chunk = 100_000_000 // 2
    host = torch.empty(elements, dtype=torch.bfloat16, pin_memory=True)
    buffers = [torch.randn(elements, device="cuda", dtype=torch.bfloat16) * 0.02 for _ in range(2)]
    host.copy_(buffers[0])
    side = torch.cuda.Stream()

    def copy(layer: int) -> None:
        for start in range(0, elements, chunk):
            buffers[layer % 2][start : start + chunk].copy_(host[start : start + chunk], non_blocking=True)

    for tokens in (16, 256, 1024, 4096, 8192):
        per_expert = max(1, tokens * top_k // experts)
        x = torch.randn(tokens, d, device="cuda", dtype=torch.bfloat16)
        xe = torch.randn(per_expert, d, device="cuda", dtype=torch.bfloat16)

        def compute(layer: int, x: Any = x, xe: Any = xe) -> None:
            weights = buffers[layer % 2]
            for i in range(4):
                torch.nn.functional.linear(x, weights[i * d * d : (i + 1) * d * d].view(d, d))
            mlp = weights[4 * d * d :].view(experts, mats, ff, d)
            for e in range(experts):
                hidden = torch.nn.functional.linear(xe, mlp[e, 0])
                if mats == 3:
                    hidden = torch.nn.functional.silu(hidden) * torch.nn.functional.linear(xe, mlp[e, 2])
                torch.nn.functional.linear(hidden, mlp[e, 1].t())

        graphs = []
        for layer in range(2):
            compute(layer)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                compute(layer)
            graphs.append(graph)

        def run(mode: str, graphs: Any = graphs) -> None:
            if mode == "prefetch":
                with torch.cuda.stream(side):
                    copy(0)
            for layer in range(layers):
                if mode == "on_demand":
                    copy(layer)
                if mode == "prefetch":
                    torch.cuda.current_stream().wait_stream(side)
                    if layer + 1 < layers:
                        side.wait_stream(torch.cuda.current_stream())
                        with torch.cuda.stream(side):
                            copy(layer + 1)
                graphs[layer % 2].replay()

        for mode in ("resident", "on_demand", "prefetch"):
            row = {
                "section": "weight_stream", "model": model, "d": d, "ff": ff, "mats": mats, "experts": experts,
                "topk": top_k, "attn_mats": 4, "layers": layers, "tokens": tokens, "tok_per_expert": per_expert,
                "bytes_per_layer": 2 * elements, "chunk_bytes": 2 * chunk, "mode": mode, "dtype": "bf16",
            }  # fmt: skip
            yield {**row, **_host_timed(partial(run, mode), 3)}


def _host_timed(call: Callable[[], object], repeats: int) -> Row:
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


def weight_stream() -> Iterator[Row]:
    for case in STREAM:
        yield from _stream_case(*case)


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


def power() -> Iterator[Row]:
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


def _energy_row(row: Row, call: Callable[[], object], meter: _Meter, seconds: float = 1.2) -> Row:
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


def energy() -> Iterator[Row]:
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
            weights = [_prune24(w) for w in dense] if sparse24 else dense

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


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "launch": launch, "mem": mem, "pcie": pcie, "attn": attn, "offload": offload, "weight_stream": weight_stream,
    "power": power, "energy": energy, "gemm_fp32": gemm_fp32, "lowp": lowp,
    "gemm_dense": gemm_dense, "gemm_sparse24": gemm_sparse24,
}  # fmt: skip


def measure(out: Path, sections: list[str], limit_s: float) -> int:
    """Write the rows of ``sections`` to ``out`` as they come; stop at ``limit_s``. Returns their number."""
    import torch

    props = torch.cuda.get_device_properties(0)
    began = time.perf_counter()
    rows = 0
    with out.open("w") as f:
        env = {"section": "env", "kind": "props", "name": props.name, "sms": props.multi_processor_count,
               "mem": props.total_memory, "l2": props.L2_cache_size, "torch": torch.__version__,
               "cuda": torch.version.cuda}  # fmt: skip
        f.write(json.dumps(env) + "\n")
        for name in sections:
            start = time.perf_counter()
            for row in SECTIONS[name]():
                f.write(json.dumps(row) + "\n")
                f.flush()
                rows += 1
                if time.perf_counter() - began > limit_s:
                    return rows
            print(f"{name}: {time.perf_counter() - start:.1f} s, {rows} rows in all", flush=True)
            torch.cuda.empty_cache()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--limit-s", type=float, default=3600.0)
    args = parser.parse_args()
    print(measure(args.out, args.sections.split(","), args.limit_s), "rows")


if __name__ == "__main__":
    main()
