# SPDX-License-Identifier: Apache-2.0
"""Inner join of bitmaps: which values of two compressed streams meet, and the cycles that finding them takes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints, Mask, ceil_div
from simsparse.dataflow.handshake.service import Service
from simsparse.errors import SpecError

LATENCY_CYCLES = 2
"""From the cycle in which a tile is taken to the first in which its first beat is offered."""
WORD_BITS = 64

Words = NDArray[np.uint64]


def intersect(mask_a: Mask, mask_b: Mask) -> tuple[Ints, Ints, Ints]:
    """Matches of tiles (tiles, width): (tile of each, its place among A's kept values, and among B's).

    Matches ascend by tile and element.
    """
    tile, element = np.nonzero(mask_a & mask_b)
    below_a, below_b = (np.cumsum(mask, axis=1, dtype=np.int64) - mask for mask in (mask_a, mask_b))
    return tile, below_a[tile, element], below_b[tile, element]


def intersect_service(mask_a: Mask, mask_b: Mask, matches: int) -> Service:
    """What tiles (tiles, width) ask of a join that finds up to ``matches`` a cycle: a beat each cycle, at least one.

    Source: derived; checked against rtl/bitmap_intersect.sv cycle by cycle.
    """
    found = np.count_nonzero(mask_a & mask_b, axis=1)
    gives = np.maximum(1, ceil_div(found, matches)).astype(np.int64)
    return Service(np.zeros_like(gives), gives)


def intersect_cycles(mask_a: Mask, mask_b: Mask, width: int, matches: int) -> Ints:
    """Cycles (m, n) that a join is busy with each row of A (m, k) against each row of B (n, k).

    Rows are cut into tiles of ``width`` elements, the last one filled up with zeros; a tile takes as many cycles as
    its matches need at ``matches`` a cycle, and one when there is none. From a first tile taken to a last beat given
    are LATENCY_CYCLES more less one, when nothing stalls. Raises SpecError when the masks differ in k, or
    ``width`` or ``matches`` is below 1. Source: as intersect_service.
    """
    if mask_a.ndim != 2 or mask_b.ndim != 2 or mask_a.shape[1] != mask_b.shape[1]:
        raise SpecError(f"masks {mask_a.shape} and {mask_b.shape}; expected (m, k) and (n, k)", key="intersect")
    if min(width, matches) < 1:
        raise SpecError(f"width {width}, matches {matches}; expected at least 1", key="intersect")
    cycles: Ints = _all_pairs(_tiled(mask_a, width), _tiled(mask_b, width), matches)
    return cycles


def _tiled(mask: Mask, width: int) -> Words:
    """Bits of a mask (rows, k) as words (rows, tiles, words of a tile)."""
    rows, k = mask.shape
    tiles, words = ceil_div(k, width), ceil_div(width, WORD_BITS)
    padded = np.zeros((rows, tiles * width), np.bool_)
    padded[:, :k] = mask
    bits = np.zeros((rows, tiles, words * WORD_BITS), np.bool_)
    bits[:, :, :width] = padded.reshape(rows, tiles, width)
    return np.packbits(bits, axis=2, bitorder="little").view(np.uint64)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _all_pairs(a: Words, b: Words, matches: int) -> Ints:
    cycles = np.zeros((a.shape[0], b.shape[0]), np.int64)
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            for tile in range(a.shape[1]):
                found = 0
                for word in range(a.shape[2]):
                    found += _ones(a[i, tile, word] & b[j, tile, word])
                cycles[i, j] += max(1, (found + matches - 1) // matches)
    return cycles


@njit(cache=True)  # type: ignore[untyped-decorator]
def _ones(word: np.uint64) -> int:
    """Set bits of a word: sums of neighbours in pairs, fours, eights, then of the bytes (Hacker's Delight, 5-1)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((word * np.uint64(0x0101010101010101)) >> np.uint64(56))
