# SPDX-License-Identifier: Apache-2.0
"""Layers whose weights lie in host memory: offloaded experts, streamed weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from .timing import RowDict, host_timed

if TYPE_CHECKING:
    import torch

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
                  active: int, tokens: int) -> Iterator[RowDict]:  # fmt: skip
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
            _ffn(xe, buffers[layer % 2][e])

    graphs = [[_captured(partial(part, layer)) for part in (attention, expert_part)] for layer in range(layers)]

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
               **host_timed(partial(run, mode), 5)}  # fmt: skip


def _ffn(x: torch.Tensor, w: torch.Tensor) -> None:
    """One expert with weights (2 or 3, d_ff, d_model): up and down, or up, down and gate."""
    import torch

    hidden = torch.nn.functional.linear(x, w[0])
    if len(w) == 2:
        hidden = torch.relu(hidden)
    else:
        hidden = torch.nn.functional.silu(hidden) * torch.nn.functional.linear(x, w[2])
    torch.nn.functional.linear(hidden, w[1].t())


def _captured(call: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """A graph of ``call``, which has run once before."""
    import torch

    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def offload() -> Iterator[RowDict]:
    for case in OFFLOAD:
        yield from _offload_case(*case)


STREAM = [  # model, d, ff, mats, experts, top_k, layers
    ("opt6.7b", 4096, 16384, 2, 1, 1, 4),
    ("llama70b", 8192, 28672, 3, 1, 1, 3),
    ("qwen3_moe", 2048, 768, 3, 128, 8, 4),
]


def _stream_case(model: str, d: int, ff: int, mats: int, experts: int, top_k: int, layers: int) -> Iterator[RowDict]:
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

        graphs = [_captured(partial(compute, layer)) for layer in range(2)]

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
            yield {**row, **host_timed(partial(run, mode), 3)}


def weight_stream() -> Iterator[RowDict]:
    for case in STREAM:
        yield from _stream_case(*case)
