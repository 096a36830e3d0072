# SPDX-License-Identifier: Apache-2.0
"""Bits of metadata, and the groups along a row that N:M and bank formats share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_LANES = 8
_NARROW = 24  # bits that a byte's shift leaves within 32


def index_bits(values: int) -> int:
    """Bits that tell ``values`` positions apart, at least one."""
    return max(1, (values - 1).bit_length())


def pack(numbers: Array, width: int) -> NDArray[np.uint8]:
    """Unsigned ``numbers`` of ``width`` bits each, at most 32, lowest bit first, packed into bytes."""
    flat = numbers.reshape(-1)
    if width == 1:
        return np.packbits(flat.astype(np.bool_), bitorder="little")
    if width in (8, 16, 32):
        return flat.astype(f"<u{width // 8}").view(np.uint8)
    groups = -(-flat.size // _LANES)
    padded = np.zeros(groups * _LANES, _word(width))
    padded[: flat.size] = flat
    lanes = (padded & padded.dtype.type((1 << width) - 1)).reshape(groups, _LANES)
    packed = np.zeros((groups, width), np.uint8)
    for byte, lane, shift in _overlaps(width):
        packed[:, byte] |= _shifted(lanes[:, lane], shift).astype(np.uint8)
    return packed.reshape(-1)[: -(-width * flat.size // 8)]


def unpack(packed: NDArray[np.uint8], width: int, count: int) -> NDArray[np.int64]:
    """``count`` numbers of ``width`` bits from bytes that pack() made."""
    if width == 1:
        return np.unpackbits(packed, count=count, bitorder="little").astype(np.int64)
    if width in (8, 16, 32):
        return packed.view(f"<u{width // 8}").astype(np.int64)
    groups = -(-count // _LANES)
    padded = np.zeros(groups * width, np.uint8)
    padded[: packed.size] = packed
    numbers = np.zeros((groups, _LANES), _word(width))
    for byte, lane, shift in _overlaps(width):
        numbers[:, lane] |= _shifted(padded[byte::width].astype(numbers.dtype), -shift)
    return numbers.reshape(-1)[:count].astype(np.int64) & ((1 << width) - 1)


def _overlaps(width: int) -> Iterator[tuple[int, int, int]]:
    """(byte, lane, left shift): how eight numbers of ``width`` bits lie in ``width`` bytes."""
    for byte in range(width):
        for lane in range(8 * byte // width, (8 * byte + 7) // width + 1):
            yield byte, lane, lane * width - 8 * byte


def _word(width: int) -> np.dtype[Any]:
    return np.dtype(np.uint32 if width <= _NARROW else np.uint64)


def _shifted(numbers: Array, left: int) -> Array:
    kind = numbers.dtype.type
    moved: Array = numbers << kind(left) if left >= 0 else numbers >> kind(-left)
    return moved


def grouped(array: Array, size: int) -> Array:
    """(rows, cols) as (rows, groups, size), the last group filled up with zeros."""
    rows, cols = array.shape
    groups = -(-cols // size)
    if groups * size == cols:
        return array.reshape(rows, groups, size)
    padded = np.zeros((rows, groups * size), array.dtype)
    padded[:, :cols] = array
    return padded.reshape(rows, groups, size)


def kept_first(mask: NDArray[np.bool_], keep: int) -> NDArray[np.int64]:
    """Ascending positions of ``keep`` slots on the last axis: all that ``mask`` sets, then the first others."""
    size = mask.shape[-1]
    if size > _LANES:
        return _ranked_first(mask, keep)
    patterns = (np.arange(1 << size)[:, None] >> np.arange(size)) & 1
    codes = np.zeros(mask.shape[:-1], np.uint8)
    for position in range(size):
        codes |= mask[..., position].view(np.uint8) << np.uint8(position)
    return _ranked_first(patterns != 0, keep)[codes]


def _ranked_first(mask: NDArray[np.bool_], keep: int) -> NDArray[np.int64]:
    """kept_first() by how many are set up to each slot; quick on a long last axis."""
    size, keep = mask.shape[-1], min(keep, mask.shape[-1])
    kind = np.min_scalar_type(-size - 1)
    rank = np.cumsum(mask, axis=-1, dtype=kind)
    filling = np.arange(1, size + 1, dtype=kind) - rank <= keep - rank[..., -1:]
    chosen = np.where(mask, rank <= keep, filling)
    return np.nonzero(chosen)[-1].reshape(*mask.shape[:-1], keep)
