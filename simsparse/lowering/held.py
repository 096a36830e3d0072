# SPDX-License-Identifier: Apache-2.0
"""Weights as devices hold them: a device that runs a pattern as another one, or as dense, keeps it as that."""

from __future__ import annotations

from simsparse.core import Op
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.sparsity import USUAL


class HeldWeights:
    """Bytes of weights that each op keeps on a device.

    A weight whose format is stated lies as that; any other one in the pattern that the device makes use of, which is
    what its kernels read. So 1:8 weights take as much of a GPU that runs them as 2:4 as 2:4 weights do.
    """

    def __init__(self, index: TraceIndex, machine: Machine) -> None:
        self._index, self._machine = index, machine
        self._more: dict[tuple[int, str], int] = {}
        self._read: dict[tuple[int, str], int] = {}

    def bytes(self, i: int, device: str) -> int:
        """Those of op ``i`` on ``device``; 0 of a weight that an earlier op has."""
        kept, key = self._index.kept[i].weights, (self._index.slot[i], device)
        if not kept:
            return 0
        if key not in self._more:
            self._more[key] = self._beyond_stated(self._index.unique[key[0]], device, kept)
        return kept + self._more[key]

    def _beyond_stated(self, op: Op, device: str, kept: int) -> int:
        """Bytes that the op's weights take beyond the ``kept`` ones of the pattern that the trace states."""
        used = self._used(op, device)
        return 0 if used is op or kept != op.resident_bytes else used.resident_bytes - kept

    def read_beyond(self, op: Op, device: str) -> int:
        """Bytes of weights that ``op`` reads on ``device`` beyond those of the pattern that the trace states."""
        key = id(op), device
        if key not in self._read:
            self._read[key] = self._used(op, device).weight_bytes - op.weight_bytes
        return self._read[key]

    def _used(self, op: Op, device: str) -> Op:
        """``op`` with the pattern that the device makes use of; itself where that is the stated one."""
        stated = op.weight_sparsity
        if not op.definition.prunable or stated.is_dense or stated.is_factored or op.weight_format != USUAL:
            return op
        used = self._machine.devices[device].model.used_sparsity(op)
        return op if used == stated else op.with_(weight_sparsity=used)
