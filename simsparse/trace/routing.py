# SPDX-License-Identifier: Apache-2.0
"""Seeded routing of tokens to experts, for models whose real routing is not known."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simsparse.core import Routing
from simsparse.core.rescale import ROUTERS
from simsparse.core.routing import MAX_EXPERTS
from simsparse.errors import TraceError
from simsparse.limits import read_whole
from simsparse.paths import data_root, is_file

ALLOWED = (
    "uniform, zipf:S such as zipf:1.0, reuse:P such as reuse:0.88, "
    "counts:NAME-OR-CSV such as counts:mixtral-8x7b-c4, model"
)
MODEL = "model"
MAX_DRAWS = 1 << 26
"""Tokens times experts of one layer: a number is drawn for each."""
DRAWS_AT_ONCE = 1 << 20
"""Numbers of several steps that are drawn in one go."""
ExpertShares = NDArray[np.float64]
ExpertIds = NDArray[np.int64]


@dataclass(frozen=True)
class RoutingProcess:
    """How experts are drawn: ``uniform``, ``zipf`` with ``exponent``, ``counts`` by layer, or ``reuse``.

    Layers are independent, and a token's top-k experts differ. Tokens are independent too, but with
    ``reuse``: there a token keeps each expert of the token before it in its sequence with that
    probability, and draws the others from the experts that that token did not use; the first token
    of a sequence is uniform, and with it every one. Measured next-token reuse: 0.87 to 0.90 in four
    BlockFFN models (Song et al., arXiv:2507.08771). What real routing has beyond that (correlation
    between layers, both skew and reuse) is left out.
    """

    text: str
    exponent: float = 0.0
    counts: tuple[tuple[int, ...], ...] = ()
    reuse: float | None = None

    @classmethod
    def parse(cls, text: str) -> RoutingProcess:
        """A process from its text. Raises TraceError naming what is allowed."""
        kind, _, rest = text.partition(":")
        if text == "uniform":
            return cls(text)
        if kind == "zipf":
            return cls(text, exponent=_number(text, rest, "the exponent", 10.0))
        if kind == "reuse":
            return cls(text, reuse=_number(text, rest, "the share of experts kept", 1.0))
        if kind == "counts" and rest:
            return cls(f"counts:{Path(rest).stem}", counts=measured_counts(rest))
        raise TraceError(f"{text!r:.80} is not a routing process; expected {ALLOWED}", key="routing")

    def shares(self, experts: int, layer: int, seed: int) -> ExpertShares:
        """Relative popularity of the experts of the ``layer``-th MoE layer, shape (experts,)."""
        if self.counts:
            row = self.counts[layer % len(self.counts)]
            if len(row) != experts:
                raise TraceError(f"{self.text} has {len(row)} experts, the model {experts}", key="routing")
            return np.asarray(row, dtype=np.float64)
        ranks = np.arange(1, experts + 1, dtype=np.float64)
        order = np.argsort(_uniforms(f"{seed}/{layer}/ranks", experts), kind="stable")
        return np.asarray((ranks**-self.exponent)[order])


def generate(
    process: RoutingProcess, tokens: int, experts: int, top_k: int, layer: int, seed: int, *, sequences: int = 1,
    start: int = 0,
) -> Routing:  # fmt: skip
    """Routing of ``tokens`` tokens to ``top_k`` of ``experts``; equal arguments give equal routing.

    The tokens are those of ``sequences`` sequences, one sequence after the other, from the token
    numbered ``start`` of each. Raises TraceError when the process does not fit the experts.
    """
    _check_draws(tokens, experts, top_k)
    if process.reuse is None:
        inclusion = _inclusion_of(process, experts, top_k, layer, seed)
        draws = _uniforms(_key(seed, layer, start), tokens * (experts + 1))
        chosen = _independent(inclusion, draws.reshape(tokens, experts + 1), top_k)
    else:
        _check_reuse(process.reuse, experts, top_k)
        chosen = _reused(process.reuse, (sequences, start + tokens // sequences), experts, top_k, f"{seed}/{layer}")
        chosen = chosen[:, start:].reshape(tokens, top_k)
    return Routing.from_ids(chosen, experts, f"generated:{process.text}")


def generate_steps(
    process: RoutingProcess, tokens: int, experts: int, top_k: int, layer: int, seed: int, steps: int
) -> list[Routing]:
    """For each of ``steps`` steps what ``generate`` gives ``tokens`` sequences of one token that start there.

    Steps that route alike share one Routing. Raises TraceError as ``generate`` does.
    """
    _check_draws(tokens, experts, top_k)
    if process.reuse is None:
        inclusion = _inclusion_of(process, experts, top_k, layer, seed)
        size = tokens * (experts + 1)
        keys, block = [_key(seed, layer, step) for step in range(steps)], max(1, DRAWS_AT_ONCE // size)
        draws = (np.concatenate([_uniforms(key, size) for key in keys[first : first + block]])
                 for first in range(0, steps, block))  # fmt: skip
        chosen = np.concatenate([_independent(inclusion, each.reshape(-1, experts + 1), top_k) for each in draws])
    else:
        _check_reuse(process.reuse, experts, top_k)
        chosen = _reused(process.reuse, (tokens, steps), experts, top_k, f"{seed}/{layer}").swapaxes(0, 1)
    known: dict[bytes, Routing] = {}
    origin = f"generated:{process.text}"
    found: list[Routing] = []
    for ids in chosen.reshape(steps, tokens, top_k):
        key = ids.tobytes()
        if key not in known:
            known[key] = Routing.from_ids(ids, experts, origin)
        found.append(known[key])
    return found


def _check_draws(tokens: int, experts: int, top_k: int) -> None:
    if not 0 < top_k <= experts:
        raise TraceError(f"top-{top_k} of {experts} experts", key="routing")
    if tokens < 0:
        raise TraceError(f"{tokens} is not a count of tokens", key="routing")
    if experts > MAX_EXPERTS or tokens * experts > MAX_DRAWS:
        raise TraceError(f"{tokens} tokens of {experts} experts; at most {MAX_DRAWS} pairs are drawn, "
                         f"{MAX_EXPERTS} experts", key="routing")  # fmt: skip


@ROUTERS.register("process")
def draw(text: str, tokens: int, experts: int, top_k: int, layer: int, seed: int) -> Routing:
    """Routing by the process called ``text``. Raises TraceError."""
    return generate(RoutingProcess.parse(text), tokens, experts, top_k, layer, seed)


def _key(seed: int, layer: int, start: int) -> str:
    return f"{seed}/{layer}/tokens" + (f"/{start}" if start else "")


@lru_cache(maxsize=1024)
def _inclusion_of(process: RoutingProcess, experts: int, top_k: int, layer: int, seed: int) -> ExpertShares:
    """Inclusion probabilities of the experts of a layer; the last 1,024 are kept."""
    return _inclusion(process.shares(experts, layer, seed), top_k)


def _independent(inclusion: ExpertShares, draws: ExpertShares, top_k: int) -> ExpertIds:
    """Expert ids (tokens, top_k), ascending, from the experts' probabilities of ``inclusion``.

    ``draws``: uniform numbers, shape (tokens, experts + 1).

    Expert e is in a token's top-k with probability top_k x share_e, at most 1: systematic sampling
    with these inclusion probabilities over a random order of the experts (Madow 1949).
    """
    order = np.argsort(draws[:, 1:], axis=1)
    upper = np.cumsum(inclusion[order], axis=1)
    upper[:, -1] = top_k
    steps = np.floor(upper - draws[:, :1])
    picked = np.diff(steps, axis=1, prepend=np.floor(-draws[:, :1])) > 0
    return np.asarray(np.sort(order[picked].reshape(len(draws), top_k), axis=1))


def _check_reuse(reuse: float, experts: int, top_k: int) -> None:
    if reuse < 1.0 and experts < 2 * top_k:
        raise TraceError(
            f"reuse:{reuse:g} with top-{top_k} of {experts} experts; a token that keeps none needs {2 * top_k}",
            key="routing",
        )  # fmt: skip


def _reused(reuse: float, shape: tuple[int, int], experts: int, top_k: int, key: str) -> ExpertIds:
    """Expert ids (sequences, length, top_k) of the process ``reuse``; a longer one starts like a shorter one."""
    sequences, length = shape
    draws = _uniforms(f"{key}/reuse", sequences * length * (experts + top_k))
    draws = draws.reshape(length, sequences, experts + top_k)
    order = np.argsort(draws[:, :, top_k:], axis=2)
    kept = draws[:, :, :top_k] < reuse
    chosen = np.empty((sequences, length, top_k), np.int64)
    for row in range(sequences):
        chosen[row, 0] = np.sort(order[0, row, :top_k])
        for token in range(1, length):
            before = chosen[row, token - 1]
            stay = before[kept[token, row]]
            others = order[token, row]
            others = others[~np.isin(others, before)][: top_k - len(stay)]
            chosen[row, token] = np.sort(np.concatenate((stay, others)))
    return chosen


def _inclusion(shares: ExpertShares, top_k: int) -> ExpertShares:
    """Inclusion probabilities that add up to ``top_k``, proportional to ``shares`` where that is below 1."""
    certain = np.zeros(len(shares), dtype=bool)
    while True:
        left = top_k - int(certain.sum())
        scaled = np.where(certain, 1.0, shares * (left / shares[~certain].sum()) if left else 0.0)
        over = (scaled > 1.0) & ~certain
        if not over.any():
            return np.asarray(scaled)
        certain |= over


def _uniforms(key: str, count: int) -> ExpertShares:
    """``count`` numbers in [0, 1) from the PCG64 stream seeded by ``key``, whose bits NumPy keeps stable."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    raw = np.random.PCG64(seed).random_raw(count)
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53)


