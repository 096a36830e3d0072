# SPDX-License-Identifier: Apache-2.0
"""Masks of products of any density, drawn for the tests of engines."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from simsparse.dataflow.base import Mask


def drawn_masks(draw: st.DrawFn, most_m: int = 40, most_n: int = 40, most_k: int = 40) -> tuple[Mask, Mask]:
    """Masks of weights (n, k) and of inputs (m, k)."""
    m, n, k = (draw(st.integers(1, most)) for most in (most_m, most_n, most_k))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return rng.random((n, k)) < draw(st.floats(0, 1)), rng.random((m, k)) < draw(st.floats(0, 1))
