# SPDX-License-Identifier: Apache-2.0
"""Units of a format where the pattern alone does not fix them: those of a draw."""

from __future__ import annotations

from math import ceil, lcm
from typing import TYPE_CHECKING

import numpy as np

from simsparse.sparsity.statement import Sparsity

if TYPE_CHECKING:
    from simsparse.sparsity.formats.base import Format

ELEMENTS = 1 << 20
"""Elements of a sample at least, where the matrix has as many."""
SEED = 0


def sampled_units(form: Format, sparsity: Sparsity, shape: tuple[int, int]) -> int:
    """Units of ``form`` for a matrix of ``shape`` and ``sparsity``, counted on a draw of whole rows.

    A large matrix is taken to be like its first rows, ``ELEMENTS`` of it, always drawn from the same seed.
    """
    rows, cols = shape
    together = lcm(sparsity.rows_together, form.rows_together)
    sample = min(rows, -(-ELEMENTS // max(1, cols * together)) * together)
    mask = sparsity.draw(sample, cols, SEED).mask()
    return ceil(form.units(form.signs(mask, np.random.default_rng(SEED))) * rows / max(1, sample))
