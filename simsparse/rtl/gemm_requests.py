# SPDX-License-Identifier: Apache-2.0
"""What is asked of nm_gemm_top's registers, what it makes of it, and what they answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from simsparse.dataflow.base import Ints, Mask
from simsparse.dataflow.handshake.gemm_stream import GemmHandshakes, GemmRequest, Request, StatusBit
from simsparse.rtl.regmap import IDENTITY, REGISTERS, VERSION
from simsparse.rtl.vectors import Beats

ERRORS = ("sizes", "weights' tlast", "activations' tlast", "metadata", "start while busy", "timeout")
"""Flags of the register ERRORS, the first in bit 0."""
_ERROR, _TIMED_OUT = 1 << 2, 1 << 4
"""Bits of STATUS that ERRORS makes."""
_MOST_READS = 4
_LONGEST = (4, 3)
"""Folds along k and tiles of the largest random GEMM."""

RegisterRow = tuple[int, int, int, int]
"""A request: whether it writes, address, data, and whether the driver holds it until the engine is idle."""


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
    TIMEOUT = 9
    KEPT = 10
    INTERRUPT = 11
    ID = 12
    VERSION = 13
    OUTPUT = 14


class ModeBit(IntEnum):
    """Bits of the register MODE."""

    DENSE = 1
    SERIAL = 2
    SKIP = 4


_START, _ABORT = 1, 2
_CONTROL = int(Register.CONTROL)
_KEPT = {address: register.mask for address, register in enumerate(REGISTERS) if register.mask}
"""Bits that a write leaves in each register that holds what is written."""
_READ_ONLY = (Register.STATUS, Register.CYCLES, Register.SHAPE, Register.ID, Register.VERSION, 15)


@dataclass(frozen=True)
class EngineShape:
    """What an engine is built for: array, N:M and the most tokens."""

    rows: int
    cols: int
    n: int
    m: int
    max_tokens: int


@dataclass(frozen=True)
class RequestProgram:
    """What a stream of requests asks for: their kinds, a job per start with sizes in range, whether each is dense and
    how many weights of a group it uses, and the requests that the driver holds until the engine is idle."""

    kinds: Ints
    jobs: tuple[GemmRequest, ...]
    dense: Ints
    kept: Ints
    timeouts: Ints
    held: Mask
    met: frozenset[str] = field(default_factory=frozenset)

    def words(self, rows: int) -> Ints:
        """Weight words that each job asks for."""
        return np.array([rows * sum(job.folds) for job in self.jobs], np.int64)

    @property
    def tokens(self) -> Ints:
        """Activation beats that each job asks for."""
        return np.array([job.tokens * sum(job.folds) for job in self.jobs], np.int64)

    @property
    def lengths(self) -> Ints:
        """Tokens of every fold of every job."""
        return np.repeat([job.tokens for job in self.jobs], [sum(job.folds) for job in self.jobs]).astype(np.int64)

    def covered(self, max_tokens: int, ran: Mask) -> set[str]:
        """Bins of registers, modes and sizes that the requests meet; ``ran`` marks the jobs that began."""
        every = zip(self.jobs, self.dense, self.kept, strict=True)
        rows = [row for row, began in zip(every, ran, strict=True) if began]
        jobs = [job for job, _, _ in rows]
        found = {f"dense={dense} serial={int(job.serial)} skip={int(bool(job.sent))}" for job, dense, _ in rows}
        found |= {f"kept={kept}" for _, dense, kept in rows if not dense}
        sizes = {
            "one token": any(job.tokens == 1 for job in jobs),
            "most tokens": any(job.tokens == max_tokens for job in jobs),
            "one fold": any(1 in job.folds for job in jobs), "folds": any(max(job.folds) > 1 for job in jobs),
            "one tile": any(job.tiles == 1 for job in jobs), "tiles": any(job.tiles > 1 for job in jobs),
        }  # fmt: skip
        return found | set(self.met) | {name for name, met in sizes.items() if met}


def encoded(rows: list[RegisterRow], sent: list[int] | None = None) -> dict[str, Ints]:
    """Requests as beats; ``sent`` has the folds of each tile of each start in order, where folds are skipped."""
    table = np.array(rows, np.int64)
    names = ("reg_write", "reg_address", "reg_data", "held")
    found: dict[str, Ints] = {name: table[:, i : i + 1] for i, name in enumerate(names)}
    return found | {"sent": np.array(sent or [], np.int64).reshape(-1, 1)}


def of_job(job: GemmRequest, dense: bool = False) -> list[RegisterRow]:
    """Writes that set up and start one job, the start when the engine is idle."""
    mode = ModeBit.DENSE * dense | ModeBit.SERIAL * job.serial | ModeBit.SKIP * bool(job.sent)
    return [
        (1, Register.TOKENS, job.tokens, 0), (1, Register.K_FOLDS, job.k_folds, 0), (1, Register.N_TILES, job.tiles, 0),
        (1, Register.MODE, mode, 0), (1, Register.CONTROL, _START, 1),
    ]  # fmt: skip


def after() -> list[RegisterRow]:
    """Reads once a job has ended: its cycles, the status and the errors."""
    return [(0, Register.CYCLES, 0, 1), (0, Register.STATUS, 0, 0), (0, Register.ERRORS, 0, 0)]


def requested(rng: np.random.Generator, folds: int, shape: EngineShape) -> dict[str, Ints]:
    """A look at every register after reset, then random GEMMs of at least ``folds`` folds together, with starts out of
    range and while busy, aborts, standstills that are told, and reads and writes at any time between.
    """
    rows: list[RegisterRow] = [(0, register, 0, 0) for register in Register]
    sent: list[int] = []
    while folds > 0:
        job, dense = _random_job(rng, shape), bool(rng.integers(0, 2))
        folds -= sum(job.folds)
        if rng.random() < 0.1:
            rows += _refused(rng, job, shape)
        if rng.random() < 0.2:
            rows.append((1, Register.TIMEOUT, int(rng.choice((0, 1, 2, 5, 30, 1 << 20))), 0))
        if rng.random() < 0.2:
            rows.append((1, Register.INTERRUPT, int(rng.integers(0, 4)), 0))
        if rng.random() < 0.2:
            rows.append((1, Register.OUTPUT, int(rng.integers(0, 1 << 20)), 0))
        kept = int(rng.choice((shape.n, int(rng.integers(1, shape.n + 1)))))
        wait = int(rng.random() < 0.5)
        rows += [(1, Register.KEPT, kept, wait), *of_job(job, dense), *_anything(rng)]
        sent += job.folds
        if rng.random() < 0.1:
            rows.append((1, Register.CONTROL, _START, 0))
            sent += job.folds
        if rng.random() < 0.15:
            rows.append((1, Register.CONTROL, _ABORT | int(rng.integers(0, 2)), int(rng.random() < 0.1)))
        rows += [(1, int(rng.choice(_READ_ONLY)), int(rng.integers(0, 1 << 32)), 0)]
        rows += after() if rng.random() < 0.5 else list(_anything(rng))
        rows += [(1, Register.ERRORS, 0, int(rng.integers(0, 2)))] if rng.random() < 0.5 else []
    return encoded([*rows, *after()], sent)


def _random_job(rng: np.random.Generator, shape: EngineShape) -> GemmRequest:
    most = shape.max_tokens
    tokens = int(rng.choice((1, most, int(rng.integers(1, most + 1)))))
    k_folds, tiles = (int(rng.integers(1, longest + 1)) for longest in _LONGEST)
    serial, skips = bool(rng.integers(0, 2)), rng.random() < 0.3
    sent = tuple(int(count) for count in rng.integers(1, _LONGEST[0] + 1, tiles)) if skips else ()
    return GemmRequest(tokens, int(rng.choice((0, k_folds))) if sent else k_folds, tiles, serial, sent)


def _refused(rng: np.random.Generator, job: GemmRequest, shape: EngineShape) -> list[RegisterRow]:
    """A start with one size out of range, and the sizes in range again."""
    tokens, k_folds, tiles = job.tokens, job.k_folds or 1, job.tiles
    wrong: list[RegisterRow] = [(1, Register.KEPT, int(rng.choice((0, shape.n + 1, 0xFF))), 0)]
    match int(rng.integers(0, 4)):
        case 0:
            tokens, wrong = int(rng.choice((0, shape.max_tokens + 1, 0xFFFF))), []
        case 1:
            k_folds, wrong = 0, []
        case 2:
            tiles, wrong = 0, []
    return [*wrong, *of_job(GemmRequest(tokens, k_folds, tiles))]


def _anything(rng: np.random.Generator) -> Iterator[RegisterRow]:
    """Some reads of any address."""
    for _ in range(int(rng.integers(0, _MOST_READS + 1))):
        yield 0, int(rng.integers(0, 16)), int(rng.integers(0, 1 << 32)), 0


def program(beats: Beats, shape: EngineShape) -> RequestProgram:
    """What the requests in ``beats`` ask of an engine of ``shape``."""
    write, address, data = _columns(beats)
    sizes = dict.fromkeys(_KEPT, 0) | {int(Register.KEPT): shape.n}
    kinds = np.where(write, int(Request.WRITE), int(Request.READ))
    timeouts = np.where(write & (address == Register.TIMEOUT), data, 0)
    kinds[write & (address == Register.TIMEOUT)] = Request.TIMEOUT
    jobs: list[GemmRequest] = []
    dense, kept, tile, sent = [], [], 0, beats.get("sent", np.zeros((0, 1), np.int64))[:, 0].tolist()
    rows = (at.tolist() for at in (np.flatnonzero(write), address[write], data[write]))
    for place, register, value in zip(*rows, strict=True):
        if register in sizes:
            sizes[register] = value & _KEPT[register]
        elif register == _CONTROL and value & _ABORT:
            kinds[place] = Request.ABORT
        elif register == _CONTROL and value & _START:
            job, in_range = _asked(sizes, shape)
            kinds[place] = Request.START if in_range else Request.REFUSED
            if in_range:
                tiles = sent[tile : tile + job.tiles] if sent else ()
                skips = sizes[Register.MODE] & ModeBit.SKIP
                jobs.append(GemmRequest(job.tokens, job.k_folds, job.tiles, job.serial, tuple(tiles if skips else ())))
                dense.append(sizes[Register.MODE] & ModeBit.DENSE)
                kept.append(sizes[Register.KEPT])
                tile += job.tiles
    held = beats["held"][:, 0] == 1 if "held" in beats else np.zeros(len(write), np.bool_)
    of_dense, of_kept = (np.array(numbers, np.int64) for numbers in (dense, kept))
    return RequestProgram(kinds, tuple(jobs), of_dense, of_kept, timeouts, held, _met(write, address))


def _asked(sizes: Mapping[int, int], shape: EngineShape) -> tuple[GemmRequest, bool]:
    """The job that the sizes ask for, and whether they are in range."""
    tokens, k_folds, tiles, mode, kept = (
        sizes[int(each)] for each in (Register.TOKENS, Register.K_FOLDS, Register.N_TILES, Register.MODE, Register.KEPT)
    )
    in_range = 1 <= tokens <= shape.max_tokens and tiles > 0 and 1 <= kept <= shape.n
    in_range = in_range and (k_folds > 0 or bool(mode & ModeBit.SKIP))
    return GemmRequest(tokens, k_folds, tiles, bool(mode & ModeBit.SERIAL)), in_range


def _met(write: Mask, address: Ints) -> frozenset[str]:
    """Which registers are read, and whether what is none is written."""
    known = {int(register): register.name for register in Register}
    met = {f"read {known.get(place, 'nothing')}" for place in np.unique(address[~write]).tolist()}
    return frozenset(met | ({"write nothing"} if (address[write] > max(known)).any() else set()))


def reads(beats: Beats, at: GemmHandshakes, faults: Mapping[str, Ints], shape: EngineShape) -> Ints:
    """Answers to the reads; ``faults`` holds the cycles in which each error is raised."""
    write, address, data = _columns(beats)
    place = np.arange(len(write))
    cleared = _latest(write & (address == Register.ERRORS), place, at.requests, -1)
    errors = _flags(faults, cleared, at.requests)
    status = at.states | np.where(errors != 0, _ERROR, 0) | np.where(errors >> ERRORS.index("timeout"), _TIMED_OUT, 0)
    size = sum(length << 8 * which for which, length in enumerate((shape.rows, shape.cols, shape.n, shape.m)))
    known: dict[Register, Ints | int] = {
        Register.STATUS: status, Register.CYCLES: at.counted, Register.ERRORS: errors,
        Register.SHAPE: size, Register.ID: IDENTITY, Register.VERSION: VERSION,
    }  # fmt: skip
    answers = np.zeros(len(write), np.int64)
    for register, values in known.items():
        answers = np.where(address == register, values, answers)
    for number, bits in _KEPT.items():
        first = shape.n if number == Register.KEPT else 0
        now = _latest(write & (address == number), place, data & bits, first)
        answers = np.where(address == number, now, answers)
    return answers[~write]


def busy(states: Ints) -> Mask:
    """Where a GEMM ran as requests were taken."""
    found: Mask = (states & int(StatusBit.BUSY)) != 0
    return found


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
