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
    """What is asked of the registers. REFUSED is a start with sizes out of range, TIMEOUT sets the cycles of a
    standstill that is told."""

    READ = 0
    WRITE = 1
    START = 2
    REFUSED = 3
    ABORT = 4
    TIMEOUT = 5


_READ, _START, _REFUSED = int(Request.READ), int(Request.START), int(Request.REFUSED)
_ABORT, _TIMEOUT = int(Request.ABORT), int(Request.TIMEOUT)
_STANDSTILL = 1 << 22
"""Cycles without any movement after which nothing will move any more."""
_STUCK = -2


class StatusBit(IntEnum):
    """Bits of the status that the engine's state makes."""

    BUSY = 1 << 0
    DONE = 1 << 1
    ABORTED = 1 << 3
    LACKS_WEIGHT = 1 << 8
    LACKS_ACTIVATION = 1 << 9
    RESULT_WAITS = 1 << 10


_BUSY, _DONE, _ABORTED = int(StatusBit.BUSY), int(StatusBit.DONE), int(StatusBit.ABORTED)
_LACKS_WEIGHT, _LACKS_ACTIVATION = int(StatusBit.LACKS_WEIGHT), int(StatusBit.LACKS_ACTIVATION)
_RESULT_WAITS = int(StatusBit.RESULT_WAITS)


@dataclass(frozen=True)
class GemmRequest:
    """``tiles`` tiles of outputs, each of ``k_folds`` folds of ``tokens`` tokens; ``serial`` folds do not overlap.

    ``sent`` has the folds of each tile when folds without a kept weight are skipped, else it is empty.
    """

    tokens: int
    k_folds: int
    tiles: int
    serial: bool = False
    sent: tuple[int, ...] = ()

    @property
    def folds(self) -> tuple[int, ...]:
        """Folds of each tile that run."""
        return self.sent or (self.k_folds,) * self.tiles


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
    """Cycles in which requests were offered and taken, weight words and activation beats taken, answers and results
    given.

    ``states`` and ``counted`` have STATUS and CYCLES as each request was taken. Of each START, ``ends`` has the cycle
    of its last result or its abort, ``taken`` (starts, 3) the weight words, activation beats and results that moved.
    A START while another GEMM runs is in ``clashes`` by its cycle and moves nothing; ``timeouts`` has the cycles in
    which a standstill was told.
    """

    offered: Ints
    requests: Ints
    weights: Ints
    activations: Ints
    responses: Ints
    results: Ints
    states: Ints
    counted: Ints
    ends: Ints
    taken: Ints
    clashes: Ints
    timeouts: Ints


