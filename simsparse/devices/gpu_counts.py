# SPDX-License-Identifier: Apache-2.0
"""Counts of what a list of operators does on a GPU: bytes, products and flops, by operator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simsparse.core import Action, DType, Op
from simsparse.devices.base import Floats
from simsparse.devices.gpu_sparse24 import runs_24
from simsparse.errors import MappingError

Indexes = NDArray[np.int64]
READ: Action = ("hbm", "read_byte")
WRITE: Action = ("hbm", "write_byte")
VECTOR: Action = ("vector", "flop")
COUNT_LIMIT = float(2**63)


class GpuCounts:
    """Counts of a list of operators, added up kernel by kernel."""

    def __init__(self, ops: int) -> None:
        self._ops = ops
        self._counts: dict[Action, Floats] = {}

    def add(self, action: Action, owner: Indexes, amount: Floats) -> None:
        """Add to the count of ``action`` of the ops ``owner``."""
        np.add.at(self._counts.setdefault(action, np.zeros(self._ops)), owner, amount)

    def whole(self) -> dict[Action, NDArray[np.int64]]:
        """Whole counts by action. Raises MappingError when one is too large for 64 bits."""
        for (component, action), amount in self._counts.items():
            if amount.max(initial=0.0) >= COUNT_LIMIT:
                raise MappingError(f"{amount.max():.3g} times {component}.{action}: more than 2**63")
        return {action: np.rint(amount).astype(np.int64) for action, amount in self._counts.items()}


def count_macs(members: Sequence[tuple[int, Op]], sparse24: bool, macs: Floats, counts: GpuCounts) -> None:
    """Count each member's products on its unit; the CUDA cores count two flops each."""
    actions = [_component(op, sparse24) for _, op in members]
    owner = np.array([i for i, _ in members], np.int64)
    for action in dict.fromkeys(actions):
        own = np.array([name == action for name in actions])
        counts.add(action, owner[own], macs[own] * (2 if action == VECTOR else 1))


def _component(op: Op, sparse24: bool) -> Action:
    if op.dtype is DType.FP32:
        return VECTOR
    return ("tensor24" if runs_24(op, sparse24) else "tensor", f"mac_{op.dtype}")
