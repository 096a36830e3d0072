# SPDX-License-Identifier: Apache-2.0
"""Beats picked by hand for each block, with the answers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.handshake.gemm_stream import GemmRequest
from simsparse.rtl.block import RtlBlock
from simsparse.rtl.blocks.decompress import NMDecompress
from simsparse.rtl.blocks.dense_pe import DotAccumulate
from simsparse.rtl.blocks.dot_pe import NMDotPE
from simsparse.rtl.blocks.encode24 import NMEncode24
from simsparse.rtl.blocks.floating import NMDotPEFp16
from simsparse.rtl.blocks.gemm_top import NMGemmTop
from simsparse.rtl.blocks.hash_accumulate import SpadHashAccumulate
from simsparse.rtl.blocks.intersect import BitmapIntersect
from simsparse.rtl.blocks.prune import NMPrune
from simsparse.rtl.blocks.requantise import NMRequantise
from simsparse.rtl.blocks.select import NMSelect
from simsparse.rtl.blocks.systolic import NMSystolicArray
from simsparse.rtl.blocks.tensor_core import SparseTensorCore24
from simsparse.rtl.gemm_requests import Register, after, encoded, of_job, program
from simsparse.rtl.stimulus import corners
from simsparse.rtl.vectors import Beats
from tests.rtl import directed_floating, directed_joins

Rows = dict[str, list[list[int]]]
Directed = tuple[Beats, Rows]

LOW = -128


def directed(block: RtlBlock) -> Directed:
    """Input beats of ``block`` and the output columns that are known by hand."""
    return next((made(block) for kind, made in _BY_KIND.items() if isinstance(block, kind)), _cell())


def _cell() -> Directed:
    """What a cell passes on as it is."""
    rows = [[value] for value in (*corners(8), 1, 2, 3, 4, 5, 6, 7)]
    return {"data": _array(rows)}, {"data": rows}


def _select(block: NMSelect) -> Directed:
    """Activation i is i + 1: in sparse mode operands are indexes plus one, in dense mode 1, 2, ..."""
    ladder = list(range(1, block.m + 1))
    last = list(range(block.m - block.n, block.m))
    beats = {
        "dense": _array([[0], [1], [0]]), "activation": _array([ladder] * 3),
        "index": _array([last, last, [block.m - 1] * block.n]), "user": _array([[1], [2], [3]]),
    }  # fmt: skip
    answers = [[index + 1 for index in last], ladder[: block.n], [block.m] * block.n]
    return beats, {"operand": answers, "user": [[1], [2], [3]]}


def _dot(block: NMDotPE) -> Directed:
    """The first N activations are chosen."""
    beats, sums = _products(block.n, block.m, block.acc_bits)
    count = len(beats["last"])
    index = _array([list(range(block.n))] * count)
    return {**beats, "dense": np.zeros((count, 1), np.int64), "index": index}, sums


def _products(weights: int, activations: int, acc_bits: int) -> Directed:
    """Sums of -128 * -128 and of 127 * -128, one beat and eight beats long, then 0."""
    lengths, values = (1, 8, 1, 8, 1), (LOW, LOW, 127, 127, 0)
    count = sum(lengths)
    last = np.zeros((count, 1), np.int64)
    last[np.cumsum(lengths) - 1] = 1
    beats = {
        "last": last, "activation": np.full((count, activations), LOW),
        "weight": np.repeat(_array([[value] * weights for value in values]), lengths, axis=0),
    }  # fmt: skip
    modulo, half = 1 << acc_bits, 1 << (acc_bits - 1)
    sums = [length * weights * LOW * value for length, value in zip(lengths, values, strict=True)]
    return beats, {"sum": [[(total + half) % modulo - half] for total in sums]}


def _decompress(block: NMDecompress) -> Directed:
    """The first and the last legal pattern, then metadata of all zeros and of all ones."""
    width = block.inputs[1]
    low, high = list(range(block.n)), list(range(block.m - block.n, block.m))
    ones = [(1 << width.bits) - 1] * width.lanes
    if block.bitmap:
        low, high = ([int(i in kept) for i in range(block.m)] for kept in (low, high))
    values = list(range(1, block.n + 1))
    metadata = [low, high, [0] * width.lanes, ones]
    gap = [0] * (block.m - block.n)
    single = block.n == 1 and not block.bitmap
    nothing, one_of_each = [0] * block.m, [[*values, *gap], [*gap, *values]]
    dense = [*one_of_each, *(one_of_each if single else [nothing, nothing])]
    errors = [[0], [0], [0 if single else 1], [0 if single else 1]]
    return {"value": _array([values] * 4), "metadata": _array(metadata)}, {"dense": dense, "error": errors}


def _encode(block: NMEncode24) -> Directed:
    """All sixteen patterns, in every group of the word at once."""
    masks = np.array(list(product((0, 1), repeat=4)))[:, ::-1]
    return {"dense": np.tile(masks * np.arange(1, 5), (1, block.groups))}, {}


def _prune(block: NMPrune) -> Directed:
    """Descending, ascending, all equal, and -128 (the largest magnitude) last behind 127s."""
    n, m = block.n, block.m
    groups = [list(range(m, 0, -1)), list(range(1, m + 1)), [-3] * m, [127] * (m - 1) + [LOW]]
    first, last = list(range(n)), list(range(m - n, m))
    kept = [first, last, first, [*range(n - 1), m - 1]]
    values = [[group[i] for i in places] for group, places in zip(groups, kept, strict=True)]
    return {"value": _array(groups).reshape(-1, 1)}, {"value": values, "index": kept}


def _array_folds(block: NMSystolicArray) -> Directed:
    """Three folds of four beats back to back, N:M, dense, N:M: all weights -128, all activations -128.

    A sum then counts multipliers: N a PE, of all rows (weight-stationary) or all beats (output-stationary).
    """
    words = 4 if block.output_stationary else block.rows
    last = [[0], [0], [0], [1]] * 3
    kept = list(range(block.m - block.n, block.m)) * block.cols
    beats = {
        "last": _array(last), "activation": np.full((12, block.rows * block.m), LOW),
        "dense": np.repeat(_array([[0], [1], [0]]), words, axis=0),
        "weight": np.full((3 * words, block.cols * block.n), LOW), "index": _array([kept] * (3 * words)),
    }  # fmt: skip
    half = 1 << (block.acc_bits - 1)
    total = (block.n * words * LOW * LOW + half) % (2 * half) - half
    ends = [[int(row == block.rows - 1)] for _ in range(3) for row in range(block.rows)]
    ends = ends if block.output_stationary else last
    return beats, {"last": ends, "sum": [[total] * block.cols] * len(ends)}


def _tensor_core(block: SparseTensorCore24) -> Directed:
    """Row k of B is k + 1 and A's values are 1: indexes (2, 3), illegal ones twice, indexes (0, 1); C is 7."""
    m, n, k = block.tile_m, block.tile_n, block.tile_k
    nibbles = (0b1110, 0b0000, 0b0001, 0b0100)
    beats = {
        "a": np.ones((4, m * k // 2), np.int64),
        "metadata": np.repeat(_array([[nibble] for nibble in nibbles]), m * k // 4, axis=1),
        "b": np.tile(np.repeat(np.arange(1, k + 1), n), (4, 1)), "c": np.full((4, m * n), 7),
    }  # fmt: skip
    high, low = (sum(8 * group + each for group in range(k // 4)) for each in (3 + 4, 1 + 2))
    return beats, {"d": [[total] * (m * n) for total in (high + 7, 7, 7, low + 7)], "error": [[0], [1], [1], [0]]}


def _gemm(block: NMGemmTop) -> Directed:
    """A dense GEMM of two folds and two tiles, one token, all values -128: serial, overlapped, refused for its tokens,
    aborted in the cycle after its start, and overlapped again; then one tile whose second fold is skipped.

    Serial folds take rows + 1 + rows + cols - 2 cycles each; overlapped ones, of fewer tokens than rows, rows cycles
    each and 1 + rows + cols - 2 once.
    """
    array = block.array
    rows, cols, lanes = array.rows, array.cols, array.cols * array.n
    serial, overlapped = (of_job(GemmRequest(1, 2, 2, each), True) for each in (True, False))
    status, clear = (0, Register.STATUS, 0, 0), (1, Register.ERRORS, 0, 0)
    asked = encoded([
        *serial, *after(), *overlapped, *after(),
        *of_job(GemmRequest(0, 2, 2), True), status, (0, Register.ERRORS, 0, 0), clear, status,
        *overlapped, (1, Register.CONTROL, 2, 0), status, *overlapped, *after(),
        *of_job(GemmRequest(1, 2, 1, sent=(1,)), True), *after(),
    ], [2, 2, 2, 2, 2, 2, 2, 2, 1])  # fmt: skip
    plan = program(asked, block.shape)
    words, tokens = int(plan.words(rows).sum()), int(plan.tokens.sum())
    images = block.memory_images(
        np.full((tokens, rows * array.m), LOW), np.full((words, lanes), LOW), np.zeros((words, lanes), np.int64), plan
    )
    total = 2 * rows * array.n * LOW * LOW
    sums = np.array([[total] * cols] * 6 + [[total // 2] * cols], "<i4").view(np.uint8).tolist()
    slow, fast, single = 4 * (2 * rows + cols - 1), 4 * rows + rows + cols - 1, 2 * rows + cols - 1
    answers = [[slow], [2], [0], [fast], [2], [0], [4], [1], [0], [8], [fast], [2], [0], [single], [2], [0]]
    outputs = {"m_axis_result_tdata": sums, "m_axis_result_tlast": [[0], [1]] * 3 + [[1]], "response_data": answers}
    return {**asked, **images}, outputs


def _requantise(block: NMRequantise) -> Directed:
    """Halves to even, both ends, a zero point that saturates, ReLU; one and two as fp32 are 0x3f8 and 0x400."""
    half, one = 0x3F000000, 0x3F800000
    rows = [
        (1, 0, half, 0, 0, 0), (3, 0, half, 0, 0, 2), (-1, 0, half, 0, 0, 0), (-3, 0, half, 0, 0, -2),
        (2, 3, half, 0, 0, 2), (1000, 0, one, 0, 0, 127), (-1000, 0, one, 0, 0, -128), (100, 0, one, 60, 0, 127),
        (-100, 0, one, -60, 0, -128), (-9, 0, one, 5, 1, 5), (9, 0, one, 5, 1, 14), (2, 0, 0x7F800000, 0, 0, 127),
    ]  # fmt: skip
    sums, bias, scale, zero, relu, values = (
        _array([[number] for number in column]) for column in zip(*rows, strict=True)
    )
    lanes = (1, block.lanes)
    beats = {
        "last": np.arange(len(rows))[:, None] % 2, "sum": np.tile(sums, lanes), "bias": np.tile(bias, lanes),
        "scale": np.tile(scale, lanes), "zero": zero, "relu": relu,
    }  # fmt: skip
    return beats, {"value": np.tile(values, lanes).tolist(), "last": (np.arange(len(rows))[:, None] % 2).tolist()}


def _array(rows: list[list[int]]) -> NDArray[np.int64]:
    return np.array(rows, np.int64)


_BY_KIND: dict[type[RtlBlock], Callable[[Any], Directed]] = {
    NMSelect: _select, NMDotPE: _dot, NMDecompress: _decompress, NMEncode24: _encode, NMPrune: _prune,
    DotAccumulate: lambda block: _products(block.lanes, block.lanes, block.acc_bits),
    NMSystolicArray: _array_folds, NMGemmTop: _gemm, SparseTensorCore24: _tensor_core,
    BitmapIntersect: directed_joins.intersect, SpadHashAccumulate: directed_joins.accumulate,
    NMDotPEFp16: directed_floating.floating, NMRequantise: _requantise,
}  # fmt: skip
