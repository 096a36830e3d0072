# SPDX-License-Identifier: Apache-2.0
"""Hash table in a scratchpad that adds up values of equal keys, row by row: which slots, and how many probes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.errors import SpecError

LOST = -1
"""Slot of a pair that found neither its key nor a free slot."""
LATENCY_CYCLES = 2
"""From the cycle in which a row's first pair is taken, over its probes, to the first in which a sum is offered."""


@dataclass(frozen=True)
class HashProbes:
    """What a stream of keys did: by pair ``probes`` (cycles) and ``slots`` (LOST when none), by row ``entries``.

    ``pointers`` (rows + 1) say where rows begin, as in CSR.
    """

    pointers: Ints
    probes: Ints
    slots: Ints
    entries: Ints

    @property
    def row_cycles(self) -> Ints:
        """Cycles that each row keeps the table busy: a cycle a probe, then one a pair drained (one for an empty row).

        Rows follow one another without a gap. Source: derived; checked against rtl/spad_hash_accumulate.sv.
        """
        through = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.probes)])
        cycles: Ints = np.diff(through[self.pointers]) + np.maximum(1, self.entries)
        return cycles

    @property
    def lost(self) -> int:
        """Pairs that found no place."""
        return int((self.slots == LOST).sum())


def hash_probes(keys: Ints, pointers: Ints, depth: int) -> HashProbes:
    """Walk rows of ``keys`` (row r: ``keys[pointers[r]:pointers[r + 1]]``) through a table of ``depth`` slots.

    A key starts at its low bits, ``key % depth``, and goes on slot by slot, wrapping, until it finds itself or a free
    slot; after ``depth`` probes it is lost. Every row starts with an empty table. Raises SpecError when ``depth`` is
    no power of two, a key is negative, or the pointers do not fit. Source: linear probing as in SMASH (Shivdikar,
    arXiv 2105.14156); a probe a cycle is this design's.
    """
    if depth < 1 or depth & (depth - 1):
        raise SpecError(f"depth {depth}; expected a power of two", key="hash")
    if keys.size and keys.min() < 0:
        raise SpecError(f"key {keys.min()}; expected none below 0", key="hash")
    if pointers[0] != 0 or pointers[-1] != keys.size or (np.diff(pointers) < 0).any():
        raise SpecError(f"pointers do not fit {keys.size} keys", key="hash")
    probes, slots, entries = _probed(keys.astype(np.int64), pointers.astype(np.int64), depth)
    return HashProbes(pointers, probes, slots, entries)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _probed(keys: Ints, pointers: Ints, depth: int) -> tuple[Ints, Ints, Ints]:
    rows = pointers.size - 1
    probes, slots = np.empty(keys.size, np.int64), np.full(keys.size, LOST, np.int64)
    entries = np.zeros(rows, np.int64)
    table, owner = np.empty(depth, np.int64), np.full(depth, -1, np.int64)
    for row in range(rows):
        for pair in range(pointers[row], pointers[row + 1]):
            probes[pair] = depth
            for probe in range(depth):
                slot = (keys[pair] + probe) & (depth - 1)
                if owner[slot] != row or table[slot] == keys[pair]:
                    entries[row] += owner[slot] != row
                    owner[slot], table[slot] = row, keys[pair]
                    slots[pair], probes[pair] = slot, probe + 1
                    break
    return probes, slots, entries
