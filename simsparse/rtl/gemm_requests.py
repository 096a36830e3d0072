# SPDX-License-Identifier: Apache-2.0
"""What is asked of nm_gemm_top's registers, what it makes of it, and what they answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from simsparse.dataflow.base import Ints, Mask
from simsparse.dataflow.handshake.gemm_stream import GemmHandshakes, GemmRequest, Request
from simsparse.rtl.vectors import Beats

ERRORS = ("sizes", "weights' tlast", "activations' tlast", "metadata")
"""Flags of the register ERRORS, the first in bit 0."""
_MOST_READS = 4
_LONGEST = (4, 3)
"""Folds along k and tiles of the largest random GEMM."""


class Register(IntEnum):
    """Word addresses."""

    CONTROL = 0
    STATUS = 1
    TOKENS = 2
    K_FOLDS = 3
    N_TILES = 4
    MODE = 5
    CYCLES = 6
    ERRORS = 7
    SHAPE = 8


_CONTROL = int(Register.CONTROL)
_KEPT = dict.fromkeys((int(Register.TOKENS), int(Register.K_FOLDS), int(Register.N_TILES)), 0xFFFF) | {
    int(Register.MODE): 0b11
}
"""Bits that a write leaves in each register of a job's sizes."""
_WAITING = (Register.CONTROL, Register.TOKENS, Register.K_FOLDS, Register.N_TILES, Register.MODE, 15)
"""What random writes of even numbers go to while a job runs: they must wait for its end and start nothing."""


@dataclass(frozen=True)
class RequestProgram:
    """What a stream of requests runs: their kinds, the jobs, whether each is dense, and the starts that are refused."""

    kinds: Ints
    jobs: tuple[GemmRequest, ...]
    dense: Ints
    refused: Ints
    met: frozenset[str]

    @property
    def tokens_of_folds(self) -> Ints:
        """Tokens of every fold."""
        return np.repeat([job.tokens for job in self.jobs], self._folds).astype(np.int64)

    @property
    def dense_of_folds(self) -> Ints:
        """Whether every fold is dense."""
        return np.repeat(self.dense, self._folds)

    @property
    def folds(self) -> int:
        return sum(self._folds)

    @property
    def _folds(self) -> list[int]:
        return [job.k_folds * job.tiles for job in self.jobs]

    def covered(self, max_tokens: int) -> set[str]:
        """Bins of registers, modes and sizes that the requests meet."""
        modes = {f"dense={dense} serial={int(job.serial)}" for job, dense in zip(self.jobs, self.dense, strict=True)}
        sizes = {
            "one token": any(job.tokens == 1 for job in self.jobs),
            "most tokens": any(job.tokens == max_tokens for job in self.jobs),
            "one fold": any(job.k_folds == 1 for job in self.jobs), "folds": any(job.k_folds > 1 for job in self.jobs),
            "one tile": any(job.tiles == 1 for job in self.jobs), "tiles": any(job.tiles > 1 for job in self.jobs),
        }  # fmt: skip
        refused = {"error sizes"} if self.refused.size else set()
        return modes | refused | set(self.met) | {name for name, found in sizes.items() if found}


def encoded(rows: list[tuple[int, int, int]]) -> dict[str, Ints]:
    """Requests (write, address, data) as beats."""
    table = np.array(rows, np.int64)
    return {name: table[:, i : i + 1] for i, name in enumerate(("reg_write", "reg_address", "reg_data"))}


def of_job(job: GemmRequest, dense: bool = False) -> list[tuple[int, int, int]]:
    """Writes that set up and start one job."""
    return [
        (1, Register.TOKENS, job.tokens), (1, Register.K_FOLDS, job.k_folds), (1, Register.N_TILES, job.tiles),
        (1, Register.MODE, int(dense) | int(job.serial) << 1), (1, Register.CONTROL, 1),
    ]  # fmt: skip


def after() -> list[tuple[int, int, int]]:
    """A write that waits for the end of a job, then its cycles, the status and the errors."""
    return [(1, 15, 0), (0, Register.CYCLES, 0), (0, Register.STATUS, 0), (0, Register.ERRORS, 0)]


