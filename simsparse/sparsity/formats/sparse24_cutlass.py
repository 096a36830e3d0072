# SPDX-License-Identifier: Apache-2.0
"""2:4 as CUTLASS keeps it on Ampere: two of four values, and metadata words in the order of its sparse GEMM."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats.base import FORMATS, Array, Encoded, Format, matrix
from simsparse.sparsity.formats.bits import pack
from simsparse.sparsity.formats.checks import ascending, stored_numbers, stored_values
from simsparse.sparsity.formats.sparse24 import encode24
from simsparse.sparsity.statement import Sparsity

NIBBLE_BITS = 4
# Rows of a tile, and how far apart its eighth rows end up, by the bits of a word.
_TILES = {16: (32, 4), 32: (16, 2)}


def metadata_places(rows: int, words: int, word_bits: int) -> NDArray[np.int64]:
    """Where word (row, word of the row) of the metadata is stored: numbers of shape (rows, words).

    Rows are spread over their tile, 2 x 2 words swap across the diagonal, and the result is stored as columns of
    two words. Source: ``reorder_meta`` in CUTLASS's tools/util/include/cutlass/util/host_reorder.h with layout
    ``ColumnMajorInterleaved<2>``; PyTorch's torch/sparse/_semi_structured_conversions.py computes the same.
    """
    tile, spread = _TILES[word_bits]
    row, word = np.indices((rows, words))
    row = row // tile * tile + row % 8 * spread + row % tile // 8
    turn = (word % 2) - (row % 2)
    row, word = row + turn, word - turn
    places: NDArray[np.int64] = word // 2 * rows * 2 + row * 2 + word % 2
    return places


@FORMATS.register("sparse24_cutlass")
class Sparse24Cutlass(Format):
    """PyTorch's SparseSemiStructuredTensorCUTLASS: ``packed`` is the values, ``meta`` the metadata.

    ``word_bits`` are 16 for elements of 16 or 32 bits, 32 for those of 8. ``pairs`` is the layout of 32-bit
    elements, which keep one of two: metadata tells of each as of two halves. Rows are multiples of 32
    (16-bit words) or 16 (32-bit words), columns of two words' worth.
    """

    name: ClassVar[str] = "sparse24_cutlass"

    def __init__(self, word_bits: int, pairs: bool = False) -> None:
        if word_bits not in _TILES or (pairs and word_bits != 16):
            wrong = f"words of {word_bits} bits{' for pairs' * pairs}; expected 16{'' if pairs else ' or 32'}"
            raise SpecError(wrong, key=self.name)
        self.word_bits, self.pairs = word_bits, pairs

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        words = self._words((rows, cols))
        groups = array.reshape(rows, cols // self._group, self._group)
        self._check(groups != 0)
        values, nibbles = encode24(groups.repeat(2, axis=-1) if self.pairs else groups)
        kept = np.ascontiguousarray(values[..., 0] if self.pairs else values)
        stored = np.empty(rows * words, np.int64)
        stored[metadata_places(rows, words, self.word_bits)] = self._joined(nibbles, words)
        packed = {"metadata": pack(stored, self.word_bits)}
        return Encoded((rows, cols), kept.reshape(-1), packed, {"metadata": stored.size * self.word_bits}, kept.size)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        words = self._words(encoded.shape)
        values = stored_values(encoded, self.name, rows * cols // 2)
        stored = stored_numbers(encoded, self.name, "metadata", self.word_bits, rows * words)
        ordered = stored[metadata_places(rows, words, self.word_bits)]
        positions = self._positions(ordered)
        array = np.zeros(rows * cols, values.dtype)
        begins = np.arange(len(positions))[:, None] * self._group
        array[(begins + positions).reshape(-1)] = values
        return array.reshape(rows, cols)

    def units(self, mask: NDArray[np.bool_]) -> int:
        return mask.size // 2

    @classmethod
    def of(cls, sparsity: Sparsity, shape: tuple[int, int], value_bits: int) -> Format:
        del sparsity, shape
        if value_bits not in (8, 16, 32):
            raise SpecError(f"elements of {value_bits} bits; expected 8, 16 or 32", key=cls.name)
        return cls(32 if value_bits == 8 else 16, pairs=value_bits == 32)

    def refusal(self, sparsity: Sparsity, shape: tuple[int, int]) -> str | None:
        try:
            self._words(shape)
        except SpecError as error:
            return f"{self.name}: {error.message}"
        most, keep = sparsity.most(self._group), self._group // 2
        wrong = f"{sparsity} weights keep up to {most} of {self._group}; {self.name} stores {keep}"
        return wrong if most > keep else None

    def pattern_units(self, sparsity: Sparsity, shape: tuple[int, int]) -> int:
        del sparsity
        return shape[0] * shape[1] // 2

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        del shape
        return units * value_bits + units // (self._group // 2) * NIBBLE_BITS

    @property
    def _group(self) -> int:
        return 2 if self.pairs else 4

    def _words(self, shape: tuple[int, int]) -> int:
        """Metadata words of a row. Raises SpecError when ``shape`` does not fill tiles."""
        tile = _TILES[self.word_bits][0]
        columns = 2 * self._group * self.word_bits // NIBBLE_BITS
        if shape[0] % tile or shape[1] % columns:
            wrong = f"shape {shape} is not tiled; expected multiples of ({tile}, {columns})"
            raise SpecError(wrong, key=self.name)
        return shape[1] // columns * 2

    def _check(self, mask: NDArray[np.bool_]) -> None:
        keep = self._group // 2
        held = sum(mask[..., position].astype(np.int8) for position in range(self._group))
        if (over := np.argwhere(held > keep)).size:
            row, group = (int(number) for number in over[0])
            wrong = f"row {row} keeps more than {keep} of {self._group} in group {group}"
            raise SpecError(wrong, key=self.name)

    def _joined(self, nibbles: NDArray[np.int64], words: int) -> NDArray[np.int64]:
        """(rows, groups) metadata as (rows, words), the first group in the lowest bits."""
        parts = nibbles.reshape(len(nibbles), words, self.word_bits // NIBBLE_BITS)
        joined = np.zeros(parts.shape[:2], np.int64)
        for place in range(parts.shape[2]):
            joined |= parts[..., place] << NIBBLE_BITS * place
        return joined

    def _positions(self, ordered: NDArray[np.int64]) -> NDArray[np.int64]:
        """Kept positions (groups, 2 or 1) from metadata words (rows, words)."""
        numbers = ordered.reshape(-1, 1) >> np.arange(0, self.word_bits, 2) & 3
        positions = numbers.reshape(-1, 2)
        if not self.pairs:
            ascending(positions, self.name, "metadata")
            return positions
        if (wrong := np.flatnonzero((positions[:, 0] % 2 != 0) | (positions[:, 1] != positions[:, 0] + 1))).size:
            raise SpecError(f"group {int(wrong[0])} splits an element", key=f"{self.name}.metadata")
        return positions[:, :1] // 2
