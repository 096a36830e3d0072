"""Beats picked by hand for the blocks whose work depends on the data, with the answers worked out by hand."""

from __future__ import annotations

import numpy as np

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


def _filled(rows: list[list[int]], lanes: int) -> list[list[int]]:
    return [row + [0] * (lanes - len(row)) for row in rows]
