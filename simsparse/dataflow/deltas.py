# SPDX-License-Identifier: Apache-2.0
"""Temporal sparsity: what changed between consecutive activations, quantised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints
from simsparse.errors import SpecError


def deltas(activations: NDArray[np.floating], step: float) -> Ints:
    """Quantised changes of ``activations`` (frames, ..., k) along frames, in multiples of ``step``; same shape.

    Each frame is compared with what the earlier changes add up to, so that errors do not pile up: the sum of the
    changes times ``step`` is never more than half a step from the activation. The first frame is compared with zero.
    Source: the Delta Activation Layer (Yousefzadeh and Sifalakis, arXiv 2107.07305), which quantises the activation
    and takes differences of the quantised ones: the same values. Raises SpecError when ``step`` is not positive.
    """
    if not step > 0:
        raise SpecError(f"{step}; expected a positive step", key="step")
    levels = np.rint(activations / step).astype(np.int64)
    changes: Ints = np.diff(levels, axis=0, prepend=np.zeros_like(levels[:1]))
    return changes
