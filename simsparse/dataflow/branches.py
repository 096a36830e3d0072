# SPDX-License-Identifier: Apache-2.0
"""Branch predictors that walk a trace of branches: tagged tables of geometric histories, and sparse models beside them.

The tables are a small TAGE (Seznec and Michaud, 2006): a table of counters by address, and tagged tables indexed by a
hash of the address and ever longer global histories, of which the longest that matches predicts. A sparse model of one
branch looks at a few positions of the history alone (Zouzias et al., arXiv:2207.14033): counters by the outcomes there.
Left out: the statistical corrector and the loop predictor of TAGE-SC-L, targets, wrong paths, delays of updates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints

Outcomes = NDArray[np.uint8]
MOST = 1 << 10
"""Outcomes of the history that are kept."""
LIKELY, COUNTER = 4, 7
"""Counters of three bits say taken from ``LIKELY`` up to ``COUNTER``."""


@dataclass(frozen=True)
class Tables:
    """``histories`` of the tagged tables, each of 2^``bits`` entries with tags of ``tag_bits``."""

    histories: tuple[int, ...] = (5, 12, 27, 61, 139, 300)
    bits: int = 10
    tag_bits: int = 9

    @property
    def storage_bits(self) -> int:
        """Counters of three bits, tags and two useful bits, and the counters by address."""
        return (len(self.histories) * (3 + self.tag_bits + 2) + 3) << self.bits


@njit(cache=True)  # type: ignore[untyped-decorator]
def mispredicted(addresses: Ints, taken: Outcomes, histories: Ints, bits: int, tag_bits: int) -> Outcomes:
    """Of each branch of the trace, 1 where the tables predict the other way.

    ``addresses`` and ``taken`` (0 or 1) have one element per branch, in the order of the program.
    """
    size, count = 1 << bits, histories.size
    base = np.full(size, LIKELY, np.int64)
    tags = np.full((count, size), -1, np.int64)
    counters, useful = np.full((count, size), LIKELY, np.int64), np.zeros((count, size), np.int64)
    index, tag = np.zeros(count, np.int64), np.zeros(count, np.int64)
    wrong = np.zeros(addresses.size, np.uint8)
    for at in range(addresses.size):
        address, outcome = addresses[at], taken[at]
        provider, other = -1, -1
        for table in range(count):
            index[table], tag[table] = _hashes(address, taken, at, histories[table], bits, tag_bits)
            if tags[table, index[table]] == tag[table]:
                provider, other = table, provider
        plain = base[address & (size - 1)] >= LIKELY
        said = counters[provider, index[provider]] >= LIKELY if provider >= 0 else plain
        instead = counters[other, index[other]] >= LIKELY if other >= 0 else plain
        wrong[at] = said != outcome
        if provider >= 0:
            place = index[provider]
            counters[provider, place] = _moved(counters[provider, place], outcome)
            if said != instead:
                useful[provider, place] = min(3, max(0, useful[provider, place] + (1 if said == outcome else -1)))
        else:
            base[address & (size - 1)] = _moved(base[address & (size - 1)], outcome)
        if said != outcome:
            for table in range(provider + 1, count):
                if useful[table, index[table]] == 0:
                    tags[table, index[table]] = tag[table]
                    counters[table, index[table]] = LIKELY if outcome else LIKELY - 1
                    break
                useful[table, index[table]] -= 1
    return wrong


@njit(cache=True)  # type: ignore[untyped-decorator]
def _moved(counter: int, outcome: int) -> int:
    return min(COUNTER, counter + 1) if outcome else max(0, counter - 1)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _hashes(address: int, taken: Outcomes, at: int, length: int, bits: int, tag_bits: int) -> tuple[int, int]:
    """Index and tag of a branch under its last ``length`` outcomes, folded to as many bits."""
    folded, short = 0, 0
    for back in range(1, min(length, at) + 1):
        if taken[at - back]:
            folded ^= 1 << (back % bits)
            short ^= 1 << (back % tag_bits)
    mixed = address ^ (address >> bits) ^ folded
    return mixed & ((1 << bits) - 1), (address * 5 ^ short ^ (short << 1)) & ((1 << tag_bits) - 1)


@dataclass(frozen=True)
class SparseModel:
    """``positions`` back in the history that one branch looks at, and what it predicts by the outcomes there."""

    positions: Ints
    taken: Outcomes

    @property
    def storage_bits(self) -> int:
        """Positions of ten bits, counters of two."""
        return 10 * len(self.positions) + 2 * len(self.taken)

    def predictions(self, taken: Outcomes, places: Ints) -> Outcomes:
        """What is predicted at ``places`` of the trace, those with enough history."""
        return np.asarray(self.taken[self.codes(taken, places)], np.uint8)

    def codes(self, taken: Outcomes, places: Ints) -> Ints:
        """The outcomes at the positions before each place, as a number."""
        outcomes = taken[places[:, None] - self.positions[None, :]].astype(np.int64)
        return np.asarray(outcomes @ (1 << np.arange(len(self.positions))), np.int64)


def sparse_model(taken: Outcomes, places: Ints, positions: int, deepest: int = 512) -> SparseModel:
    """The model of the branch at ``places`` that looks at so many positions, chosen one by one by the errors left.

    ``places`` have ``deepest`` branches before them at least.
    """
    outcome = taken[places].astype(np.int64)
    chosen: list[int] = []
    codes = np.zeros(len(places), np.int64)
    for _ in range(positions):
        errors = [_errors(2 * codes + taken[places - back], outcome) for back in range(1, deepest + 1)]
        best = 1 + int(np.argmin(errors))
        chosen.append(best)
        codes = 2 * codes + taken[places - best]
    model = SparseModel(np.array(chosen, np.int64), np.zeros(1 << positions, np.uint8))
    sums = np.bincount(model.codes(taken, places), 2 * outcome - 1, 1 << positions)
    return SparseModel(model.positions, (sums > 0).astype(np.uint8))


def _errors(codes: Ints, outcome: Ints) -> int:
    """Mispredictions of the better outcome per code."""
    ones = np.bincount(codes, outcome)
    return int(np.minimum(ones, np.bincount(codes) - ones).sum())
