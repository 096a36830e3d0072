# SPDX-License-Identifier: Apache-2.0
"""Which N of M a pruner by magnitude keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def largest(groups: NDArray[Any], n: int) -> NDArray[np.int64]:
    """Ascending positions (..., n) of the ``n`` largest magnitudes of groups (..., m), first ones on ties."""
    order = np.argsort(-np.abs(groups.astype(np.int64)), axis=-1, kind="stable")
    return np.sort(order[..., :n], axis=-1).astype(np.int64)
