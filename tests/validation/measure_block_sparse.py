# SPDX-License-Identifier: Apache-2.0
"""Times PyTorch's own Triton kernel for block-sparse times dense (bsr_dense_addmm) on the GPU at hand.

Writes one JSON line a point: sizes, block, pattern, time in seconds (median of 5 replays of a CUDA
graph of 20 launches), the kernel's own tiling, and a dense product's time for comparison. Run on a
machine with a GPU: ``python tests/validation/measure_block_sparse.py OUT.jsonl``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.sparse import _triton_ops as kernels

SIZE = 4096
ROUNDS, LAUNCHES = 5, 20
TILE = 128
"""Columns of the dense operand in a tile."""
WARPS = {32: 4, 64: 4, 128: 8}


def seconds(call: Callable[[], Any]) -> float:
    for _ in range(3):
        call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(LAUNCHES):
            call()
    graph.replay()
    taken = []
    for _ in range(ROUNDS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        taken.append(begin.elapsed_time(end) / 1e3 / LAUNCHES)
    return float(median(taken))


def chosen(kind: str, density: float, side: int) -> torch.Tensor:
    """A mask of blocks: the same number in random places, in every row, or in the first rows only."""
    torch.manual_seed(0)
    keep = round(density * side * side)
    mask = torch.zeros(side * side, dtype=torch.bool)
    if kind == "random":
        mask[torch.randperm(side * side)[:keep]] = True
    elif kind == "even":
        order = torch.rand(side, side).argsort(dim=1).argsort(dim=1)
        return order < max(1, round(density * side))
    else:
        mask[:keep] = True
    return mask.reshape(side, side)


def measured(values: torch.Tensor, dense: torch.Tensor, block: int) -> dict[str, Any]:
    """Seconds of one product, and whether its result is that of the dense product."""
    bsr, result = values.to_sparse_bsr((block, block)), torch.empty_like(dense)
    meta = {"SPLIT_N": SIZE // TILE, "GROUP_SIZE_ROW": 1, "num_stages": 3, "num_warps": WARPS[block]}

    def call() -> None:
        kernels.bsr_dense_addmm(result, bsr, dense, beta=0, alpha=1, out=result, meta=meta)

    call()
    right = torch.allclose(result.float(), (values @ dense).float(), atol=2.0, rtol=0.05)
    return {"right": right, "seconds": seconds(call)}


def main(out: str) -> None:
    gpu, device = torch.cuda.get_device_name(), torch.device("cuda")
    lines = []
    dense, full = (torch.randn(SIZE, SIZE, dtype=torch.bfloat16, device=device) for _ in range(2))
    reference = seconds(lambda: full @ dense)
    for block, kind, density in product((32, 64, 128), ("even", "random", "first"), (1.0, 0.5, 0.25, 0.1, 0.05)):
        mask = chosen(kind, density, SIZE // block)
        values = full * mask.to(device).repeat_interleave(block, 0).repeat_interleave(block, 1)
        line = {"gpu": gpu, "torch": torch.__version__, "m": SIZE, "n": SIZE, "k": SIZE, "block": block, "kind": kind,
                "density": density, "blocks": int(mask.sum()), "num_warps": WARPS[block],
                **measured(values, dense, block), "dense_seconds": reference}  # fmt: skip
        lines.append(json.dumps(line))
    Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
