# SPDX-License-Identifier: Apache-2.0
"""The cycle core of systolic arrays against the closed forms, and against a twin that moves every beat by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.dataflow import DATAFLOWS, Gemms, PeArray
from simsparse.dataflow.handshake.array_stream import Handshakes, Sides, os_handshakes, ws_handshakes
from simsparse.dataflow.nm_ws import masked_cycles
from simsparse.errors import SpecError

ALWAYS = np.ones(1, np.bool_)
FLOW = Sides(ALWAYS, ALWAYS, ALWAYS)
SIZE = st.integers(1, 6)
PATTERN = st.lists(st.booleans(), min_size=1, max_size=7).filter(any)
LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=5)


def lasts(lengths: list[int]) -> np.ndarray:
    last = np.zeros(sum(lengths), np.bool_)
    last[np.cumsum(lengths) - 1] = True
    return last


@settings(max_examples=80)
@given(SIZE, SIZE, st.integers(1, 12), SIZE, SIZE, st.sampled_from([(1, 1), (1, 4), (2, 4), (4, 8)]))
def test_ws_without_stalls_is_the_closed_form(
    rows: int, cols: int, m: int, k_folds: int, n_folds: int, pattern: tuple[int, int]
) -> None:
    """Skew 0: fill and drain are paid once. Overlap 1: loads hide behind the fold before. The last result is in the
    output register when the closed form's last cycle ends, so the cycle in which it is given has that number."""
    keep, group = pattern
    array = PeArray(rows, cols, macs=keep, skew=0, overlap=1)
    at = ws_handshakes(FLOW, lasts([m] * (k_folds * n_folds)), rows, cols)
    gemm = Gemms.of(m, n_folds * cols, k_folds * rows * group, keep, group)
    assert at.results[-1] == DATAFLOWS.get("ws").cycles(gemm, array)
    mask = np.tile(np.arange(group) < keep, (n_folds * cols, k_folds * rows))
    assert at.results[-1] == masked_cycles(mask, m, array, group).cycles


@settings(max_examples=80)
@given(SIZE, SIZE, st.integers(1, 12), st.integers(1, 8), st.sampled_from([(1, 1), (1, 4), (2, 4), (4, 8)]))
def test_os_without_stalls_is_the_closed_form(
    rows: int, cols: int, beats: int, folds: int, pattern: tuple[int, int]
) -> None:
    """Where a sum takes at least as many beats as there are rows; shorter ones wait for the results to leave."""
    keep, group = pattern
    at = os_handshakes(FLOW, lasts([beats] * folds), rows, cols)
    gemm = Gemms.of(folds * rows, cols, max(beats, rows) * group, keep, group)
    whole = DATAFLOWS.get("os").cycles(gemm, PeArray(rows, cols, macs=keep, skew=0))
    assert at.results[-1] == whole - max(0, rows - beats)


@settings(max_examples=80)
@given(SIZE, SIZE, LENGTHS, PATTERN, PATTERN, PATTERN)
def test_ws_core_is_its_slow_twin(
    rows: int, cols: int, lengths: list[int], words: list[bool], tokens: list[bool], accepts: list[bool]
) -> None:
    sides = Sides(*(np.array(side) for side in (words, tokens, accepts)))
    at = ws_handshakes(sides, lasts(lengths), rows, cols)
    assert_same(at, ws_twin(sides, lengths, rows, cols))


@settings(max_examples=80)
@given(SIZE, SIZE, LENGTHS, PATTERN, PATTERN, PATTERN)
def test_os_core_is_its_slow_twin(
    rows: int, cols: int, lengths: list[int], words: list[bool], tokens: list[bool], accepts: list[bool]
) -> None:
    sides = Sides(*(np.array(side) for side in (words, tokens, accepts)))
    at = os_handshakes(sides, lasts(lengths), rows, cols)
    assert_same(at, os_twin(sides, lengths, rows, cols))


def test_a_side_that_never_moves_is_refused() -> None:
    with pytest.raises(SpecError, match="move sometimes"):
        Sides(ALWAYS, ~ALWAYS, ALWAYS)


def assert_same(at: Handshakes, twin: tuple[list[int], list[int], list[int]]) -> None:
    assert (at.weights.tolist(), at.activations.tolist(), at.results.tolist()) == twin


def ws_twin(sides: Sides, lengths: list[int], rows: int, cols: int) -> tuple[list[int], list[int], list[int]]:
    """Every token has a place that it moves on from; a fold's weights are a list that fills up."""
    words, tokens, results = [], [], []
    moving: list[int] = []
    banks: list[int] = []
    left = [list(range(length)) for length in lengths]
    fresh, offers_word, offers_token, cycle = True, False, False, 0
    while len(results) < sum(lengths) or len(words) < rows * len(lengths):
        offers_word |= len(words) < rows * len(lengths) and bool(sides.weights[cycle % sides.weights.size])
        offers_token |= any(left) and bool(sides.activations[cycle % sides.activations.size])
        at_end = bool(moving) and moving[0] == rows + cols - 1
        if not at_end or sides.results[cycle % sides.results.size]:
            if at_end:
                moving.pop(0)
                results.append(cycle)
            begins = offers_token and fresh and banks == [rows]
            if offers_token and (begins or not fresh):
                tokens.append(cycle)
                moving.append(0)
                left[0].pop()
                fresh, offers_token = not left[0], False
                if fresh:
                    left.pop(0)
                banks = [] if begins else banks
            if offers_word and banks != [rows]:
                words.append(cycle)
                banks = [sum(banks) + 1]
                offers_word = False
            moving = [place + 1 for place in moving]
        cycle += 1
    return words, tokens, results


def os_twin(sides: Sides, lengths: list[int], rows: int, cols: int) -> tuple[list[int], list[int], list[int]]:
    """Every result has a number of steps to go; no two may leave at once."""
    taken, results, due = [], [], list[int]()
    last = lasts(lengths)
    offers_word = offers_token = False
    cycle = 0
    while len(results) < rows * len(lengths) or len(taken) < last.size:
        more = len(taken) < last.size
        offers_word |= more and bool(sides.weights[cycle % sides.weights.size])
        offers_token |= more and bool(sides.activations[cycle % sides.activations.size])
        if 0 not in due or sides.results[cycle % sides.results.size]:
            if 0 in due:
                due.remove(0)
                results.append(cycle)
            leaving = [cols + row for row in range(rows)]
            if offers_word and offers_token and not (last[len(taken)] and set(leaving) & set(due)):
                due += leaving if last[len(taken)] else []
                taken.append(cycle)
                offers_word = offers_token = False
            due = [steps - 1 for steps in due]
        cycle += 1
    return taken, taken, results
