# SPDX-License-Identifier: Apache-2.0
"""Cycle core of a GEMM engine with registers: a weight-stationary array, sums over folds, streams in and out.

The folds of a GEMM run as in array_stream; partial sums always leave, those of the last fold along k when the sink is
ready. Source: derived; without stalls the closed form of weight_stationary, with skew 0 and overlap 1, or serially with
skew 1 and overlap 0; checked against rtl/nm_gemm_top.sv cycle by cycle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, Mask
from simsparse.errors import SpecError


class Request(IntEnum):
    """What is asked of the registers; a write waits until no GEMM runs."""

    READ = 0
    WRITE = 1
    START = 2


_READ, _START = int(Request.READ), int(Request.START)


@dataclass(frozen=True)
class GemmRequest:
    """``tiles`` tiles of outputs, each of ``k_folds`` folds of ``tokens`` tokens; ``serial`` folds do not overlap."""

    tokens: int
    k_folds: int
    tiles: int
    serial: bool = False


@dataclass(frozen=True)
class GemmSides:
    """In which cycles, repeating, each side moves; see array_stream.Sides. Raises SpecError when one never does."""

    requests: Mask
    weights: Mask
    activations: Mask
    responses: Mask
    results: Mask

    def __post_init__(self) -> None:
        if not all(side.any() for side in vars(self).values()):
            raise SpecError("a GEMM needs sources and sinks that move sometimes", key="stream")


@dataclass(frozen=True)
class GemmHandshakes:
    """Cycles in which requests, weight words and activation beats were taken, answers and results given.

    ``ends`` has the cycle of the last result of each GEMM.
    """

    requests: Ints
    weights: Ints
    activations: Ints
    responses: Ints
    results: Ints
    ends: Ints


def gemm_handshakes(
    sides: GemmSides, requests: Ints, jobs: Sequence[GemmRequest], rows: int, cols: int
) -> GemmHandshakes:  # fmt: skip
    """Handshakes of ``requests`` (of Request), the n-th START of which begins the n-th of ``jobs``."""
    table = np.array([[job.tokens, job.k_folds, job.tiles, job.serial] for job in jobs], np.int64).reshape(-1, 4)
    return GemmHandshakes(*_handshakes(
        sides.requests, sides.weights, sides.activations, sides.responses, sides.results, requests, table, rows,
        rows + cols - 1,
    ))  # fmt: skip


@njit(cache=True)  # type: ignore[untyped-decorator]
def _handshakes(
    request_offers: Mask, weight_offers: Mask, offers: Mask, response_accepts: Mask, accepts: Mask, requests: Ints,
    jobs: Ints, rows: int, latency: int,
) -> tuple[Ints, Ints, Ints, Ints, Ints, Ints]:  # fmt: skip
    request_at, response_at = np.empty(requests.size, np.int64), np.empty((requests == _READ).sum(), np.int64)
    tokens_of, folds_of = jobs[:, 0], jobs[:, 1] * jobs[:, 2]
    word_at = np.empty(rows * folds_of.sum(), np.int64)
    token_at = np.empty((tokens_of * folds_of).sum(), np.int64)
    result_at, ends = np.empty((tokens_of * jobs[:, 2]).sum(), np.int64), np.empty(len(jobs), np.int64)
    request = response = word = token = result = job = cycle = 0
    offered = request_offered = weight_offered = answering = busy = pending = False
    words_left = tokens_left = outs = loaded = place = 0
    line = np.zeros(latency, np.bool_)
    while request < requests.size or response < response_at.size or job < len(jobs):
        request_offered = request_offered or (request < requests.size and request_offers[cycle % request_offers.size])
        weight_offered = weight_offered or (word < word_at.size and weight_offers[cycle % weight_offers.size])
        offered = offered or (token < token_at.size and offers[cycle % offers.size])
        running, finish = busy, False
        if running:
            count, k_folds, serial = jobs[job, 0], jobs[job, 1], jobs[job, 3]
            final = outs // count % k_folds == k_folds - 1
            if not line[place] or not final or accepts[cycle % accepts.size]:
                give = line[place]
                fold_done, fresh = give and outs % count == count - 1, tokens_left % count == 0
                wants_word = weight_offered and words_left > 0 and (not serial or not pending or fold_done)
                take, take_word = _moves(offered and tokens_left > 0, wants_word, fresh, loaded == rows)
                if give and final:
                    result_at[result], result = cycle, result + 1
                outs += give
                line[place] = take
                place = (place + 1) % latency
                loaded = (0 if take and fresh else loaded) + take_word
                pending = pending and not fold_done
                if take:
                    token_at[token], offered, token, tokens_left = cycle, False, token + 1, tokens_left - 1
                if take_word:
                    word_at[word], weight_offered, word, words_left = cycle, False, word + 1, words_left - 1
                    pending = pending or words_left % rows == 0
                finish = fold_done and outs == count * k_folds * jobs[job, 2]
        if answering and response_accepts[cycle % response_accepts.size]:
            response_at[response], response, answering = cycle, response + 1, False
        if request_offered:
            kind = requests[request]
            if (not answering) if kind == _READ else not running:
                request_at[request], request_offered, request = cycle, False, request + 1
                answering = answering or kind == _READ
                if kind == _START:
                    busy, words_left = True, rows * folds_of[job]
                    tokens_left, outs = tokens_of[job] * folds_of[job], 0
        if finish:
            ends[job], busy, job = cycle, False, job + 1
        cycle += 1
    return request_at, word_at, token_at, response_at, result_at, ends


@njit(cache=True)  # type: ignore[untyped-decorator]
def _moves(wants: bool, wants_word: bool, fresh: bool, full: bool) -> tuple[bool, bool]:
    """Whether a step takes (a token, a weight word): a fresh fold's first token needs all of its weights, and makes
    place for the next one's."""
    take = wants and (not fresh or full)
    return take, wants_word and (not full or (take and fresh))
