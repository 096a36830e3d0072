# SPDX-License-Identifier: Apache-2.0
"""Cycle core of systolic arrays with ready/valid streams: when each beat is taken and given, under any stalls.

The array is rigid: it moves a step in every cycle but those in which a result waits for its sink, and a cycle
without an operand leaves an empty place that stays. Source: derived from the schedule of the closed forms of
weight_stationary and output_stationary with skew 0; checked against rtl/nm_systolic_array.sv cycle by cycle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, Mask
from simsparse.errors import SpecError


@dataclass(frozen=True)
class Sides:
    """In which cycles, repeating, each side moves: sources of weights and activations, sink of results.

    A source starts to offer its next beat in the first such cycle after the handshake of the one before.
    """

    weights: Mask
    activations: Mask
    results: Mask

    def __post_init__(self) -> None:
        if not (self.weights.any() and self.activations.any() and self.results.any()):
            raise SpecError("an array needs sources and a sink that move sometimes", key="stream")


@dataclass(frozen=True)
class Handshakes:
    """Cycles in which weight words and activation beats were taken and result beats given."""

    weights: Ints
    activations: Ints
    results: Ints


def ws_handshakes(sides: Sides, last: Mask, rows: int, cols: int, stages: int = 0) -> Handshakes:
    """Weight-stationary: ``rows`` weight words a fold, a token a beat; ``last`` ends a fold.

    The words of the next fold are taken from the cycle on in which the first token of this one is. A token's result
    is offered rows + cols - 1 steps after it was taken, and one more for each of the pipeline ``stages`` of a PE.
    """
    return Handshakes(*_ws(sides.weights, sides.activations, sides.results, last, rows, rows + cols - 1 + stages))


def os_handshakes(sides: Sides, last: Mask, rows: int, cols: int, stages: int = 0) -> Handshakes:
    """Output-stationary: a weight word and an activation beat together; ``last`` ends a sum.

    After it, ``rows`` result beats leave, the first offered ``cols`` steps later, and one more for each of the pipeline
    ``stages`` of a PE; the next last beat must be ``rows`` steps behind.
    """
    taken, given = _os(sides.weights, sides.activations, sides.results, last, rows, cols + stages)
    return Handshakes(taken, taken, given)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _ws(
    weight_offers: Mask, offers: Mask, accepts: Mask, last: Mask, rows: int, latency: int
) -> tuple[Ints, Ints, Ints]:  # fmt: skip
    words, tokens = rows * last.sum(), last.size
    word_at, token_at, given_at = np.empty(words, np.int64), np.empty(tokens, np.int64), np.empty(tokens, np.int64)
    line = np.zeros(latency, np.bool_)
    word = token = given = loaded = cycle = place = 0
    weight_offered, offered, first = False, False, True
    while given < tokens or word < words:
        weight_offered = weight_offered or (word < words and weight_offers[cycle % weight_offers.size])
        offered = offered or (token < tokens and offers[cycle % offers.size])
        if accepts[cycle % accepts.size] or not line[place]:
            take = offered and (not first or loaded == rows)
            swap = take and first
            take_word = weight_offered and (loaded < rows or swap)
            if line[place]:
                given_at[given] = cycle
                given += 1
            line[place] = take
            place = (place + 1) % latency
            loaded = (0 if swap else loaded) + take_word
            if take:
                token_at[token], first, offered = cycle, last[token], False
                token += 1
            if take_word:
                word_at[word], weight_offered = cycle, False
                word += 1
        cycle += 1
    return word_at, token_at, given_at


@njit(cache=True)  # type: ignore[untyped-decorator]
def _os(
    weight_offers: Mask, offers: Mask, accepts: Mask, last: Mask, rows: int, latency: int
) -> tuple[Ints, Ints]:  # fmt: skip
    beats, outputs, depth = last.size, rows * last.sum(), rows + latency
    taken_at, given_at = np.empty(beats, np.int64), np.empty(outputs, np.int64)
    line = np.zeros(depth, np.bool_)
    beat = given = wait = cycle = place = 0
    weight_offered = offered = False
    while given < outputs or beat < beats:
        weight_offered = weight_offered or (beat < beats and weight_offers[cycle % weight_offers.size])
        offered = offered or (beat < beats and offers[cycle % offers.size])
        if accepts[cycle % accepts.size] or not line[place]:
            if line[place]:
                given_at[given] = cycle
                given += 1
            line[place] = False
            if weight_offered and offered and (wait == 0 or not last[beat]):
                taken_at[beat], weight_offered, offered = cycle, False, False
                for row in range(rows if last[beat] else 0):
                    line[(place + latency + row) % depth] = True
                wait = rows - 1 if last[beat] else max(0, wait - 1)
                beat += 1
            else:
                wait = max(0, wait - 1)
            place = (place + 1) % depth
        cycle += 1
    return taken_at, given_at
