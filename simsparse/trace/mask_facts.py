"""The structure of a mask of non-zeros: groups, banks, blocks, rows and columns; NumPy only.

Masks are (rows, k), the reduction k last, and are counted on their packed bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simsparse.core import DENSE, Sparsity

GROUPS = (4, 8, 16)
NM_GROUPS = (4, 8, 16, 32)
BANKS = (16, 32, 64)
BLOCKS = (4, 8, 16, 32)
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
MAX_NM_RATIO = 0.75
MIN_FILL = 0.75
MAX_STORED = 0.875
DIGITS = 4
_POPULATION = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)

Mask = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Counts = NDArray[np.uint8]


def mask_facts(mask: Mask) -> dict[str, Any]:
    """What a mask (rows, k) shows, as docs/trace-format.md describes; a mask without zeros only its density.

    A group, block or row that the mask's edge cuts counts as if zeros filled it; banks are whole ones.
    """
    kept = int(np.count_nonzero(mask))
    facts: dict[str, Any] = {"density": share(kept, mask.size)}
    if kept == mask.size:
        return facts
    fours = _fours(mask)
    rows, columns = fours.sum(axis=1, dtype=np.int64), mask.view(np.uint8).sum(axis=0, dtype=np.int64)
    facts["groups"] = {str(m): _histogram(_merged(fours, m), m) for m in GROUPS}
    facts["banks"] = {str(m): _spread(fours, m, mask.shape[1]) for m in BANKS if m <= mask.shape[1]}
    facts["blocks"] = {str(edge): _block_density(fours, edge) for edge in BLOCKS}
    facts["rows"], facts["columns"] = _quantiles(rows, mask.shape[1]), _quantiles(columns, mask.shape[0])
    facts["zero_rows"] = share(int((rows == 0).sum()), len(rows))
    facts["zero_columns"] = share(int((columns == 0).sum()), len(columns))
    return facts


def conforming(facts: dict[str, Any], n: int, m: int) -> float:
    """Share of the groups of ``m`` with at most ``n`` non-zeros, from what ``mask_facts`` gave."""
    histogram = facts.get("groups", {}).get(str(m), [0.0] * m + [1.0])
    return float(sum(histogram[: n + 1]))


def nm_patterns(mask: Mask) -> list[Sparsity]:
    """N:M for M of 4, 8, 16 and 32 up to k: N the most non-zeros of any group, where that is fewer than M."""
    fours = _fours(mask)
    most = {m: max(1, int(_merged(fours, m).max())) for m in NM_GROUPS if m <= mask.shape[1]}
    return [Sparsity.parse(f"{n}:{m}") for m, n in most.items() if n < m]


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
    stored = {p: p.stored_bits(rows, cols, value_bits) for p in (*structured, *_loose_patterns(mask))}
    return min((p for p, bits in stored.items() if bits <= worth), key=stored.__getitem__, default=DENSE)


def _loose_patterns(mask: Mask) -> list[Sparsity]:
    density = int(np.count_nonzero(mask)) / mask.size
    if not 0.0 < density < 1.0:
        return []
    fours = _fours(mask)
    found = [Sparsity.parse(f"unstructured:{density!r}")]
    found += [Sparsity.parse(f"bank{m}:{count / m!r}") for m in BANKS if (count := _equal_count(mask, fours, m))]
    return found + [Sparsity.parse(f"block{edge}:{float(_blocks(fours, edge).mean())!r}") for edge in BLOCKS]


def _equal_count(mask: Mask, fours: Counts, m: int) -> int:
    """The one count of all banks of ``m``; 0 where they differ or ``m`` does not divide the row."""
    if mask.shape[1] % m:
        return 0
    counts = _merged(fours, m)
    return int(counts.min()) if counts.min() == counts.max() else 0


def _fours(mask: Mask) -> Counts:
    """Non-zeros of every four along k, shape (rows, ceil(k / 4))."""
    packed: Bytes = np.packbits(mask, axis=1)
    halves = np.stack([_POPULATION[packed >> 4], _POPULATION[packed & 15]], axis=-1).reshape(len(mask), -1)
    return np.asarray(halves[:, : -(-mask.shape[1] // 4)])


def _merged(fours: Counts, m: int) -> Counts:
    """Non-zeros of every ``m`` along k, a power of two, from those of every four."""
    merged = fours
    for _ in range((m // 4).bit_length() - 1):
        even, odd = merged[:, 0::2], merged[:, 1::2]
        merged = even.copy()
        merged[:, : odd.shape[1]] += odd
    return merged


def _histogram(counts: Counts, m: int) -> list[float]:
    """Share of the groups with 0, 1, ..., ``m`` non-zeros."""
    return [share(int(n), counts.size) for n in np.bincount(counts.ravel(), minlength=m + 1)]


def _spread(fours: Counts, m: int, k: int) -> list[int]:
    """Least, median (the lower) and most non-zeros of the whole banks of ``m``."""
    counts = _merged(fours, m)[:, : k // m]
    up_to = np.cumsum(np.bincount(counts.ravel(), minlength=m + 1))
    return [int(np.searchsorted(up_to, place, side="right")) for place in (0, (counts.size - 1) // 2, counts.size - 1)]


def _blocks(fours: Counts, edge: int) -> Mask:
    """Which square blocks hold a non-zero."""
    columns = _merged(fours, edge) > 0
    padded = np.pad(columns, ((0, -len(columns) % edge), (0, 0)))
    return np.asarray(padded.reshape(-1, edge, columns.shape[1]).any(axis=1))


def _block_density(fours: Counts, edge: int) -> float:
    found = _blocks(fours, edge)
    return share(int(found.sum()), found.size)


def _quantiles(counts: Counts, size: int) -> list[float]:
    """Densities at QUANTILES, each that of a row which is there (the lower of two)."""
    chosen = np.quantile(counts, QUANTILES, method="lower")
    return [share(int(count), size) for count in chosen]


def share(part: int, whole: int) -> float:
    """``part / whole`` to four digits, never rounded to 0 or 1; 0 of nothing."""
    if not whole or part in (0, whole):
        return float(bool(whole) and part == whole)
    least = 10.0**-DIGITS
    return round(min(max(part / whole, least), 1.0 - least), DIGITS)
