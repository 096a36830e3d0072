# SPDX-License-Identifier: Apache-2.0
"""Counts of what a list of operators does on a GPU: bytes, products and flops, by operator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from simsparse.core import Action, DType
from simsparse.devices.base import Floats, whole_counts

Indexes = NDArray[np.int64]
READ: Action = ("hbm", "read_byte")
WRITE: Action = ("hbm", "write_byte")
VECTOR: Action = ("vector", "flop")


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
        return {action: whole_counts(action, amount) for action, amount in self._counts.items()}


def count_macs(owner: Indexes, actions: Sequence[Action], macs: Floats, counts: GpuCounts) -> None:
    """Count products on their units, an ``action`` each; the CUDA cores count two flops each."""
    number = {action: i for i, action in enumerate(dict.fromkeys(actions))}
    numbers = np.array([number[action] for action in actions]) if len(number) > 1 else np.zeros(len(actions), np.intp)
    for action, i in number.items():
        own = numbers == i
        counts.add(action, owner[own], macs[own] * (2 if action == VECTOR else 1))


@cache
def mac_action(dtype: DType, sparse: bool = False) -> Action:
    """The action that counts a product of one element type, on the units for 2:4 weights or not."""
    return VECTOR if dtype is DType.FP32 else ("tensor24" if sparse else "tensor", f"mac_{dtype}")
