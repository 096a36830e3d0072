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


def _gemm(n: int, k: int, sparse24: bool) -> Iterator[Row]:
    import torch
    from torch.nn.functional import linear

    copies = _copies(2 * n * k)
    weights: list[Any] = []
    for _ in range(copies):
        w = torch.randn(n, k, device="cuda", dtype=torch.bfloat16) * 0.02
        if sparse24:
            groups = w.view(-1, 4)
            drop = groups.abs().argsort(dim=1)[:, :2]
            groups.scatter_(1, drop, 0.0)
            w = torch.sparse.to_sparse_semi_structured(w)
        weights.append(w)
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


def _offload_case(  # noqa: PLR0915
    model: str, d: int, ff: int, mats: int, layers: int, dtype: str, experts: int,
                  active: int, tokens: int) -> Iterator[Row]:  # fmt: skip
    import torch

    kind = getattr(torch, dtype)
    size = torch.tensor([], dtype=kind).element_size()
    expert_elements = mats * d * ff
    attn_w = [[torch.randn(d, d, device="cuda", dtype=kind) for _ in range(4)] for _ in range(layers)]
    buffers = [torch.randn(experts, mats, ff, d, device="cuda", dtype=kind) * 0.02 for _ in range(2)]
    host = torch.empty(active, expert_elements, dtype=kind, pin_memory=True)
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
        run(mode)
        times = []
        for _ in range(5):
            torch.cuda.synchronize()
            start = time.perf_counter()
            run(mode)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        yield {"section": "offload", "op": "moe_offload", "model": model, "d": d, "ff": ff, "mats": mats,
               "layers": layers, "dtype": f"torch.{dtype}", "experts": experts, "batch": tokens, "n_act": active,
               "tok_per_expert": tokens, "expert_bytes": expert_elements * size, "mode": mode,
               "s": statistics.median(times), "s_min": min(times)}  # fmt: skip


def offload() -> Iterator[Row]:
    for case in OFFLOAD:
        yield from _offload_case(*case)


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "launch": launch, "mem": mem, "pcie": pcie, "attn": attn, "offload": offload,
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
