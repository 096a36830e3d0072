# SPDX-License-Identifier: Apache-2.0
"""spad_hash_accumulate: values of equal keys added up in a hash table, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints, Mask
from simsparse.dataflow.handshake.hash_accumulate import LOST, HashProbes, hash_probes
from simsparse.dataflow.handshake.service import Service
from simsparse.rtl.block import BLOCKS, Expected, RtlBlock, corner_bins, covered_corners
from simsparse.rtl.stimulus import signed
from simsparse.rtl.vectors import Beats, Field, wrapped
from simsparse.sparsity.formats.bits import index_bits

INSERT_SHARE = 0.95
LONG_SHARE = 0.15


@dataclass(frozen=True)
class SpadHashAccumulate(RtlBlock):
    """rtl/spad_hash_accumulate.sv"""

    depth: int
    key_bits: int
    value_bits: int = 8
    acc_bits: int = 32
    module: ClassVar[str] = "spad_hash_accumulate"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {
            "Depth": self.depth, "KeyWidth": self.key_bits, "ValueWidth": self.value_bits, "AccWidth": self.acc_bits,
        }  # fmt: skip

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (
            Field("insert", 1), Field("last", 1), Field("key", self.key_bits),
            Field("value", self.value_bits, signed=True),
        )  # fmt: skip

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (
            Field("entry", 1), Field("last", 1), Field("overflow", 1), Field("key", self.key_bits),
            Field("sum", self.acc_bits, signed=True),
        )  # fmt: skip

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        """Rows, mostly short, some up to twice the table; their keys are any, close together, of one first slot, or
        one behind the other, which fills small tables."""
        long = rng.random(tiles) < LONG_SHARE
        lengths = np.where(
            long, rng.integers(1, 2 * self.depth + 1, tiles), rng.integers(1, self.depth // 2 + 2, tiles)
        )
        count, row = int(lengths.sum()), np.repeat(np.arange(tiles), lengths)
        reach = 1 << self.key_bits
        anywhere, home = rng.integers(0, reach, count), rng.integers(0, reach, tiles)[row]
        close = home + rng.integers(0, self.depth, count)
        same_slot = home + self.depth * rng.integers(0, reach, count)
        insert = (rng.random((count, 1)) < INSERT_SHARE) & (rng.random(tiles) < INSERT_SHARE)[row][:, None]
        last = np.zeros((count, 1), np.int64)
        last[np.cumsum(lengths) - 1] = 1
        running = home + np.arange(count) - (np.cumsum(lengths) - lengths)[row]
        kind = rng.integers(0, 4, tiles)[row]
        return {
            "insert": insert.astype(np.int64), "last": last,
            "key": (np.choose(kind, (anywhere, close, same_slot, running)) % reach)[:, None],
            "value": signed(rng, (count, 1), self.value_bits),
        }  # fmt: skip

    def expected(self, beats: Beats) -> Expected:
        inserts, row, walk = self._walked(beats)
        rows = walk.entries.size
        kept = walk.slots != LOST
        place = row[inserts][kept] * self.depth + walk.slots[kept]
        keys, sums = (np.zeros(rows * self.depth, np.int64) for _ in range(2))
        keys[place] = beats["key"][inserts, 0][kept]
        np.add.at(sums, place, beats["value"][inserts, 0][kept])
        entry = np.isin(np.arange(rows * self.depth), place)
        out = entry.copy()
        out[np.flatnonzero(walk.entries == 0) * self.depth] = True
        row_out = np.flatnonzero(out) // self.depth
        columns = {
            "entry": entry[out], "last": np.diff(row_out, append=rows) > 0,
            "overflow": self._overflows(row[inserts], walk)[row_out], "key": keys[out],
            "sum": wrapped(sums[out], self.acc_bits),
        }  # fmt: skip
        work = np.ones(inserts.size, np.int64)
        work[inserts] = walk.probes
        gives = np.where(beats["last"][:, 0] == 1, np.maximum(1, walk.entries)[row], 0)
        outputs = {name: column.astype(np.int64)[:, None] for name, column in columns.items()}
        return Expected(outputs, beats["last"][:, 0] == 1, Service(work, gives, early=True))

    @property
    def bins(self) -> frozenset[str]:
        """Corners of keys and values, all numbers of probes and of entries, all slots, wraps, and each kind of row."""
        found = corner_bins(self.inputs) | {f"key={key}" for key in (0, (1 << self.key_bits) - 1)}
        found |= {f"entries={count}" for count in range(self.depth + 1)} | {f"slot={i}" for i in range(self.depth)}
        found |= {"nothing inserted", "hit", "hit in a full table", "ends without a pair"}
        spare = self.key_bits - index_bits(self.depth)
        if spare:
            found |= {"lost", "overflow then none", "past the end"}
        if 2 * self.depth << (self.value_bits - 1) >= 1 << (self.acc_bits - 1):
            found |= {"wraps"}
        return frozenset(found | {f"probes={count}" for count in range(1, min(self.depth, 1 << spare) + 1)})

    def covered(self, beats: Beats) -> set[str]:
        inserts, row, walk = self._walked(beats)
        keys, values = beats["key"][inserts, 0], beats["value"][inserts, 0]
        row, kept = row[inserts], walk.slots != LOST
        place = row * self.depth + walk.slots
        first = np.zeros(keys.size, np.bool_)
        first[np.unique(np.where(kept, place, -1), return_index=True)[1]] = True
        hit = kept & ~first
        new = np.cumsum(first & kept)
        start = np.concatenate([np.zeros(1, np.int64), new])[walk.pointers[:-1]]
        sums = np.zeros(walk.entries.size * self.depth, np.int64)
        np.add.at(sums, place[kept], values[kept])
        over = self._overflows(row, walk)
        kinds = {
            "nothing inserted": walk.entries == 0, "hit": hit,
            "hit in a full table": hit & (new - start[row] == self.depth), "lost": ~kept,
            "overflow then none": over[:-1] & ~over[1:], "past the end": kept & (walk.slots < keys % self.depth),
            "ends without a pair": (beats["last"][:, 0] == 1) & ~inserts,
            "wraps": sums != wrapped(sums, self.acc_bits),
        }  # fmt: skip
        counted = {"entries": walk.entries, "slot": walk.slots[kept], "probes": walk.probes[kept], "key": keys}
        return (
            {f"{name}={number}" for name, numbers in counted.items() for number in np.unique(numbers)}
            | {kind for kind, where in kinds.items() if where.any()} | covered_corners(self.inputs, beats)
        )  # fmt: skip

    def _walked(self, beats: Beats) -> tuple[Mask, Ints, HashProbes]:
        """Which beats bring a pair, the row of every beat, and the walk of the pairs."""
        last, inserts = beats["last"][:, 0], beats["insert"][:, 0] == 1
        row = (np.cumsum(last) - last).astype(np.int64)
        counts = np.bincount(row[inserts], minlength=int(last.sum()))
        pointers = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return inserts, row, hash_probes(beats["key"][inserts, 0], pointers, self.depth)

    def _overflows(self, row: Ints, walk: HashProbes) -> Mask:
        """Whether each row lost a pair; ``row`` of every pair."""
        return np.asarray(np.bincount(row[walk.slots == LOST], minlength=walk.entries.size) > 0, np.bool_)


BLOCKS.register("spad_hash_accumulate")(
    (
        SpadHashAccumulate(4, 8), SpadHashAccumulate(16, 8), SpadHashAccumulate(16, 4),
        SpadHashAccumulate(32, 12, value_bits=16, acc_bits=40), SpadHashAccumulate(8, 6, acc_bits=9),
        SpadHashAccumulate(8, 8, value_bits=4, acc_bits=16),
    )
)  # fmt: skip
