# SPDX-License-Identifier: Apache-2.0
"""What patterns of one matrix with zeros share: draws row by row, and the bits of a format."""

from __future__ import annotations

from abc import abstractmethod
from itertools import combinations
from math import ceil, comb

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats.storage import format_for, pattern_bits
from simsparse.sparsity.nonzeros import Mask, NonZeros
from simsparse.sparsity.statement import USUAL, Sparsity

CHUNK = 1 << 22
"""Elements that are drawn at once."""
MOST_CHOICES = 10_000
"""Up to this many ways to keep some of a group, a draw picks one from a table."""


class MaskSparsity(Sparsity):
    """A pattern of one matrix with zeros."""

    __slots__ = ()

    @abstractmethod
    def places(self, rng: np.random.Generator, rows: int, cols: int) -> Mask:
        """A mask (rows, cols) of this pattern, drawn from ``rng``."""

    def draw(self, rows: int, cols: int, seed: int) -> NonZeros:
        rng = np.random.default_rng([seed, rows, cols])
        together = self.rows_together
        step = max(together, CHUNK // max(1, cols) // together * together)
        masks = (self.places(rng, min(step, rows - at), cols) for at in range(0, rows, step))
        return NonZeros.joined(cols, [NonZeros.of(mask) for mask in masks])

    def refusal(self, storage: str, rows: int, cols: int, value_bits: int) -> str | None:
        try:
            form = format_for(storage, self, rows, cols, value_bits)
        except SpecError as error:
            return error.message
        return form.refusal(self, (rows, cols))

    def stored_bits(self, rows: int, cols: int, value_bits: int, storage: str = USUAL) -> int:
        return pattern_bits(storage, self, rows, cols, value_bits)


def share_of(total: int, density: float) -> int:
    """``density`` of ``total``, rounded up; 0.07 of 100 is 7 although 100 * 0.07 > 7 in binary."""
    return ceil(round(total * density, 6))


def group_masks(rng: np.random.Generator, count: int, size: int, keep: int) -> Mask:
    """Masks (count, size) with ``keep`` elements set, all choices equally likely."""
    if comb(size, keep) <= MOST_CHOICES:
        choices = list(combinations(range(size), keep))
        table = np.zeros((len(choices), size), np.bool_)
        np.put_along_axis(table, np.array(choices, np.int64).reshape(-1, keep), True, axis=1)
        return table[rng.integers(len(choices), size=count)]
    places = np.argpartition(rng.random((count, size), np.float32), keep - 1, axis=1)[:, :keep]
    mask: NDArray[np.bool_] = np.zeros((count, size), np.bool_)
    np.put_along_axis(mask, places, True, axis=1)
    return mask


class GroupedSparsity(MaskSparsity):
    """A pattern whose rows keep exactly ``keep`` of every aligned ``size``; a shorter last group at most ``keep``."""

    __slots__ = ()

    @property
    @abstractmethod
    def groups(self) -> tuple[int, int]: ...

    def kept(self, rows: int, cols: int) -> int:
        keep, size = self.groups
        return rows * (cols // size * keep + min(keep, cols % size))

    def places(self, rng: np.random.Generator, rows: int, cols: int) -> Mask:
        keep, size = self.groups
        whole, rest = divmod(cols, size)
        parts = [group_masks(rng, rows * whole, size, keep).reshape(rows, -1)]
        if rest:
            parts.append(group_masks(rng, rows, rest, min(keep, rest)))
        return np.concatenate(parts, axis=1)
