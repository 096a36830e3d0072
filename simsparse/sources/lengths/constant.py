# SPDX-License-Identifier: Apache-2.0
"""All lengths equal."""

from __future__ import annotations

import numpy as np

from simsparse.sources.lengths.base import LENGTHS, Lengths
from simsparse.sources.options import whole
from simsparse.sources.requests import Floats


@LENGTHS.register("constant")
class Constant(Lengths):
    """``tokens`` in every request."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = whole("tokens", tokens)

    def values(self, count: int, rng: np.random.Generator) -> Floats:
        del rng
        return np.full(count, float(self.tokens))
