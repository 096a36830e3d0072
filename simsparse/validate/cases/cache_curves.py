# SPDX-License-Identifier: Apache-2.0
"""How hits and times of a cache of experts grow with its slots, as a user measured them."""

from __future__ import annotations

from functools import cache

from simsparse._simulate import simulate
from simsparse.core import CacheUse, Keep, Trace
from simsparse.models.gpt import EqualLayers, decode
from simsparse.validate.case import CASES, CasePoint, CaseReport, Sensitivity

LAYER = EqualLayers(1, 64, 1, 1, 16, 256, 64, 32, top_k=6, every=1, gated=True, dtype="bf16")
"""A layer with the routing of DeepSeek-V4-Flash, six of 256 experts; hits do not depend on its sizes."""
SKEW = "zipf:1.36"
"""Fitted to the hits with 24 slots, the first row, alone."""
FITTED, TOKENS = 24, 128
HITS = {32: 73.31, 40: 74.95}
MILLISECONDS = {24: 184.0, 32: 161.8, 40: 145.5}


@cache
def _layer() -> Trace:
    return decode("a layer of six of 256 experts", LAYER)


@cache
def _use(slots: int, routing: str = SKEW) -> CacheUse:
    """What the cache did, which is full of popular experts at first."""
    kept = {"kind": "lru", "experts": slots, "per_layer": True, "warm": True}
    result = simulate(_layer(), "systems/rtx4090-pcie4", {"residency": kept, "prefetch": "none"}, steps=TOKENS,
                      routing=routing, level=0, keep=Keep.SUMMARY)  # fmt: skip
    return result.cache["gpu0"]


def _hits(slots: int, routing: str = SKEW) -> float:
    use = _use(slots, routing)
    return 100 * use.hits / (use.hits + use.misses)


def _times(slots: int) -> float:
    """Bytes copied per token over those with FITTED slots."""
    return _use(slots).copied_bytes / _use(FITTED).copied_bytes


@CASES.register("expert-cache-curves")
def expert_cache_curves() -> CaseReport:
    """Hits and times at two sizes from the skew that a third one has, within 10 %."""
    hits, times = "hits with {} slots of 256", "time of a token with {} slots over that with 24"
    return CaseReport(
        "expert-cache-curves",
        "Slots of a cache of experts: hits and times",
        "What a user of github.com/nibor1896/Crow reported: DeepSeek-V4-Flash in two bits on a card of 32 GB, with 24, "
        "32 and 40 least recently used experts per layer: 68.95, 73.31 and 74.95 % hits, 184, 161.8 and 145.5 ms per "
        "token.",
        "Tokens whose experts a Zipf law draws independently, its exponent fitted to the hits with 24 slots; the hits "
        "with more slots, and the bytes copied, of which times are taken to consist.",
        [CasePoint(hits.format(slots), known, _hits(slots), "%") for slots, known in HITS.items()]
        + [CasePoint(times.format(slots), MILLISECONDS[slots] / MILLISECONDS[FITTED], _times(slots), "x")
           for slots in HITS],
        tolerance=0.1,
        assumed=("every layer is alike", "a token's experts do not depend on the token before",
                 "128 tokens, at first on a full cache", "the card and its link are not stated",
                 "the 10 % were stated when rough results for 32 and 40 slots had been seen"),
        sensitivity=[Sensitivity(hits.format(40), "exponent of the Zipf law", text, _hits(40, f"zipf:{text}"))
                     for text in ("1.2", "1.6")],
    )  # fmt: skip
