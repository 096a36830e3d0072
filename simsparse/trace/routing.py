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
from simsparse.errors import TraceError
from simsparse.paths import data_root

ALLOWED = "uniform, zipf:S such as zipf:1.0, counts:NAME-OR-CSV such as counts:mixtral-8x7b-c4, model"
MODEL = "model"
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class RoutingProcess:
    """How experts are drawn: ``uniform``, ``zipf`` with ``exponent``, or ``counts`` by layer.

    Tokens and layers are independent; a token's top-k experts differ. What real routing has beyond
    an expert's mean share (correlation between layers and neighbouring tokens) is left out.
    """

    text: str
    exponent: float = 0.0
    counts: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def parse(cls, text: str) -> RoutingProcess:
        """A process from its text. Raises TraceError naming what is allowed."""
        kind, _, rest = text.partition(":")
        if text == "uniform":
            return cls(text)
        if kind == "zipf":
            return cls(text, exponent=_exponent(text, rest))
        if kind == "counts" and rest:
            return cls(f"counts:{Path(rest).stem}", counts=measured_counts(rest))
        raise TraceError(f"{text!r} is not a routing process; expected {ALLOWED}", key="routing")

    def shares(self, experts: int, layer: int, seed: int) -> Shares:
        """Relative popularity of the experts of the ``layer``-th MoE layer, shape (experts,)."""
        if self.counts:
            row = self.counts[layer % len(self.counts)]
            if len(row) != experts:
                raise TraceError(f"{self.text} has {len(row)} experts, the model {experts}", key="routing")
            return np.asarray(row, dtype=np.float64)
        ranks = np.arange(1, experts + 1, dtype=np.float64)
        order = np.argsort(_uniforms(f"{seed}/{layer}/ranks", experts), kind="stable")
        return np.asarray((ranks**-self.exponent)[order])


def generate(process: RoutingProcess, tokens: int, experts: int, top_k: int, layer: int, seed: int) -> Routing:
    """Routing of ``tokens`` tokens to ``top_k`` of ``experts``; equal arguments give equal routing.

    Expert e is in a token's top-k with probability top_k x share_e, at most 1: systematic sampling
    with these inclusion probabilities over a random order of the experts (Madow 1949).
    """
    if top_k > experts:
        raise TraceError(f"top-{top_k} of {experts} experts", key="routing")
    inclusion = _inclusion(process.shares(experts, layer, seed), top_k)
    draws = _uniforms(f"{seed}/{layer}/tokens", tokens * (experts + 1)).reshape(tokens, experts + 1)
    order = np.argsort(draws[:, 1:], axis=1, kind="stable")
    upper = np.cumsum(inclusion[order], axis=1)
    upper[:, -1] = top_k
    steps = np.floor(upper - draws[:, :1])
    picked = np.diff(steps, axis=1, prepend=np.floor(-draws[:, :1])) > 0
    chosen = np.sort(order[picked].reshape(tokens, top_k), axis=1)
    return Routing.from_ids(chosen, experts, f"generated:{process.text}")


def _inclusion(shares: Shares, top_k: int) -> Shares:
    """Inclusion probabilities that add up to ``top_k``, proportional to ``shares`` where that is below 1."""
    certain = np.zeros(len(shares), dtype=bool)
    while True:
        left = top_k - int(certain.sum())
        scaled = np.where(certain, 1.0, shares * (left / shares[~certain].sum()) if left else 0.0)
        over = (scaled > 1.0) & ~certain
        if not over.any():
            return np.asarray(scaled)
        certain |= over


def _uniforms(key: str, count: int) -> Shares:
    """``count`` numbers in [0, 1) from the PCG64 stream seeded by ``key``, whose bits NumPy keeps stable."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    raw = np.random.PCG64(seed).random_raw(count)
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53)


def _exponent(text: str, rest: str) -> float:
    try:
        exponent = float(rest)
    except ValueError:
        exponent = -1.0
    if not 0.0 <= exponent <= 10.0:
        raise TraceError(f"{text!r}: the exponent is a number from 0 to 10", key="routing")
    return exponent


def data_folder() -> Path:
    """The folder of measured routing data: traces/data of the checkout, or the wheel's copy."""
    return data_root() / "traces" / "data"


@lru_cache(maxsize=8)
def measured_counts(name: str) -> tuple[tuple[int, ...], ...]:
    """Selections per expert, a row per layer, of a CSV with columns layer, count_e0, count_e1, ...

    ``name`` is a bundled data set or a path. Raises TraceError naming file and line.
    """
    bundled = data_folder() / f"{name}.csv"
    path = bundled if bundled.is_file() else Path(name)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"can't be read: {error}", file=str(path)) from error
    rows = [(i, line) for i, line in enumerate(lines, 1) if line and not line.startswith("#")]
    reader = list(csv.reader(line for _, line in rows))
    columns = [i for i, title in enumerate(reader[0] if reader else []) if title.startswith("count_e")]
    if not columns or len(reader) < 2:
        raise TraceError("no columns count_e0, count_e1, ... or no rows", file=str(path), line=1)
    return tuple(_row(cells, columns, str(path), rows[i][0]) for i, cells in enumerate(reader[1:], 1))


def _row(cells: Sequence[str], columns: Sequence[int], file: str, line: int) -> tuple[int, ...]:
    try:
        row = tuple(int(cells[i]) for i in columns)
    except (IndexError, ValueError) as error:
        raise TraceError("an expert's count is missing or not a whole number", file=file, line=line) from error
    if min(row) < 0 or not sum(row):
        raise TraceError("counts are below zero or all zero", file=file, line=line)
    return row