def requested(rng: np.random.Generator, folds: int, max_tokens: int) -> dict[str, Ints]:
    """A look at every register after reset, then random GEMMs of at least ``folds`` folds together, with starts out of
    range and reads at any time between.
    """
    rows: list[tuple[int, int, int]] = [(0, register, 0) for register in Register]
    while folds > 0:
        k_folds, tiles = (int(rng.integers(1, most + 1)) for most in _LONGEST)
        tokens = int(rng.choice((1, max_tokens, int(rng.integers(1, max_tokens + 1)))))
        job = GemmRequest(tokens, k_folds, tiles, bool(rng.integers(0, 2)))
        if rng.random() < 0.1:
            wrong = GemmRequest(int(rng.choice((0, max_tokens + 1, 0xFFFF))), k_folds, tiles)
            rows += of_job(wrong) if rng.random() < 0.5 else of_job(GemmRequest(tokens, *rng.permuted((0, 3)).tolist()))
        rows += [*of_job(job, bool(rng.integers(0, 2))), *_anything(rng)]
        rows += [(1, int(rng.choice(_WAITING)), 2 * int(rng.integers(0, 1 << 15))), *after()[1:]]
        rows += [(1, Register.ERRORS, 0)] if rng.random() < 0.5 else []
        folds -= k_folds * tiles
    return encoded(rows)


def _anything(rng: np.random.Generator) -> Iterator[tuple[int, int, int]]:
    """Some reads of any address."""
    for _ in range(int(rng.integers(0, _MOST_READS + 1))):
        yield 0, int(rng.integers(0, 16)), int(rng.integers(0, 1 << 32))


def program(beats: Beats, max_tokens: int) -> RequestProgram:
    """What the requests in ``beats`` run on an engine that holds sums of ``max_tokens`` tokens."""
    write, address, data = _columns(beats)
    sizes = dict.fromkeys(_KEPT, 0)
    kinds = np.where(write, int(Request.WRITE), int(Request.READ))
    jobs, dense, refused = [], [], []
    rows = (at.tolist() for at in (np.flatnonzero(write), address[write], data[write]))
    for place, register, value in zip(*rows, strict=True):
        if register in sizes:
            sizes[register] = value & _KEPT[register]
        elif register == _CONTROL and value & 1:
            tokens, k_folds, tiles, mode = sizes.values()
            if 1 <= tokens <= max_tokens and k_folds and tiles:
                kinds[place] = Request.START
                jobs.append(GemmRequest(tokens, k_folds, tiles, bool(mode >> 1)))
                dense.append(mode & 1)
            else:
                refused.append(place)
    of_dense, of_refused = (np.array(numbers, np.int64) for numbers in (dense, refused))
    return RequestProgram(kinds, tuple(jobs), of_dense, of_refused, _met(write, address))


def _met(write: Mask, address: Ints) -> frozenset[str]:
    """Which registers are read, and whether what is none is written."""
    known = {int(register): register.name for register in Register}
    met = {f"read {known.get(place, 'nothing')}" for place in np.unique(address[~write]).tolist()}
    return frozenset(met | ({"write nothing"} if (address[write] > max(known)).any() else set()))


def reads(
    beats: Beats, plan: RequestProgram, at: GemmHandshakes, faults: Mapping[str, Ints], shape: tuple[int, ...]
) -> Ints:
    """Answers to the reads; ``faults`` holds the cycles in which each error is raised, ``shape`` rows, cols, n, m."""
    write, address, data = _columns(beats)
    starts, place = plan.kinds == Request.START, np.arange(len(write))
    answers = np.zeros(len(write), np.int64)
    job = np.cumsum(starts) - 1
    if plan.jobs:
        ends, started = at.ends[job], at.requests[starts][job]
        status, cycles = np.where(at.requests <= ends, 1, 2), np.minimum(at.requests, ends) - started - 1
        answers = np.select([job < 0, address == Register.STATUS, address == Register.CYCLES], [0, status, cycles], 0)
    for register, bits in _KEPT.items():
        answers = np.where(address == register, _latest(write & (address == register), place, data & bits, 0), answers)
    cleared = _latest(write & (address == Register.ERRORS), place, at.requests, -1)
    answers = np.where(address == Register.ERRORS, _flags(faults, cleared, at.requests), answers)
    size = sum(length << 8 * which for which, length in enumerate(shape))
    return np.where(address == Register.SHAPE, size, answers)[~write]


def _latest(marked: Mask, place: Ints, values: Ints, first: int) -> Ints:
    """At every place the value of the last one ``marked`` up to it, or ``first`` before there is any."""
    last = np.maximum.accumulate(np.where(marked, place, -1))
    return np.where(last < 0, first, values[last])


def _flags(faults: Mapping[str, Ints], cleared: Ints, cycle: Ints) -> Ints:
    """Error flags in every ``cycle``, when they were ``cleared``."""
    raised = [np.searchsorted(faults[name], cycle) > np.searchsorted(faults[name], cleared) for name in ERRORS]
    return sum((each.astype(np.int64) << place for place, each in enumerate(raised)), np.zeros(cycle.size, np.int64))


def _columns(beats: Beats) -> tuple[Mask, Ints, Ints]:
    """Whether each request is a write, its address and its data."""
    return beats["reg_write"][:, 0] == 1, beats["reg_address"][:, 0], beats["reg_data"][:, 0]
