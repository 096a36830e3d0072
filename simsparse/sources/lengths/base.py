# SPDX-License-Identifier: Apache-2.0
"""The contract of distributions of lengths."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from simsparse.errors import SpecError
from simsparse.registry import Registry
from simsparse.sources.options import made, whole
from simsparse.sources.requests import MAX_TOKENS, Floats


class Lengths(ABC):
    """A distribution of numbers of tokens. Its options are the arguments of its ``__init__``; it registers in LENGTHS.

    ``least`` and ``most``: drawn numbers are clipped to them.
    """

    def __init__(self, least: int = 1, most: int = MAX_TOKENS - 1) -> None:
        self.least, self.most = whole("least", least), whole("most", most)
        if self.least > self.most:
            raise SpecError(f"{least} is more than the most, {most}", key="least")

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """``count`` whole numbers."""
        found: Floats = np.rint(self.values(count, rng)).clip(self.least, self.most)
        return found

    @abstractmethod
    def values(self, count: int, rng: np.random.Generator) -> Floats:
        """Numbers before they are rounded and clipped."""


LENGTHS: Registry[type[Lengths]] = Registry("distribution of lengths", package="simsparse.sources.lengths")


def lengths_of(options: int | str | Mapping[str, Any], key: str = "lengths") -> Lengths:
    """The distribution that ``options`` name, a number of tokens, or a mapping with ``kind``. Raises SpecError."""
    if isinstance(options, int):
        return made(LENGTHS, {"kind": "constant", "tokens": options}, key)
    return made(LENGTHS, options, key)
