# SPDX-License-Identifier: Apache-2.0
"""Unstructured: every element is kept or not by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from simsparse.sparsity.nonzeros import Mask
from simsparse.sparsity.patterns.base import MaskSparsity, share_of
from simsparse.sparsity.statement import DENSITY, PATTERNS

_TEXT = re.compile(f"unstructured:{DENSITY}")


@PATTERNS.register("unstructured")
@dataclass(frozen=True, slots=True)
class Unstructured(MaskSparsity):
    """A share ``density`` of the elements, anywhere; a draw keeps each with that probability.

    Usual storage: the smaller of a bitmap and CSR.
    """

    name: ClassVar[str] = "unstructured"
    syntax: ClassVar[str] = "unstructured:DENSITY"
    density: float

    @classmethod
    def read(cls, word: str) -> Self | None:
        match = _TEXT.fullmatch(word)
        return cls(float(match[1])) if match and 0.0 < float(match[1]) <= 1.0 else None

    def __str__(self) -> str:
        return f"unstructured:{self.density:g}"

    @property
    def usual(self) -> tuple[str, ...]:
        return "bitmap", "csr"

    @property
    def exact(self) -> str:
        return f"unstructured:{self.density!r}"

    def kept(self, rows: int, cols: int) -> int:
        return share_of(rows * cols, self.density)

    def places(self, rng: np.random.Generator, rows: int, cols: int) -> Mask:
        return rng.random((rows, cols), np.float32) < self.density
