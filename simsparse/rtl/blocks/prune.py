# SPDX-License-Identifier: Apache-2.0
"""nm_prune: the N of every M values with the largest magnitudes, in a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.rtl.block import (
    BLOCKS,
    Expected,
    RtlBlock,
    corner_bins,
    covered_corners,
    covered_patterns,
    pattern_bins,
)  # fmt: skip
from simsparse.rtl.blocks.formats import BF16, FP8_E4M3, FP16, FloatFormat
from simsparse.rtl.stimulus import positions, signed
from simsparse.rtl.vectors import Beats, Field, wrapped
from simsparse.sparsity.formats.bits import index_bits
from simsparse.sparsity.formats.magnitude import largest


@dataclass(frozen=True)
class NMPrune(RtlBlock):
    """rtl/nm_prune.sv: integers, or the bits of floating numbers."""

    n: int
    m: int
    bits: int = 8
    floating: FloatFormat | None = None
    module: ClassVar[str] = "nm_prune"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"N": self.n, "M": self.m, "DataWidth": self.bits, "Floating": int(self.floating is not None)}

    @property
    def name(self) -> str:
        return super().name + (f"-{self.floating.name}" if self.floating else "")

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (Field("value", self.bits, signed=True),)

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (Field("value", self.bits, self.n, signed=True), Field("index", index_bits(self.m), self.n))

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        """Thirds: any values; few different magnitudes, so that ties are common; large ones where a random pattern
        puts them. A few groups are all zero."""
        wide, narrow = self._numbers(rng, (tiles, self.m)), rng.integers(-2, 3, (tiles, self.m))
        planted = narrow.copy()
        large = 1 << (self.bits - 2)
        np.put_along_axis(planted, positions(rng, tiles, self.n, self.m), large, axis=1)
        if self.floating is not None:
            narrow, planted = (np.abs(each) | (each < 0) * self.floating.sign for each in (narrow, planted))
        groups = np.choose(rng.integers(0, 3, (tiles, 1)), (wide, narrow, planted))
        groups[rng.random(tiles) < 0.02] = 0
        return {"value": wrapped(groups.reshape(-1, 1), self.bits)}

    def expected(self, beats: Beats) -> Expected:
        groups = self._groups(beats)
        kept = largest(self._magnitudes(groups), self.n)
        emits = np.zeros(groups.shape, np.bool_)
        emits[:, -1] = True
        return Expected({"value": np.take_along_axis(groups, kept, axis=1), "index": kept}, emits.reshape(-1))

    @property
    def bins(self) -> frozenset[str]:
        ties = {"tie"} if self.n < self.m else set()
        numbers = corner_bins(self.inputs) if self.floating is None else self.floating.bins("value", 1)
        return frozenset(numbers | pattern_bins(self.n, self.m) | ties | {"all zero"})

    def covered(self, beats: Beats) -> set[str]:
        groups = self._groups(beats)
        magnitudes = self._magnitudes(groups)
        ordered = np.sort(magnitudes, axis=1)[:, ::-1]
        found = {"all zero"} if (groups == 0).all(axis=1).any() else set()
        if self.n < self.m and (ordered[:, self.n - 1] == ordered[:, self.n]).any():
            found.add("tie")
        found |= covered_patterns(largest(magnitudes, self.n), self.m)
        if self.floating is None:
            return found | covered_corners(self.inputs, beats)
        return found | self.floating.covered("value", beats["value"] & (2 * self.floating.sign - 1))

    def _numbers(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
        return signed(rng, shape, self.bits) if self.floating is None else self.floating.draw(rng, shape)

    def _magnitudes(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.abs(groups) if self.floating is None else groups & (self.floating.sign - 1)

    def _groups(self, beats: Beats) -> NDArray[np.int64]:
        return beats["value"].reshape(-1, self.m)


BLOCKS.register("nm_prune")((
    *(NMPrune(n, m) for n, m in ((1, 4), (2, 4), (4, 4), (4, 8), (2, 16), (8, 32))), NMPrune(2, 4, bits=4),
    NMPrune(2, 4, bits=16), NMPrune(2, 4, 16, FP16), NMPrune(4, 8, 16, BF16), NMPrune(2, 4, 8, FP8_E4M3),
))  # fmt: skip
