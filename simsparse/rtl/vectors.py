# SPDX-License-Identifier: Apache-2.0
"""Numbers of a stream's fields, and the bit vectors that carry them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Beats = Mapping[str, NDArray[np.int64]]
"""Integers (beats, lanes) by field."""

WORD_BITS = 32


@dataclass(frozen=True)
class Field:
    """A port of ``lanes`` numbers of ``bits`` each, the first in the low bits."""

    name: str
    bits: int
    lanes: int = 1
    signed: bool = False

    @property
    def width(self) -> int:
        """Bits of the port."""
        return self.bits * self.lanes


@dataclass(frozen=True)
class Channel:
    """A ready/valid stream: ports ``prefix``valid and ``prefix``ready, and those of its fields."""

    prefix: str
    fields: tuple[Field, ...]


def width(fields: tuple[Field, ...]) -> int:
    """Bits of all ``fields``."""
    return sum(field.width for field in fields)


def words(fields: tuple[Field, ...]) -> int:
    """Words of a vector, at least three: narrower ports would have other types in C++."""
    return max(3, -(-width(fields) // WORD_BITS))


def pack(fields: tuple[Field, ...], beats: Beats, count: int) -> NDArray[np.uint32]:
    """``count`` beats as vectors (beats, words), the first field in the low bits."""
    bits = np.zeros((count, words(fields) * WORD_BITS), np.uint8)
    low = 0
    for field in fields:
        octets = np.ascontiguousarray(beats[field.name], "<i8").view(np.uint8).reshape(count, field.lanes, 8)
        split = np.unpackbits(octets[:, :, : -(-field.bits // 8)], axis=2, count=field.bits, bitorder="little")
        bits[:, low : low + field.width] = split.reshape(count, field.width)
        low += field.width
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint32)


def unpack(fields: tuple[Field, ...], vectors: NDArray[np.uint32]) -> dict[str, NDArray[np.int64]]:
    """The numbers that pack() packed."""
    count = vectors.shape[0]
    bits = np.unpackbits(np.ascontiguousarray(vectors).view(np.uint8), axis=1, bitorder="little")
    numbers, low = {}, 0
    for field in fields:
        split = bits[:, low : low + field.width].reshape(count, field.lanes, field.bits)
        octets = np.zeros((count, field.lanes, 8), np.uint8)
        octets[:, :, : -(-field.bits // 8)] = np.packbits(split, axis=2, bitorder="little")
        numbers[field.name] = _sign(field, octets.view("<i8")[:, :, 0].astype(np.int64))
        low += field.width
    return numbers


def wrapped(numbers: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Signed numbers modulo 2**bits."""
    half = np.int64(1) << (bits - 1)
    return ((numbers + half) & ((half << 1) - 1)) - half


def _sign(field: Field, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return wrapped(numbers, field.bits) if field.signed else numbers
