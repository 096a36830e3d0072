# SPDX-License-Identifier: Apache-2.0
"""2:4 groups as sparse tensor cores take them: two values and a 4-bit number, as PyTorch converts them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def encode24(groups: Array) -> tuple[Array, NDArray[np.int64]]:
    """(..., 4) to kept values (..., 2) and metadata (...): first index in bits 0-1, second in bits 2-3.

    The indexes ascend. A group with fewer than two non-zeros keeps zeros, one with more loses some, both where
    PyTorch's ``sparse_semi_structured_from_dense_cutlass`` does (torch/sparse/_semi_structured_conversions.py).
    """
    m0, m1, _, m3 = (np.ascontiguousarray(kept).view(np.uint8) for kept in np.moveaxis(groups != 0, -1, 0))
    bit0, bit1 = (1 - m0) & m1, (1 - m0) & (1 - m1)
    bit2, bit3 = m0 & m1 | bit1 | m3, bit0 | (1 - m1)
    positions = np.stack([bit0 | bit1 << 1, bit2 | bit3 << 1], axis=-1).astype(np.int64)
    return np.take_along_axis(groups, positions, axis=-1), positions[..., 0] | positions[..., 1] << 2
