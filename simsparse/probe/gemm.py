# SPDX-License-Identifier: Apache-2.0
"""Matrix products: bf16 dense and 2:4, fp32, fp8 and int8."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .timing import RowDict, copies, prune24, timed

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


MAX_GEMM_BYTES = 3 << 30


def _gemm(n: int, k: int, sparse24: bool) -> Iterator[RowDict]:
    import torch
    from torch.nn.functional import linear

    buffers = copies(2 * n * k)
    weights: list[Any] = []
    for _ in range(buffers):
        w = torch.randn(n, k, device="cuda", dtype=torch.bfloat16) * 0.02
        weights.append(prune24(w) if sparse24 else w)
    section = "gemm_sparse24" if sparse24 else "gemm_dense"
    for m in GEMM_M:
        if 2 * (m * k + m * n) > MAX_GEMM_BYTES or (m * n * k) > 1.6e12:
            continue
        xs = [torch.randn(m, k, device="cuda", dtype=torch.bfloat16) for _ in weights]
        calls: list[Callable[[], object]] = [partial(linear, x, w) for x, w in zip(xs, weights, strict=True)]
        row = {"section": section, "op": "linear", "m": m, "n": n, "k": k,
               "dtype": "torch.bfloat16", "sparse24": sparse24, "copies": buffers}  # fmt: skip
        yield timed(row, calls)


def gemm_dense() -> Iterator[RowDict]:
    for n, k in GEMM_NK:
        yield from _gemm(n, k, sparse24=False)


def gemm_sparse24() -> Iterator[RowDict]:
    for n, k in GEMM_NK:
        yield from _gemm(n, k, sparse24=True)


SWITCH_NK = [(768, 768), (3072, 768), (768, 3072), (1024, 1024), (4096, 1024), (1024, 4096), (512, 512), (2048, 2048)]


def gemm_fp32() -> Iterator[RowDict]:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    for n, k in SWITCH_NK:
        buffers = copies(4 * n * k)
        weights = [torch.randn(n, k, device="cuda") for _ in range(buffers)]
        for m in (1, 2, 4, 8, 16, 32, 64, 128, 512, 2048):
            xs = [torch.randn(m, k, device="cuda") for _ in weights]
            calls: list[Callable[[], object]] = [
                partial(torch.nn.functional.linear, x, w) for x, w in zip(xs, weights, strict=True)
            ]
            row = {"section": "gemm_fp32", "op": "linear", "m": m, "n": n, "k": k,
                   "dtype": "torch.float32", "sparse24": False, "copies": buffers}  # fmt: skip
            yield timed(row, calls)


LOWP_NK = [(4096, 4096), (11008, 4096), (4096, 11008), (1024, 8192), (8192, 8192), (28672, 8192), (2048, 2048)]


def _scaled_mm(x: Any, w: Any, one: Any) -> object:
    import torch

    return torch._scaled_mm(x, w.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


def lowp() -> Iterator[RowDict]:
    import torch

    one = torch.ones((), device="cuda")
    for n, k in LOWP_NK:
        buffers = copies(n * k)
        for m in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192):
            fp8_x = [torch.randn(m, k, device="cuda").to(torch.float8_e4m3fn) for _ in range(buffers)]
            fp8_w = [torch.randn(n, k, device="cuda").to(torch.float8_e4m3fn) for _ in range(buffers)]
            int_x = [torch.randint(-128, 127, (m, k), device="cuda", dtype=torch.int8) for _ in range(buffers)]
            int_w = [torch.randint(-128, 127, (n, k), device="cuda", dtype=torch.int8) for _ in range(buffers)]
            cases: dict[str, list[Callable[[], object]]] = {
                "fp8_e4m3": [partial(_scaled_mm, x, w, one) for x, w in zip(fp8_x, fp8_w, strict=True)],
                "int8": [partial(torch._int_mm, x, w.t()) for x, w in zip(int_x, int_w, strict=True)],
            }
            for dtype, calls in cases.items():
                if dtype == "int8" and m <= 16:
                    continue
                row = {"section": "lowp", "op": "linear", "m": m, "n": n, "k": k, "dtype": dtype,
                       "sparse24": False, "copies": buffers}  # fmt: skip
                yield timed(row, calls)


def lowp_sparse24() -> Iterator[RowDict]:
    """2:4 weights of fp8 and int8 as cuSPARSELt multiplies them, bf16 out: compressed before, its default algorithm."""
    import torch

    kinds = {"fp8_e4m3": torch.float8_e4m3fn, "int8": torch.int8}
    for n, k in LOWP_NK:
        buffers = copies(n * k)
        for dtype, kind in kinds.items():
            weights = [torch._cslt_compress(_pruned24(n, k).to(kind)) for _ in range(buffers)]
            for m in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192):
                xs = [(torch.randn(m, k, device="cuda") * 16).to(kind) for _ in weights]
                calls: list[Callable[[], object]] = [
                    partial(torch._cslt_sparse_mm, w, x.t(), out_dtype=torch.bfloat16, transpose_result=True)
                    for x, w in zip(xs, weights, strict=True)
                ]
                row = {"section": "lowp_sparse24", "op": "linear", "m": m, "n": n, "k": k, "dtype": dtype,
                       "sparse24": True, "copies": buffers}  # fmt: skip
                yield timed(row, calls)


def _pruned24(n: int, k: int) -> Any:
    """Random weights (n, k) with the two smallest of every aligned four set to zero."""
    import torch

    w = torch.randn(n, k, device="cuda") * 16
    groups = w.view(-1, 4)
    groups.scatter_(1, groups.abs().argsort(dim=1)[:, :2], 0.0)
    return w
