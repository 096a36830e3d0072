# SPDX-License-Identifier: Apache-2.0
"""nm_encode24: dense groups of four to two values and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.rtl.block import BLOCKS, Expected, RtlBlock, corner_bins, covered_corners
from simsparse.rtl.blocks.formats import BF16, FP8_E4M3, FP16, FP32, FloatFormat
from simsparse.rtl.stimulus import signed
from simsparse.rtl.vectors import Beats, Field, wrapped
from simsparse.sparsity.formats.sparse24 import encode24


@dataclass(frozen=True)
class NMEncode24(RtlBlock):
    """rtl/nm_encode24.sv: integers, or the bits of floating numbers."""

    groups: int
    bits: int = 8
    floating: FloatFormat | None = None
    module: ClassVar[str] = "nm_encode24"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"Groups": self.groups, "DataWidth": self.bits, "Floating": int(self.floating is not None)}

    @property
    def name(self) -> str:
        return super().name + (f"-{self.floating.name}" if self.floating else "")

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (Field("dense", self.bits, self.groups * 4, signed=True),)

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (
            Field("value", self.bits, self.groups * 2, signed=True), Field("metadata", 4, self.groups),
            Field("error", 1),
        )  # fmt: skip

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        """Half of the beats have legal groups, half any mask; a masked floating number is a zero of its own sign, as
        multiplying by a mask leaves it."""
        mask = rng.integers(0, 2, (tiles, self.groups * 4))
        sparse = rng.random((tiles, 1)) < 0.5
        legal = np.argsort(rng.random((tiles, self.groups, 4)), axis=2).reshape(tiles, -1) < 2
        kept = np.where(sparse, legal, mask)
        if self.floating is None:
            return {"dense": signed(rng, mask.shape, self.bits) * kept}
        numbers = self.floating.draw(rng, mask.shape)
        return {"dense": wrapped(np.where(kept == 1, numbers, numbers & self.floating.sign), self.bits)}

    def expected(self, beats: Beats) -> Expected:
        groups, marks = self._groups(beats), self._nonzero(beats)
        metadata = encode24(marks)[1]
        kept = np.stack([metadata & 3, metadata >> 2], axis=-1)
        values = np.take_along_axis(groups, kept, axis=-1)
        over = (marks.sum(axis=2) > 2).any(axis=1, keepdims=True)
        outputs = {"value": values.reshape(len(groups), -1), "metadata": metadata, "error": over.astype(np.int64)}
        return Expected(outputs, np.ones(len(groups), np.bool_))

    @property
    def bins(self) -> frozenset[str]:
        patterns = {f"group{group}={number:04b}" for group in range(self.groups) for number in range(16)}
        numbers = corner_bins(self.inputs) if self.floating is None else self.floating.bins("dense", self.groups * 4)
        return frozenset(numbers | patterns | {"error=0", "error=1"})

    def covered(self, beats: Beats) -> set[str]:
        numbers = (self._nonzero(beats) << np.arange(4)).sum(axis=2)
        patterns = {
            f"group{group}={number:04b}" for group in range(self.groups) for number in np.unique(numbers[:, group])
        }
        errors = {f"error={error}" for error in np.unique(self.expected(beats).outputs["error"])}
        if self.floating is None:
            return covered_corners(self.inputs, beats) | patterns | errors
        unsigned = beats["dense"] & (2 * self.floating.sign - 1)
        return self.floating.covered("dense", unsigned) | patterns | errors

    def _groups(self, beats: Beats) -> NDArray[np.int64]:
        return beats["dense"].reshape(-1, self.groups, 4)

    def _nonzero(self, beats: Beats) -> NDArray[np.int64]:
        groups = self._groups(beats)
        marks = groups != 0 if self.floating is None else ~self.floating.zero(groups)
        return marks.astype(np.int64)


BLOCKS.register("nm_encode24")((
    NMEncode24(1), NMEncode24(8), NMEncode24(2, bits=4), NMEncode24(4, bits=16, floating=FP16),
    NMEncode24(2, bits=16, floating=BF16), NMEncode24(1, bits=32, floating=FP32),
    NMEncode24(2, bits=8, floating=FP8_E4M3), NMEncode24(1, bits=16),
))  # fmt: skip
