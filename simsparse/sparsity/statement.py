# SPDX-License-Identifier: Apache-2.0
"""The contract of a sparsity pattern: what it keeps, what it stores, and where a draw puts its non-zeros."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Self

from simsparse.errors import SpecError
from simsparse.registry import Registry

if TYPE_CHECKING:
    from simsparse.sparsity.nonzeros import NonZeros

USUAL = "usual"
"""The text of the format in which a pattern is usually stored."""
DENSITY = r"(\d*\.?\d+(?:[eE][-+]?\d+)?)"
"""A regular expression of a density in a pattern's text."""
_FIRST = ("dense", "nm")


def read_sized(name: str, word: str) -> tuple[int, float] | None:
    """Size and density of a text such as ``block32:0.1`` of the pattern ``name``; None where it is no such text."""
    match = re.fullmatch(rf"{name}(\d{{1,5}}):{DENSITY}", word)
    fits = match is not None and int(match[1]) > 0 and 0.0 < float(match[2]) <= 1.0
    return (int(match[1]), float(match[2])) if match and fits else None


@dataclass(frozen=True, slots=True)
class Factor:
    """``count`` equal blocks (rows, cols) on the diagonal of one factor of a weight matrix."""

    count: int
    rows: int
    cols: int
    sparsity: Sparsity


class Sparsity(ABC):
    """How the non-zeros of a matrix (rows, cols) are arranged, its rows running along the reduction dimension k.

    A pattern is one frozen dataclass in ``simsparse.sparsity.patterns``, registered under its ``name``; ``syntax``
    is its text as error messages show it. Equal patterns compare equal.
    """

    __slots__ = ()
    name: ClassVar[str]
    syntax: ClassVar[str]

    @classmethod
    def parse(cls, text: str | Sparsity) -> Sparsity:
        """A sparsity from text such as ``2:4`` or ``unstructured:0.1``. Raises SpecError."""
        return text if isinstance(text, Sparsity) else _parsed(str(text))

    @classmethod
    @abstractmethod
    def read(cls, word: str) -> Self | None:
        """The pattern that the lower-case ``word`` names, None when it names another one or none."""

    @abstractmethod
    def __str__(self) -> str:
        """The canonical text, densities to six digits."""

    @property
    def exact(self) -> str:
        """Text that parses to an equal pattern, densities to the last bit."""
        return str(self)

    @property
    @abstractmethod
    def density(self) -> float:
        """Share of the matrix's elements that are not zero."""

    @property
    def is_dense(self) -> bool:
        """Whether every element is stored and multiplied."""
        return False

    @property
    def usual(self) -> tuple[str, ...]:
        """Formats with their parameters of which the smallest usually stores it; none for a product of factors."""
        return ()

    @property
    def groups(self) -> tuple[int, int] | None:
        """(keep, size) when every aligned ``size`` elements of a row keep exactly ``keep``, else None."""
        return None

    @property
    def edge(self) -> int:
        """Edge of the square blocks that are kept or dropped whole; 1 for single elements."""
        return 1

    @property
    def rows_together(self) -> int:
        """Rows that a draw decides on together."""
        return 1

    @property
    def is_factored(self) -> bool:
        """Whether the matrix is a product or a sum of the matrices in ``factors``, not one matrix with zeros."""
        return False

    def factors(self, rows: int, cols: int) -> tuple[Factor, ...]:
        """The matrices that are stored and multiplied in turn; by default the matrix itself."""
        return (Factor(1, rows, cols, self),)

    @abstractmethod
    def kept(self, rows: int, cols: int) -> int:
        """Weights that take part in a product: non-zeros of the matrix, or of all its factors."""

    def nonzeros(self, rows: int, cols: int) -> int:
        """Non-zeros that a format of single elements stores; on average where a draw decides."""
        return self.kept(rows, cols)

    def most(self, width: int) -> int:
        """The most non-zeros that an aligned stretch of ``width`` elements of a row can hold."""
        return width if self.groups is None else _most(*self.groups, width)

    def tiles(self, edge: int, rows: int, cols: int) -> int | None:
        """Aligned squares of ``edge`` that hold a non-zero, None where a draw decides."""
        if self.groups is None or edge % self.groups[1]:
            return None
        return -(-rows // edge) * -(-cols // edge)

    @abstractmethod
    def draw(self, rows: int, cols: int, seed: int) -> NonZeros:
        """Non-zeros of a matrix with this pattern in random places; equal arguments give equal ones."""

    @abstractmethod
    def refusal(self, storage: str, rows: int, cols: int, value_bits: int) -> str | None:
        """Why the format ``storage`` cannot hold such a matrix, None when it can. Raises SpecError on no format."""

    @abstractmethod
    def stored_bits(self, rows: int, cols: int, value_bits: int, storage: str = USUAL) -> int:
        """Bits of the matrix in the format ``storage``, metadata included.

        Exact where the pattern fixes them, else those of a draw. Raises SpecError when the format cannot hold it.
        """


PATTERNS: Registry[type[Sparsity]] = Registry("sparsity", package="simsparse.sparsity.patterns")
"""Sparsity patterns by name; a module of sparsity/patterns registers one."""


def syntax() -> str:
    """What a sparsity's text may be, the common forms first."""
    names = sorted(PATTERNS, key=lambda name: (name not in _FIRST, name))
    return ", ".join(PATTERNS.get(name).syntax for name in names)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Sparsity:
    word = text.strip().lower()
    for name in PATTERNS:
        if (found := PATTERNS.get(name).read(word)) is not None:
            return found
    raise SpecError(f"{text!r} is not a sparsity; expected {syntax()}", key="sparsity")


@lru_cache(maxsize=1024)
def _most(keep: int, size: int, width: int) -> int:
    """Largest sum of min(keep, overlap) over the groups of ``size`` that an aligned stretch of ``width`` cuts."""
    found = 0
    for start in range(0, size * width, width):
        cuts = [start, *range(start // size * size + size, start + width, size), start + width]
        found = max(found, sum(min(keep, b - a) for a, b in pairwise(cuts)))
    return found
