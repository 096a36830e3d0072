# SPDX-License-Identifier: Apache-2.0
"""The structure of a mask of non-zeros: groups, banks, blocks, rows and columns; NumPy only.

Masks are (rows, k), the reduction k last, and are counted on their packed bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simsparse.core import DENSE, Sparsity
from simsparse.sparsity.patterns.nm import NM

GROUPS = (4, 8, 16)
NM_GROUPS = (4, 8, 16, 32)
BANKS = (16, 32, 64)
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
MAX_NM_RATIO = 0.75
MIN_FILL = 0.75
MAX_STORED = 0.875
DIGITS = 4
_BYTES = np.arange(256, dtype=np.uint8)
_POPULATION = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)

Mask = NDArray[np.bool_]
PackedMask = NDArray[np.uint8]
GroupCounts = NDArray[np.uint8]
Counts = NDArray[np.int64]


def mask_facts(mask: Mask) -> dict[str, Any]:
    """What a mask (rows, k) shows, as docs/trace-format.md describes; a mask without zeros only its density.

    A group, block or row that the mask's edge cuts counts as if zeros filled it; banks are whole ones.
    """
    kept = int(np.count_nonzero(mask))
    facts: dict[str, Any] = {"density": share(kept, mask.size)}
    if kept == mask.size:
        return facts
    packed = np.packbits(mask, axis=1)
    counts, blocks = _byte_counts(packed), _blocks(packed, mask.shape[1])
    rows, columns = counts[8].sum(axis=1, dtype=np.int64), _column_sums(mask)
    facts["groups"] = {str(m): _shares(number) for m, number in _group_numbers(packed, counts, mask.shape[1]).items()}
    facts["banks"] = {str(m): _spread(counts[m], m, mask.shape[1]) for m in BANKS if m <= mask.shape[1]}
    facts["blocks"] = {str(edge): share(int(hit.sum()), hit.size) for edge, hit in blocks.items()}
    facts["rows"], facts["columns"] = _quantiles(rows, mask.shape[1]), _quantiles(columns, mask.shape[0])
    facts["zero_rows"] = share(int((rows == 0).sum()), len(rows))
    facts["zero_columns"] = share(int((columns == 0).sum()), len(columns))
    return facts


def conforming(facts: dict[str, Any], n: int, m: int) -> float:
    """Share of the groups of ``m`` with at most ``n`` non-zeros, from what ``mask_facts`` gave."""
    histogram = facts.get("groups", {}).get(str(m), [0.0] * m + [1.0])
    return float(sum(histogram[: n + 1]))


def nm_patterns(mask: Mask) -> list[NM]:
    """N:M for M of 4, 8, 16 and 32 up to k: N the most non-zeros of any group, where that is fewer than M."""
    counts = _counts(mask)
    most = {m: max(1, int(counts[m].max())) for m in NM_GROUPS if m <= mask.shape[1]}
    return [NM(n, m) for m, n in most.items() if n < m]


def pattern_of(mask: Mask, value_bits: int) -> Sparsity:
    """The pattern that serves a weight best.

    The N:M of least N/M (smallest M on a tie) that all groups keep, with N/M up to 3/4 and non-zeros
    in at least 3/4 of what it stores; else the one of the fewest stored bits among all such N:M,
    banks of equal count, square blocks and no structure, where that is up to 7/8 of dense; else dense.
    """
    (rows, cols), density = mask.shape, np.count_nonzero(mask) / mask.size
    structured = [pattern for pattern in nm_patterns(mask) if pattern.density <= MAX_NM_RATIO]
    if tight := [pattern for pattern in structured if density >= MIN_FILL * pattern.density]:
        return min(tight, key=lambda pattern: (pattern.density, pattern.m))
    worth = MAX_STORED * DENSE.stored_bits(rows, cols, value_bits)
    candidates: list[Sparsity] = [*structured, *_loose_patterns(mask)]
    stored = {p: p.stored_bits(rows, cols, value_bits) for p in candidates}
    return min((p for p, bits in stored.items() if bits <= worth), key=stored.__getitem__, default=DENSE)


def _loose_patterns(mask: Mask) -> list[Sparsity]:
    density = int(np.count_nonzero(mask)) / mask.size
    if not 0.0 < density < 1.0:
        return []
    counts, k = _counts(mask), mask.shape[1]
    balanced = {m: int(counts[m].min()) for m in BANKS if k % m == 0 and counts[m].min() == counts[m].max()}
    found = [Sparsity.parse(f"unstructured:{density!r}")]
    found += [Sparsity.parse(f"bank{m}:{count / m!r}") for m, count in balanced.items() if count]
    blocks = _blocks(np.packbits(mask, axis=1), mask.shape[1])
    return found + [Sparsity.parse(f"block{edge}:{float(hit.mean())!r}") for edge, hit in blocks.items()]


def _counts(mask: Mask) -> dict[int, GroupCounts]:
    """Non-zeros of every 4, 8, 16, 32 and 64 along k, each of shape (rows, groups)."""
    packed: PackedMask = np.packbits(mask, axis=1)
    halves = np.stack([_POPULATION[packed >> 4], _POPULATION[packed & 15]], axis=-1).reshape(len(mask), -1)
    return {4: np.asarray(halves[:, : -(-mask.shape[1] // 4)]), **_byte_counts(packed)}


def _byte_counts(packed: PackedMask) -> dict[int, GroupCounts]:
    """Non-zeros of every 8, 16, 32 and 64 along k, each of shape (rows, groups)."""
    counts: dict[int, GroupCounts] = {8: _POPULATION[packed]}
    for m in (16, 32, 64):
        even, odd = counts[m // 2][:, 0::2], counts[m // 2][:, 1::2]
        counts[m] = even.copy()
        counts[m][:, : odd.shape[1]] += odd
    return counts


def _column_sums(mask: Mask) -> Counts:
    """Non-zeros of each column, added up in bytes as far as these hold."""
    whole = len(mask) // 255 * 255
    bytes_ = mask.view(np.uint8)
    parts = bytes_[:whole].reshape(-1, 255, mask.shape[1]).sum(axis=1, dtype=np.uint8)
    return np.asarray(parts.sum(axis=0, dtype=np.int64) + bytes_[whole:].sum(axis=0, dtype=np.int64))


def _blocks(packed: PackedMask, k: int) -> dict[int, Mask]:
    """Which square blocks hold a non-zero, by their edge."""
    padded = np.pad(packed, ((0, -len(packed) % 4), (0, 0)))
    joined = np.bitwise_or.reduce(padded.reshape(-1, 4, packed.shape[1]), axis=1)
    halves = np.stack([(joined & 240) > 0, (joined & 15) > 0], axis=-1).reshape(len(joined), -1)
    hits = {4: np.asarray(halves[:, : -(-k // 4)])}
    for edge in (8, 16, 32):
        half = hits[edge // 2]
        even = np.pad(half, ((0, len(half) % 2), (0, half.shape[1] % 2)))
        hits[edge] = even[0::2, 0::2] | even[0::2, 1::2] | even[1::2, 0::2] | even[1::2, 1::2]
    return hits


def _group_numbers(packed: PackedMask, counts: dict[int, GroupCounts], k: int) -> dict[int, Counts]:
    """How many groups of 4, 8 and 16 have 0, 1, ... non-zeros; those of 4 and 8 from the numbers of equal bytes."""
    same = np.bincount(packed.ravel(), minlength=256)
    halves = _added_up(_POPULATION[_BYTES >> 4], same, 4) + _added_up(_POPULATION[_BYTES & 15], same, 4)
    if 0 < k % 8 <= 4:
        halves[0] -= len(packed)  # the second half of a row's last byte is no group
    wide = np.bincount(counts[16].ravel(), minlength=17)
    return {4: halves, 8: _added_up(_POPULATION, same, 8), 16: wide}


def _added_up(of_byte: GroupCounts, number: Counts, most: int) -> Counts:
    """``number`` of each byte, added up by what a byte counts."""
    found = np.zeros(most + 1, np.int64)
    np.add.at(found, of_byte, number)
    return found


def _shares(number: Counts) -> list[float]:
    """Each of the numbers as a share of their sum."""
    total = int(number.sum())
    return [share(int(n), total) for n in number]


def _spread(counts: GroupCounts, m: int, k: int) -> list[int]:
    """Least, median (the lower) and most non-zeros of the whole banks of ``m``."""
    whole = counts[:, : k // m]
    up_to = np.cumsum(np.bincount(whole.ravel(), minlength=m + 1))
    return [int(np.searchsorted(up_to, place, side="right")) for place in (0, (whole.size - 1) // 2, whole.size - 1)]


def _quantiles(counts: Counts, size: int) -> list[float]:
    """Densities at QUANTILES, each that of a row which is there (the lower of two)."""
    up_to = np.cumsum(np.bincount(counts))
    places = [math.floor((len(counts) - 1) * quantile) for quantile in QUANTILES]
    return [share(int(np.searchsorted(up_to, place, side="right")), size) for place in places]


def share(part: int, whole: int) -> float:
    """``part / whole`` to four digits, never rounded to 0 or 1; 0 of nothing."""
    if not whole or part in (0, whole):
        return float(bool(whole) and part == whole)
    least = 10.0**-DIGITS
    return round(min(max(part / whole, least), 1.0 - least), DIGITS)
