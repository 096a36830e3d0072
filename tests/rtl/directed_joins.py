# SPDX-License-Identifier: Apache-2.0
"""Beats picked by hand for the blocks whose work depends on the data, with the answers worked out by hand."""

from __future__ import annotations

import numpy as np

from simsparse.rtl.blocks.hash_accumulate import SpadHashAccumulate
from simsparse.rtl.blocks.intersect import BitmapIntersect
from simsparse.rtl.vectors import Beats

Rows = dict[str, list[list[int]]]


def intersect(block: BitmapIntersect) -> tuple[Beats, Rows]:
    """Everything with the top bit alone, either way; everything with everything; halves that do not meet; nothing."""
    width, lanes = block.width, block.matches
    full, none, top = [1] * width, [0] * width, [0] * (width - 1) + [1]
    low, high = [1] * (width // 2) + [0] * (width - width // 2), [0] * (width // 2) + [1] * (width - width // 2)
    tiles = [(full, top), (top, full), (low, high), (full, full), (none, full), (full, none), (none, none)]
    counted = [list(range(start, min(start + lanes, width))) for start in range(0, width, lanes)]
    offsets_a = [[width - 1], [0], [], *counted, [], [], []]
    offsets_b = [[0], [width - 1], [], *counted, [], [], []]
    ends = [1, 1, 1, *[0] * (len(counted) - 1), 1, 1, 1, 1]
    beats = {name: np.array([tile[i] for tile in tiles], np.int64) for i, name in enumerate(("bitmap_a", "bitmap_b"))}
    answers = {
        "match": [[1] * len(row) + [0] * (lanes - len(row)) for row in offsets_a],
        "offset_a": _filled(offsets_a, lanes), "offset_b": _filled(offsets_b, lanes), "last": [[end] for end in ends],
    }  # fmt: skip
    return beats, answers


def accumulate(block: SpadHashAccumulate) -> tuple[Beats, Rows]:
    """A key three times round another of its slot; as many keys as slots and one more; then a row of nothing."""
    depth, spare = block.depth, (1 << block.key_bits) > block.depth
    other = depth if spare else 1
    keys = [0, other, 0, 0, *range(1, depth + spare), 0, 0]
    count = len(keys)
    beats = {
        "insert": np.array([[1]] * (count - 1) + [[0]], np.int64),
        "last": np.array([[int(i in (3, count - 2, count - 1))] for i in range(count)], np.int64),
        "key": np.array([[key] for key in keys], np.int64),
        "value": np.array([[value] for value in (5, -7, 6, -1, *[-2] * (count - 5), 9)], np.int64),
    }
    # One key more than slots: the home slot of key `depth` is 0, so key 0, the last to come, finds none.
    second = [(depth, -2), *((key, -2) for key in range(1, depth))] if spare else [(key, -2) for key in range(depth)]
    answers = {
        "entry": [[1], [1], *[[1]] * depth, [0]], "last": [[0], [1], *[[0]] * (depth - 1), [1], [1]],
        "overflow": [[0], [0], *[[int(spare)]] * depth, [0]],
        "key": [[0], [other], *([key] for key, _ in second), [0]],
        "sum": [[10], [-7], *([total] for _, total in second), [0]],
    }  # fmt: skip
    return beats, answers


def _filled(rows: list[list[int]], lanes: int) -> list[list[int]]:
    return [row + [0] * (lanes - len(row)) for row in rows]
