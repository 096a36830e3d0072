"""Bits of metadata, and the groups along a row that N:M and bank formats share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def index_bits(values: int) -> int:
    """Bits that tell ``values`` positions apart, at least one."""
    return max(1, (values - 1).bit_length())


def pack(numbers: Array, width: int) -> NDArray[np.uint8]:
    """Unsigned ``numbers`` of ``width`` bits each, lowest bit first, packed into bytes."""
    bits = (numbers.astype(np.uint64).reshape(-1, 1) >> np.arange(width, dtype=np.uint64)) & np.uint64(1)
    return np.packbits(bits.astype(np.uint8), bitorder="little")


def unpack(packed: NDArray[np.uint8], width: int, count: int) -> NDArray[np.int64]:
    """``count`` numbers of ``width`` bits from bytes that pack() made."""
    bits = np.unpackbits(packed, count=width * count, bitorder="little").reshape(count, width)
    numbers: NDArray[np.int64] = (bits.astype(np.int64) << np.arange(width, dtype=np.int64)).sum(axis=1)
    return numbers


def grouped(array: Array, size: int) -> Array:
    """(rows, cols) as (rows, groups, size), the last group filled up with zeros."""
    rows, cols = array.shape
    groups = -(-cols // size)
    padded = np.zeros((rows, groups * size), array.dtype)
    padded[:, :cols] = array
    return padded.reshape(rows, groups, size)


def kept_first(mask: NDArray[np.bool_], keep: int) -> NDArray[np.int64]:
    """Ascending positions of ``keep`` slots on the last axis: all that ``mask`` sets, then filling."""
    order = np.argsort(~mask, axis=-1, kind="stable")
    return np.sort(order[..., :keep], axis=-1).astype(np.int64)
