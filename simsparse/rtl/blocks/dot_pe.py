# SPDX-License-Identifier: Apache-2.0
"""nm_dot_pe: N signed products a beat, accumulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.handshake.stream import Stage
from simsparse.rtl.block import (
    BLOCKS,
    Expected,
    RtlBlock,
    corner_bins,
    covered_corners,
    covered_patterns,
    pattern_bins,
)  # fmt: skip
from simsparse.rtl.blocks.select import MODE_BINS, covered_modes, selected
from simsparse.rtl.stimulus import positions, signed
from simsparse.rtl.vectors import Beats, Field, wrapped
from simsparse.sparsity.formats.bits import index_bits

LONGEST = 8
"""Beats of the longest random sum."""


@dataclass(frozen=True)
class NMDotPE(RtlBlock):
    """rtl/nm_dot_pe.sv"""

    n: int
    m: int
    bits: int = 8
    acc_bits: int = 32
    weight_bits: int = 0
    """Bits of a weight; as many as an activation's when 0."""
    module: ClassVar[str] = "nm_dot_pe"
    stages: ClassVar[tuple[Stage, ...]] = (Stage(), Stage(), Stage())

    @property
    def parameters(self) -> Mapping[str, int]:
        other = {"WeightWidth": self.weight_bits} if self.weight_bits else {}
        return {"N": self.n, "M": self.m, "DataWidth": self.bits, "AccWidth": self.acc_bits, **other}

    @property
    def weight_width(self) -> int:
        """Bits of a weight."""
        return self.weight_bits or self.bits

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (
            Field("dense", 1), Field("last", 1), Field("activation", self.bits, self.m, signed=True),
            Field("weight", self.weight_width, self.n, signed=True), Field("index", index_bits(self.m), self.n),
        )  # fmt: skip

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (Field("sum", self.acc_bits, signed=True),)

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        lengths = rng.integers(1, LONGEST + 1, tiles)
        count = int(lengths.sum())
        last = np.zeros((count, 1), np.int64)
        last[np.cumsum(lengths) - 1] = 1
        return {
            "dense": np.repeat(rng.integers(0, 2, (tiles, 1)), lengths, axis=0),
            "last": last,
            "activation": signed(rng, (count, self.m), self.bits),
            "weight": signed(rng, (count, self.n), self.weight_width),
            "index": positions(rng, count, self.n, self.m),
        }

    def expected(self, beats: Beats) -> Expected:
        return Expected({"sum": wrapped(self._totals(beats), self.acc_bits)[:, None]}, beats["last"][:, 0] == 1)

    @property
    def bins(self) -> frozenset[str]:
        lengths = {f"beats={length}" for length in range(1, LONGEST + 1)}
        wraps = (
            {"wraps"} if LONGEST * self.n << (self.bits + self.weight_width - 2) >= 1 << (self.acc_bits - 1) else set()
        )
        return frozenset(corner_bins(self.inputs) | pattern_bins(self.n, self.m) | lengths | wraps) | MODE_BINS

    def covered(self, beats: Beats) -> set[str]:
        sparse = beats["index"][beats["dense"][:, 0] == 0]
        ends = np.flatnonzero(beats["last"][:, 0])
        lengths = {f"beats={length}" for length in np.unique(np.diff(ends, prepend=-1))}
        patterns = covered_patterns(sparse, self.m)
        totals = self._totals(beats)
        wraps = {"wraps"} if (totals != wrapped(totals, self.acc_bits)).any() else set()
        return covered_corners(self.inputs, beats) | patterns | lengths | wraps | covered_modes(beats["dense"])

    def _totals(self, beats: Beats) -> NDArray[np.int64]:
        """The sums that end, before they wrap; a sum that does not end adds to none."""
        dots = (selected(beats, self.n) * beats["weight"]).sum(axis=1)
        through = np.cumsum(dots)[np.flatnonzero(beats["last"][:, 0])]
        return np.diff(through, prepend=np.int64(0))


BLOCKS.register("nm_dot_pe")(
    (
        *(NMDotPE(n, m) for n, m in ((1, 4), (2, 4), (4, 4), (4, 8), (3, 16), (8, 32))),
        NMDotPE(2, 4, acc_bits=17),
        NMDotPE(2, 4, bits=4, acc_bits=16),
        NMDotPE(2, 4, bits=16, acc_bits=40),
        NMDotPE(2, 4, weight_bits=4),
        NMDotPE(2, 4, bits=16, acc_bits=32, weight_bits=8),
    )
)
