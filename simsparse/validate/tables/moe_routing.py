# SPDX-License-Identifier: Apache-2.0
"""How AIConfigurator's collectors route tokens to experts, as counts of tokens per expert.

Source: ai-dynamo/aiconfigurator, commit 095f58a51c4c, collector/helper.py (balanced_logits,
_generate_power_law_distribution); the collectors draw without a fixed seed, so that a table's routings are other
draws from the same distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TokenCounts = NDArray[np.int64]


@dataclass(frozen=True)
class Load:
    """What a table's row says of routing; ``alpha`` of the power law, None for balanced."""

    tokens: int
    experts: int
    top_k: int
    ranks: int
    alpha: float | None


def balanced_ids(load: Load) -> TokenCounts:
    """Experts of each token (tokens, top_k) under even load, spread over all ranks."""
    stride = math.ceil(load.experts / load.top_k)
    token, place = np.arange(load.tokens)[:, None], np.arange(load.top_k)[None, :]
    first = token if load.tokens >= stride else token * stride / load.tokens
    return np.floor(first + place * stride).astype(np.int64) % load.experts


def drawn_counts(load: Load, rng: np.random.Generator) -> TokenCounts:
    """Tokens of each expert under a power law; the rank with most tokens comes first."""
    assert load.alpha is not None
    assigned = load.tokens * load.top_k
    least, most = (1.0, load.tokens * 0.8) if assigned > load.experts else (0.01, 2.0)
    power = 1 - load.alpha
    drawn = (rng.random(load.experts) * (most**power - least**power) + least**power) ** (1 / power)
    counts = np.rint(drawn / drawn.sum() * assigned).astype(np.int64)
    over = int(np.maximum(counts - load.tokens, 0).sum())
    by_rank = np.minimum(counts, load.tokens).reshape(load.ranks, -1)
    _shift(by_rank, over, np.argmin, 1, lambda own: own < load.tokens)
    off = assigned - int(by_rank.sum())
    if off > 0:
        _shift(by_rank, off, np.argmin, 1, lambda own: own < load.tokens)
    else:
        _shift(by_rank, -off, np.argmax, -1, lambda own: own > 0)
    busiest = int(by_rank.sum(axis=1).argmax())
    by_rank[[0, busiest]] = by_rank[[busiest, 0]]
    return np.asarray(by_rank.reshape(-1), np.int64)


def _shift(
    by_rank: TokenCounts, left: int, pick: Callable[[TokenCounts], np.intp], step: int, allowed: Callable[[int], bool]
) -> None:
    """Add ``step`` to one expert of each rank in turn until ``left`` steps are done or none is allowed."""
    while left > 0:
        before = left
        for own in by_rank:
            place = int(pick(own))
            if left > 0 and allowed(int(own[place])):
                own[place] += step
                left -= 1
        if left == before:
            return


def first_tokens(counts: TokenCounts, load: Load) -> TokenCounts:
    """Experts of each token (tokens, top_k) that a list of counts gives: experts by load, filled column by column."""
    order = np.argsort(-counts, kind="stable")
    return np.repeat(order, counts[order]).reshape(load.top_k, load.tokens).T