def _number(text: str, rest: str, what: str, most: float) -> float:
    try:
        number = float(rest)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= most:
        raise TraceError(f"{text!r:.80}: {what} is a number from 0 to {most:g}", key="routing")
    return number


MAX_COUNTS_BYTES = 4 << 20
"""Bytes of a file of counts."""


def data_folder() -> Path:
    """The folder of measured routing data: traces/data of the checkout, or the wheel's copy."""
    return data_root() / "traces" / "data"


def _counts_file(name: str) -> Path:
    bundled = data_folder() / f"{name}.csv"
    return bundled if is_file(bundled) else Path(name)


def process_digest(text: str) -> str:
    """Hash of the file that a process reads; empty where it reads none. Raises TraceError when it can't be read."""
    kind, _, name = text.partition(":")
    return hashlib.sha256(_content(_counts_file(name))).hexdigest() if kind == "counts" and name else ""


def _content(path: Path) -> bytes:
    try:
        return read_whole(path, MAX_COUNTS_BYTES)
    except (OSError, ValueError) as error:
        raise TraceError(f"can't be read: {error}", file=str(path)) from error


def measured_counts(name: str) -> tuple[tuple[int, ...], ...]:
    """Selections per expert, a row per layer, of a CSV with columns layer, count_e0, count_e1, ...

    ``name`` is a bundled data set or a path. Raises TraceError naming file and line.
    """
    path = _counts_file(name)
    return _counts(path, _content(path))