def gemm_handshakes(
    sides: GemmSides, requests: Ints, jobs: Sequence[GemmRequest], rows: int, cols: int, stages: int = 0,
    held: Mask | None = None, timeouts: Ints | None = None, available: tuple[int, int] | None = None,
) -> GemmHandshakes:  # fmt: skip
    """Handshakes of ``requests`` (of Request), the n-th START of which asks for the n-th of ``jobs``.

    ``stages`` are the pipeline registers of a PE. A request that is ``held`` is not offered while a GEMM runs.
    ``timeouts`` has what each TIMEOUT request sets; ``available`` the weight words and activation beats of the
    sources, all that the jobs ask for when not given. Raises SpecError when a GEMM stands still for good.
    """
    table = np.array([[job.tokens, len(job.folds), job.serial] for job in jobs], np.int64).reshape(-1, 3)
    folds = np.array([count for job in jobs for count in job.folds], np.int64)
    needs = [sum(job.folds) for job in jobs]
    words = rows * sum(needs)
    tokens = sum(job.tokens * count for job, count in zip(jobs, needs, strict=True))
    at = _handshakes(
        sides.requests, sides.weights, sides.activations, sides.responses, sides.results, requests,
        np.zeros(requests.size, np.bool_) if held is None else held,
        np.zeros(requests.size, np.int64) if timeouts is None else timeouts,
        table, folds, rows, rows + cols - 1 + stages, *(available or (words, tokens)),
    )  # fmt: skip
    if (at[8] == _STUCK).any():
        raise SpecError("a GEMM lacks weights or activations, and nothing aborts it", key="stream")
    return GemmHandshakes(*at)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _handshakes(  # noqa: PLR0912, PLR0915
    request_offers: Mask, weight_offers: Mask, offers: Mask, response_accepts: Mask, accepts: Mask, requests: Ints,
    held: Mask, timeout_of: Ints, jobs: Ints, folds_of: Ints, rows: int, latency: int, words: int, beats: int,
) -> tuple[Ints, Ints, Ints, Ints, Ints, Ints, Ints, Ints, Ints, Ints, Ints, Ints]:  # fmt: skip
    count_of = requests.size
    offered_at, request_at = np.empty(count_of, np.int64), np.empty(count_of, np.int64)
    states, counted = np.empty(count_of, np.int64), np.empty(count_of, np.int64)
    response_at = np.empty((requests == _READ).sum(), np.int64)
    word_at, token_at = np.empty(words, np.int64), np.empty(beats, np.int64)
    result_at = np.empty((jobs[:, 0] * jobs[:, 1]).sum() + len(jobs), np.int64)
    ends, taken = np.full(len(jobs), -1, np.int64), np.zeros((len(jobs), 3), np.int64)
    clashes, timeouts = [np.int64(0) for _ in range(0)], [np.int64(0) for _ in range(0)]
    first_tile = np.cumsum(jobs[:, 1]) - jobs[:, 1]
    request = response = word = token = result = asked = cycle = cycles = quiet = timeout = 0
    offered = request_offered = weight_offered = answering = busy = pending = left = done = aborted = False
    job = words_left = phase = loaded = place = tile = last_tile = out = out_fold = 0
    line = np.zeros(latency, np.bool_)
    while request < count_of or response < response_at.size or busy or left:
        if request < count_of and not request_offered:
            request_offered = request_offers[cycle % request_offers.size] and not (held[request] and busy)
            if request_offered:
                offered_at[request] = cycle
        weight_offered = weight_offered or (word < words and weight_offers[cycle % weight_offers.size])
        offered = offered or (token < beats and offers[cycle % offers.size])
        accepted = accepts[cycle % accepts.size]
        finish = moved = gives = lacks_word = lacks = False
        if busy:
            count, serial = jobs[job, 0], jobs[job, 2]
            final = out_fold == folds_of[tile] - 1
            gives = line[place] and final
            if not gives or (accepted and not left):
                give, fresh, full = line[place], phase == 0, loaded == rows
                fold_done = give and out == count - 1
                ready = not fresh or full
                word_ready = words_left > 0 and (not serial or not pending or fold_done)
                word_ready = word_ready and (not full or (fresh and offered))
                take, take_word = ready and offered, word_ready and weight_offered
                lacks, lacks_word = ready and not offered, word_ready and not weight_offered
                if give and final:
                    result_at[result], result, taken[job, 2], gives = cycle, result + 1, taken[job, 2] + 1, False
                line[place] = take
                place = (place + 1) % latency
                loaded = (0 if take and fresh else loaded) + take_word
                pending = pending and not fold_done
                if take:
                    token_at[token], offered, token, taken[job, 1] = cycle, False, token + 1, taken[job, 1] + 1
                    phase = (phase + 1) % count
                if take_word:
                    word_at[word], weight_offered, word, taken[job, 0] = cycle, False, word + 1, taken[job, 0] + 1
                    words_left -= 1
                    pending = pending or words_left % rows == 0
                if give:
                    out = 0 if fold_done else out + 1
                if fold_done:
                    out_fold = 0 if final else out_fold + 1
                    tile += final
                finish, moved = tile == last_tile, take or take_word or give
        waits = (left or gives) and not accepted
        if left and accepted:
            result_at[result], result, left = cycle, result + 1, False
        if answering and response_accepts[cycle % response_accepts.size]:
            response_at[response], response, answering = cycle, response + 1, False
        stop = start = False
        told = timeout
        if request_offered and not answering:
            kind = requests[request]
            states[request] = (
                _BUSY * busy | _DONE * done | _ABORTED * aborted | _LACKS_WEIGHT * lacks_word
                | _LACKS_ACTIVATION * lacks | _RESULT_WAITS * waits
            )  # fmt: skip
            request_at[request], counted[request], request_offered, answering = cycle, cycles, False, kind == _READ
            if kind in (_START, _REFUSED):
                if busy:
                    clashes.append(np.int64(cycle))
                else:
                    done, aborted, start = False, False, kind == _START
                asked += kind == _START
            if kind == _TIMEOUT:
                told = timeout_of[request]
            stop = kind == _ABORT and busy and not finish
            request += 1
        if busy and not moved:
            if timeout and quiet == timeout - 1:
                timeouts.append(np.int64(cycle))
            quiet += 1
        else:
            quiet = 0
        cycles, timeout = cycles + (busy and not finish and not stop), told
        if stop:
            keeps = gives and not accepted and not left
            line[:], taken[job, 2] = False, taken[job, 2] + keeps
            left, aborted = left or keeps, True
        if finish or stop:
            ends[job], busy, done = cycle, False, finish
        if start:
            job, busy, cycles, pending = asked - 1, True, 0, False
            tile, last_tile = first_tile[job], first_tile[job] + jobs[job, 1]
            words_left = rows * folds_of[tile:last_tile].sum()
            phase = loaded = out = out_fold = 0
        cycle += 1
        if quiet > _STANDSTILL:
            ends[job] = _STUCK
            break
    return (
        offered_at[:request], request_at[:request], word_at[:word], token_at[:token], response_at[:response],
        result_at[:result], states[:request], counted[:request], ends, taken, np.array(clashes, np.int64),
        np.array(timeouts, np.int64),
    )  # fmt: skip
