# SPDX-License-Identifier: Apache-2.0
"""QMoE's ternary codebook: rows of zeros and two values as 16-bit numbers of sequences in a fixed dictionary."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats.base import FORMATS, POINTER_BITS, Array, Encoded, Format, matrix
from simsparse.sparsity.formats.bits import pack
from simsparse.sparsity.formats.checks import cropped, stored_numbers, stored_pointers

ENTRIES = 1 << 16
ZERO_PROBABILITY = 0.885
LONGEST_PAIRS = 14
CODE_BITS = 16
DICTIONARY_BITS = ENTRIES * 64
_PAIRS = 9
_NONE = -1


@dataclass(frozen=True)
class Dictionary:
    """``pairs`` (entries, 14) and their ``lengths``; ``next`` (entries + 1, 9) walks from an entry, or from the
    root, which comes last, to the entry that is one pair longer, or to -1."""

    pairs: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    next: NDArray[np.int32]


@cache
def dictionary() -> Dictionary:
    """The 65,536 likeliest sequences of 1 to 14 pairs, if a weight is zero with probability 0.885, else either sign.

    A pair is first + 3 * second of two digits: 0 zero, 1 the row's negative value, 2 its positive one. The likeliest
    comes first, of equals the lexicographically first. Source: IST-DASLab/qmoe, sub1.py, ``setup``; probabilities
    are multiplied in its order, on which the ties depend.
    """
    sequences = _likeliest()
    pairs = np.zeros((ENTRIES, LONGEST_PAIRS), np.uint8)
    lengths = np.array([len(sequence) for sequence in sequences])
    pairs[np.arange(LONGEST_PAIRS) < lengths[:, None]] = np.frombuffer(b"".join(sequences), np.uint8)
    number = {sequence: entry for entry, sequence in enumerate(sequences)} | {b"": ENTRIES}
    following = np.full((ENTRIES + 1, _PAIRS), _NONE, np.int32)
    parents = [number[sequence[:-1]] for sequence in sequences]
    following[parents, [sequence[-1] for sequence in sequences]] = np.arange(ENTRIES)
    return Dictionary(pairs, lengths, following)


def _likeliest() -> list[bytes]:
    digits = [ZERO_PROBABILITY, (1 - ZERO_PROBABILITY) / 2, (1 - ZERO_PROBABILITY) / 2]
    chances = [first * second for first in digits for second in digits]
    queue: list[tuple[float, bytes]] = [(-1.0, b"")]
    found: list[bytes] = []
    while len(found) <= ENTRIES:
        chance, sequence = heapq.heappop(queue)
        found.append(sequence)
        if len(sequence) < LONGEST_PAIRS:
            for pair, share in enumerate(chances):
                heapq.heappush(queue, (chance * share, sequence + bytes([pair])))
    return found[1:]


@FORMATS.register("ternary_codebook")
class TernaryCodebook(Format):
    """A row's digits, two by two, cut greedily into the longest sequences of dictionary().

    Buffers: ``codes``, 16 bits a sequence; ``pointers``, 32 bits, where each row's codes begin; as values, each
    row's negative and positive value (zero if it has none). Units are codes. The dictionary is the same for all
    matrices and not counted; QMoE's table of it takes DICTIONARY_BITS. An odd last digit is paired with a zero.
    QMoE itself stores each row's least and greatest value, which is the same for rows with both signs.
    Source: Frantar and Alistarh, MLSys 2024; IST-DASLab/qmoe, sub1.py and sub1_cuda_kernel.cu.
    """

    name: ClassVar[str] = "ternary_codebook"

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        values = np.stack([self._only(array, array < 0, "negative"), self._only(array, array > 0, "positive")], axis=1)
        if (strange := np.argwhere(np.isnan(array))).size:
            row, col = (int(number) for number in strange[0])
            raise SpecError(f"row {row}, column {col} is not a number", key=self.name)
        codes, counts = self._codes(_digits(array))
        pointers = np.concatenate([[0], np.cumsum(counts)])
        packed = {"codes": pack(codes, CODE_BITS), "pointers": pack(pointers, POINTER_BITS)}
        bits = {"codes": codes.size * CODE_BITS, "pointers": pointers.size * POINTER_BITS}
        return Encoded((rows, cols), values.reshape(-1), packed, bits, codes.size)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        if encoded.values.shape != (2 * rows,):
            raise SpecError(f"shape {encoded.values.shape}; expected ({2 * rows},)", key=f"{self.name}.values")
        pointers = stored_pointers(encoded, self.name, rows)
        codes = stored_numbers(encoded, self.name, "codes", CODE_BITS, encoded.units)
        pairs = self._pairs(codes, pointers, -(-cols // 2))
        digits = np.stack([pairs % 3, pairs // 3], axis=-1).reshape(rows, -(-cols // 2) * 2)
        levels = np.zeros((rows, 3), encoded.values.dtype)
        levels[:, 1:] = encoded.values.reshape(rows, 2)
        return np.take_along_axis(levels, cropped(digits, (rows, cols), self.name), axis=1)

    def units(self, mask: NDArray[Any]) -> int:
        """Codes of a matrix with these signs (rows, cols); of a mask, as if all non-zeros were positive."""
        return int(self._codes(_digits(mask))[0].size)

    def signs(self, mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[Any]:
        """Either sign for half of the non-zeros, as the dictionary assumes."""
        return np.where(mask, rng.integers(0, 2, mask.shape, np.int8) * 2 - 1, 0)

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        return 2 * shape[0] * value_bits + units * CODE_BITS + (shape[0] + 1) * POINTER_BITS

    def _only(self, array: Array, mask: NDArray[np.bool_], sign: str) -> Array:
        """(rows,) the value that a row holds at ``mask``, or zero. Raises SpecError when it holds two."""
        values = np.zeros(len(array), array.dtype)
        row, col = np.nonzero(mask)
        values[row] = array[row, col]
        if (other := np.flatnonzero(array[row, col] != values[row])).size:
            raise SpecError(f"row {int(row[other[0]])} holds more than one {sign} value", key=self.name)
        return values

    @staticmethod
    def _codes(digits: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Codes of all rows, one after another, and how many each row has."""
        following = dictionary().next
        rows, pairs = len(digits), digits.shape[1] // 2
        numbers = np.ascontiguousarray((digits[:, 0::2] + 3 * digits[:, 1::2]).T)
        node = np.full(rows, ENTRIES)
        emitted = np.full((pairs + 1, rows), _NONE, np.int32)
        for step in range(pairs):
            longer = following[node, numbers[step]]
            ends = longer == _NONE
            emitted[step, ends] = node[ends]
            node = np.where(ends, following[ENTRIES, numbers[step]], longer)
        if pairs:
            emitted[pairs] = node
        used = emitted.T != _NONE
        return emitted.T[used].astype(np.int64), used.sum(axis=1)

    def _pairs(self, codes: NDArray[np.int64], pointers: NDArray[np.int64], expected: int) -> NDArray[np.uint8]:
        """(rows, expected): the pairs that the codes stand for. Raises SpecError when a row has more or fewer."""
        book = dictionary()
        lengths = book.lengths[codes]
        held = np.diff(np.concatenate([[0], np.cumsum(lengths)])[pointers])
        if (wrong := np.flatnonzero(held != expected)).size:
            row = int(wrong[0])
            raise SpecError(f"row {row} holds {int(held[row])} pairs; expected {expected}", key=f"{self.name}.codes")
        used = np.arange(LONGEST_PAIRS) < lengths[:, None]
        return book.pairs[codes][used].reshape(len(pointers) - 1, expected)


def _digits(array: Array) -> NDArray[np.uint8]:
    """0, 1 or 2 for zeros, negative and positive elements; an odd row with a zero after it."""
    rows, cols = array.shape
    digits = np.zeros((rows, -(-cols // 2) * 2), np.uint8)
    digits[:, :cols] = np.where(array > 0, 2, np.where(array < 0, 1, 0))
    return digits