@lru_cache(maxsize=8)
def _counts(path: Path, content: bytes) -> tuple[tuple[int, ...], ...]:
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise TraceError(f"can't be read: {error}", file=str(path)) from error
    rows = [(i, line) for i, line in enumerate(lines, 1) if line and not line.startswith("#")]
    try:
        reader = list(csv.reader(line for _, line in rows))
    except csv.Error as error:
        raise TraceError(f"can't be read: {error}", file=str(path)) from error
    columns = [i for i, title in enumerate(reader[0] if reader else []) if title.startswith("count_e")]
    if not columns or len(reader) < 2:
        raise TraceError("no columns count_e0, count_e1, ... or no rows", file=str(path), line=1)
    return tuple(_row(cells, columns, str(path), rows[i][0]) for i, cells in enumerate(reader[1:], 1))


def _row(cells: Sequence[str], columns: Sequence[int], file: str, line: int) -> tuple[int, ...]:
    try:
        row = tuple(int(cells[i]) for i in columns)
    except (IndexError, ValueError) as error:
        raise TraceError("an expert's count is missing or not a whole number", file=file, line=line) from error
    if min(row) < 0 or not 0 < sum(row) < 1 << 62:
        raise TraceError("counts are below zero, all zero or beyond 2**62 together", file=file, line=line)
    return row
