# SPDX-License-Identifier: Apache-2.0
"""SIGMA: non-zeros of one operand fill the multipliers, the other is streamed past, sums form in any places."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, double_buffered, same_k
from simsparse.dataflow.typical import draws_of, mean_work, repeated, sets_of, typical_columns, typical_part
from simsparse.errors import SpecError
from simsparse.sparsity import Sparsity
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs

CONFIGURE, WALKED = 1, 8
"""Cycles that set the routes of a fold; folds of typical rows that the closed form fills."""
Floats = NDArray[np.float64]


class Sigma(SparseEngine):
    """The weights' non-zeros stay on ``rows`` x ``cols`` multipliers, whole rows side by side; inputs pass by.

    A fold is as many rows of weights as fit, in order; a row that is longer than all multipliers is cut, and from its
    second piece on one multiplier takes its sum so far. A fold sets its routes in one cycle, takes its non-zeros and
    then, for each row of inputs, the values that meet them. ``ports`` distribute one value a cycle each to any of
    their neighbouring multipliers; a value needed under several ports is sent to each. At best a row of inputs takes
    one cycle, and its results leave, ``ports`` a cycle, behind the levels of the distribution and reduction trees.
    With ``streamed_zeros`` 1, zeros of the inputs are sent as values; with 0 only non-zeros are. Operands are bitmaps.

    The closed form packs rows of a small part of a draw and has their folds again and again.
    A fold that is a few non-zeros short may take the row that another leaves over: then a denser operand is faster.
    Source: Qin et al., SIGMA, HPCA 2020; the order of rows, folds and ports as in STONNE's controller. Left out: the
    choice of the stationary operand, dropping weights that meet no input, sorting rows so that they fill folds.
    """

    name: ClassVar[str] = "sigma"
    widens: ClassVar[bool] = True
    settings: ClassVar[dict[str, str]] = {
        "ports": "values a cycle into the distribution network, and results a cycle out of the reduction network",
        "streamed_zeros": "1 if zeros of the streamed operand are sent, else 0",
    }
    tolerance: ClassVar[float] = 0.12
    denser_is_slower: ClassVar[bool] = False

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, k = same_k(weights, inputs)
        sent = np.full(k, m, np.int64) if _zeros_sent(machine) else inputs.col_counts
        folds = _folds(weights.pointers, weights.columns, sent, m, machine.peak_macs, _span(machine))
        macs = effectual_macs(weights, inputs)
        return _work(folds, (m, n, k), weights.nnz, inputs.nnz, macs, machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        sent = (
            typical_columns(inputs, m, k, sets_of(k, inputs.edge)) if not _zeros_sent(machine) else np.full((1, 1), m)
        )
        kept_w, kept_x = weights.nonzeros(n, k), inputs.nonzeros(m, k)
        works: list[Work] = []
        room, macs = machine.peak_macs, products(shape, weights, inputs)
        rows = min(n, math.ceil(WALKED * room / max(1.0, kept_w / n)))
        for draw in draws_of(works, n, k):
            part = repeated(typical_part(weights, n, k, draw), rows)
            column = np.resize(sent[draw % sent.shape[0]], k)
            folds = _folds(part.pointers, part.columns, column, m, room, _span(machine))
            works.append(_work(_extended(folds, rows, n), shape, kept_w, kept_x, macs, machine))
        return mean_work(works)


def _extended(folds: Ints, rows: int, n: int) -> Ints:
    """The folds of ``n`` rows of weights when those of the first ``rows`` are known: the whole ones again and again."""
    ends = np.flatnonzero(folds[:-1, 4])
    whole = folds[: ends[-1] + 1 if ends.size else 0]
    done = int(whole[:, 4].sum())
    if rows == n or not done:
        return np.resize(folds, (-(-folds.shape[0] * n // rows), folds.shape[1]))
    count, rest = divmod(n * whole.shape[0] / done, 1)
    more = np.resize(whole, (int(count) + (rest > 1e-9), whole.shape[1])).copy()
    more[-1, :5] = np.ceil(more[-1, :5] * (rest or 1.0))
    return more


def _span(machine: PeConfig) -> int:
    """Multipliers under one port."""
    if machine.peak_macs < 2:
        raise SpecError(f"{machine.peak_macs} multiplier; expected at least 2", key="array")
    return -(-machine.peak_macs // machine.whole("ports"))


def _zeros_sent(machine: PeConfig) -> bool:
    value = machine.settings.get("streamed_zeros")
    if value not in (0, 1):
        raise SpecError(f"{value!r}; expected 0 or 1", key="engine.streamed_zeros")
    return value == 1


def _work(folds: Ints, shape: tuple[int, int, int], kept_w: int, kept_x: int, macs: int, machine: PeConfig) -> Work:
    """Of ``folds`` as ``_folds`` gives them."""
    (m, n, _), span, ports = shape, _span(machine), machine.whole("ports")
    values, busiest, sent, rows, done, further = folds.T
    stream = np.maximum(np.maximum(m, busiest), -(-rows * m // ports))
    first = np.minimum(span - further, values)
    load = CONFIGURE + np.maximum(first, np.minimum(span, values - first))
    fill = math.ceil(math.log2(span)) + 1 + math.ceil(math.log2(machine.peak_macs)) + 1
    read, write = _traffic(values, done, shape, (kept_w, kept_x), machine)
    moved = np.ceil((read + np.concatenate([[0], write])[: read.size]) / machine.dram_bytes).astype(np.int64)
    total, waiting = double_buffered(moved, stream + load + fill)
    rest = m * n * machine.output_bits // 8 - int(write[:-1].sum())
    last = cycles_of(rest, machine.dram_bytes)
    even, steps = -(-macs // machine.peak_macs), folds.shape[0] * m
    causes = {
        "compute": even, "imbalance": steps - even, "bandwidth": int(stream.sum()) - steps,
        "stationary": int(load.sum()), "fill": folds.shape[0] * fill, "dram": waiting + last,
    }  # fmt: skip
    dram_read, dram_write = int(read.sum()), -(-m * n * machine.output_bits // 8)
    sram = dram_read + dram_write + int(values.sum() + sent.sum()) * machine.value_bits // 8
    return Work(total + last, macs, causes, dram_read, dram_write, sram, {"folds": folds.shape[0]})


def _traffic(
    values: Ints, done: Ints, shape: tuple[int, int, int], kept: tuple[int, int], machine: PeConfig
) -> tuple[Ints, Ints]:
    """Bytes read for each fold and written after it: inputs again each fold unless half their buffer holds them."""
    m, n, k = shape
    share = np.diff(np.cumsum(values) * (n * k) // max(1, kept[0]), prepend=0)
    read = -(-(values * machine.weight_bits + share) // 8)
    inputs = -(-(kept[1] * machine.value_bits + m * k) // 8)
    if inputs <= machine.buffers.input // 2:
        read[:1] += inputs
    else:
        read += inputs
    return read, done * m * machine.output_bits // 8


@njit(cache=True)  # type: ignore[untyped-decorator]
def _folds(pointers: Ints, columns: Columns, sent: Ints, m: int, room: int, span: int) -> Ints:
    """Folds (values, busiest port's values sent, values sent, rows at once, rows done, whether the first multiplier
    takes a sum so far) of rows of non-zeros.

    ``sent`` are the values of each k that the streamed operand sends in all its ``m`` rows.
    """
    n = pointers.size - 1
    folds = np.zeros((n + columns.size // max(1, room - 1) + 1, 6), np.int64)
    seen = np.full(sent.size, -1, np.int64)
    fold, at, port_sent = 0, 0, 0
    for row in range(n):
        left = pointers[row + 1] - pointers[row]
        if at and at + left > room:
            fold, at, port_sent = fold + 1, 0, 0
        if left:
            folds[fold, 3] += 1
        for place in range(pointers[row], pointers[row + 1]):
            if at == room:
                fold, at, port_sent = fold + 1, 1, m
                folds[fold, 1:4], folds[fold, 5] = (m, m, 1), 1
            if at % span == 0:
                port_sent = 0
            stamp = fold * room + at // span
            if seen[columns[place]] != stamp:
                seen[columns[place]] = stamp
                port_sent += sent[columns[place]]
                folds[fold, 2] += sent[columns[place]]
                folds[fold, 1] = max(folds[fold, 1], port_sent)
            folds[fold, 0] += 1
            at += 1
        folds[fold, 4] += 1
        if left > room:
            fold, at, port_sent = fold + 1, 0, 0
    return folds[: fold + (at > 0)]


ENGINES.register("sigma")(Sigma())
