# SPDX-License-Identifier: Apache-2.0
"""Random numbers that reach corners, and stalls that come in bursts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STALL_PERIOD = 16381
"""Cycles after which a stall pattern repeats."""
_SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)
_CORNER_SHARE = 0.3


def corners(bits: int) -> tuple[int, ...]:
    """Values of a signed number of ``bits`` that a random one seldom hits."""
    half = 1 << (bits - 1)
    return (-half, -1, 0, 1, half - 1)


def signed(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> NDArray[np.int64]:
    """Signed numbers of ``bits``: corner values three times in ten, else uniform."""
    half = 1 << (bits - 1)
    uniform = rng.integers(-half, half, shape)
    return np.where(rng.random(shape) < _CORNER_SHARE, rng.choice(corners(bits), shape), uniform)


def stalls(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether a side moves, by cycle: bursts that move never, seldom, half, mostly or always.

    One burst in eight is long, up to 400 cycles, so that even a result every 32 beats is waited for."""
    pattern = np.empty(STALL_PERIOD, np.bool_)
    start = 0
    while start < STALL_PERIOD:
        burst = min(int(rng.integers(1, 401 if rng.random() < 1 / 8 else 65)), STALL_PERIOD - start)
        pattern[start : start + burst] = rng.random(burst) < rng.choice(_SHARES)
        start += burst
    return pattern


def positions(rng: np.random.Generator, count: int, n: int, m: int) -> NDArray[np.int64]:
    """``count`` rows of ``n`` ascending positions below ``m``: half of them any pattern with equal chance, half with
    any position in any place with equal chance, which patterns at random rarely reach."""
    place = rng.integers(0, n, (count, 1))
    pivot = place + rng.integers(0, m - n + 1, (count, 1))
    scores, index = rng.random((count, m)), np.arange(m)
    around = (_rank(scores, index < pivot) < place) | (_rank(scores, index > pivot) < n - 1 - place) | (index == pivot)
    anywhere = _rank(scores, np.ones_like(scores, np.bool_)) < n
    kept = np.where(rng.random((count, 1)) < 0.5, around, anywhere)
    return np.nonzero(kept)[1].reshape(count, n).astype(np.int64)


def _rank(scores: NDArray[np.float64], within: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Place of each score (rows, m) among those ``within`` of its row, from 0; m and up outside of them."""
    order = np.argsort(np.where(within, scores, 2.0), axis=1)
    ranks = np.argsort(order, axis=1)
    return np.where(within, ranks, scores.shape[1]).astype(np.int64)
