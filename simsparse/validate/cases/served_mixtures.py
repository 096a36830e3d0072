# SPDX-License-Identifier: Apache-2.0
"""Mixtures served under a demand that saturates them, beside dense models: sparse upcycling and Ling-Coder-Lite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from simsparse._serve import serve
from simsparse.models.gpt import EqualLayers, decode
from simsparse.serving.result import Served
from simsparse.sources.draw_requests import draw_requests
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, Sensitivity

DENSE = EqualLayers(24, 2048, 16, 1, 512, vocabulary=50_257, dtype="bf16")
UPCYCLED = replace(DENSE, experts=8, top_k=2, every=1)
LING = EqualLayers(
    28, 2048, 16, 1, 512, 64, 126_464, 1408, 6, 1, True, kv_heads=4, head_dim=128, shared=2816, dtype="bf16"
)
QWEN_7B = EqualLayers(
    28, 3584, 28, 1, 512, vocabulary=152_064, inner=18_944, gated=True, kv_heads=4, head_dim=128, dtype="bf16"
)
QWEN_14B = EqualLayers(
    48, 5120, 40, 1, 512, vocabulary=152_064, inner=13_824, gated=True, kv_heads=8, head_dim=128, dtype="bf16"
)
REQUESTS, CARD = 128, "systems/h100-pcie5"
UPCYCLING, RESOURCES = "time of a request, of the dense model's", "resources of deployment, of the dense model's"


@cache
def _flood(gpt: EqualLayers, read: int, written: int) -> Served:
    """Requests that all come at once, so that the model serves as much as it can."""
    requests = draw_requests(REQUESTS, {"kind": "closed", "concurrency": REQUESTS}, read, written)
    return serve(requests, CARD, decode("model", gpt), {"kind": "chunked", "max_seqs": REQUESTS, "tokens": 4096})


def _slowdown(read: int = 512, written: int = 256) -> float:
    return _rate(DENSE, read, written) / _rate(UPCYCLED, read, written)


def _rate(gpt: EqualLayers, read: int, written: int) -> float:
    """Requests per second."""
    return REQUESTS / _flood(gpt, read, written).span_s


def _resources(dense: EqualLayers = QWEN_14B, read: int = 2048, written: int = 128) -> float:
    """GPUs that the mixture needs for the requests that one GPU with the dense model serves."""
    return _rate(dense, read, written) / _rate(LING, read, written)


@CASES.register("sparse-upcycling")
def sparse_upcycling() -> CaseReport:
    """The slowdown at one mix of lengths, and at others."""
    return CaseReport(
        "sparse-upcycling",
        "An upcycled mixture under high demand, beside the dense model that it came from",
        "Doubov et al., Sparse Upcycling, arXiv 2411.08968, abstract: 40 % slower inference at high demand, larger "
        "models.",
        "128 requests at once on systems/h100-pcie5 with chunked prefill: 1.4 billion parameters dense, and with eight "
        "experts of which two run in every layer.",
        [CasePoint(UPCYCLING, 1.4, _slowdown(), "x")],
        tolerance=0.3,
        assumed=("24 layers of width 2,048", "prompts of 512 tokens, answers of 256"),
        sensitivity=[Sensitivity(UPCYCLING, "tokens of prompt and answer", "2048, 64", _slowdown(2048, 64))],
        tables=[_table({"dense": DENSE, "upcycled": UPCYCLED}, 512, 256)],
    )  # fmt: skip


@CASES.register("ling-coder")
def ling_coder() -> CaseReport:
    """The GPUs that a load needs, with the mixture of those with a dense model."""
    return CaseReport(
        "ling-coder",
        "A code model with experts in place of a dense one",
        "Codefuse and Ling Team, arXiv 2503.17793, abstract: half of the resources of deployment of a dense model of "
        "similar size.",
        "128 requests at once on systems/h100-pcie5 with chunked prefill: Ling-Coder-Lite (16.8 billion parameters, "
        "2.75 "
        "active) against Qwen2.5-Coder-14B in shapes alone. GPUs for equal requests per second.",
        [CasePoint(RESOURCES, 0.5, _resources(), "x")],
        tolerance=None,
        deviation="Which dense model was replaced is not named: the published half lies between the shares against 14 "
        "and "
        "against 7 billion parameters.",
        assumed=("Qwen2.5-Coder-14B as the dense model of similar size", "prompts of 2,048 tokens, answers of 128",
                 "shapes of Ling-Coder-Lite as recalled; they have the published parameters"),
        sensitivity=[Sensitivity(RESOURCES, "dense model", "Qwen2.5-Coder-7B", _resources(QWEN_7B))],
        tables=[_table({"Ling-Coder-Lite": LING, "Qwen2.5-Coder-14B": QWEN_14B, "Qwen2.5-Coder-7B": QWEN_7B}, 2048,
                       128)],
    )  # fmt: skip


def _table(models: Mapping[str, EqualLayers], read: int, written: int) -> CaseTable:
    rows = [[name, f"{gpt.parameters / 1e9:.1f}", f"{_rate(gpt, read, written):.1f}"]
            for name, gpt in models.items()]  # fmt: skip
    return CaseTable("Requests per second", ["model", "billions of parameters", "requests/s"], rows)
