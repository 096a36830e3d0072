# SPDX-License-Identifier: Apache-2.0
"""nm_select: operands of N kept weights out of M activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
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
from simsparse.rtl.stimulus import positions, signed
from simsparse.rtl.vectors import Beats, Field
from simsparse.sparsity.formats.bits import index_bits

MODE_BINS = frozenset(f"mode {first}->{second}" for first in ("nm", "dense") for second in ("nm", "dense"))


def selected(beats: Beats, n: int) -> NDArray[np.int64]:
    """The ``n`` activations of each beat that its weights meet: by index, or the first ones when dense."""
    by_index = np.take_along_axis(beats["activation"], beats["index"], axis=1)
    return np.where(beats["dense"] == 1, beats["activation"][:, :n], by_index)


def covered_modes(dense: NDArray[np.int64]) -> set[str]:
    """Mode bins of successive beats with ``dense`` (beats, 1)."""
    names = np.where(dense[:, 0] == 1, "dense", "nm")
    return {f"mode {first}->{second}" for first, second in pairwise(names.tolist())}


@dataclass(frozen=True)
class NMSelect(RtlBlock):
    """rtl/nm_select.sv"""

    n: int
    m: int
    bits: int = 8
    module: ClassVar[str] = "nm_select"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"N": self.n, "M": self.m, "DataWidth": self.bits, "UserWidth": 16}

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (
            Field("dense", 1), Field("activation", self.bits, self.m, signed=True),
            Field("index", index_bits(self.m), self.n), Field("user", 16),
        )  # fmt: skip

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (Field("operand", self.bits, self.n, signed=True), Field("user", 16))

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        ascending, any_order = positions(rng, tiles, self.n, self.m), rng.integers(0, self.m, (tiles, self.n))
        return {
            "dense": rng.integers(0, 2, (tiles, 1)),
            "activation": signed(rng, (tiles, self.m), self.bits),
            "index": np.where(rng.random((tiles, 1)) < 0.9, ascending, any_order),
            "user": rng.integers(0, 1 << 16, (tiles, 1)),
        }

    def expected(self, beats: Beats) -> Expected:
        outputs = {"operand": selected(beats, self.n), "user": beats["user"]}
        return Expected(outputs, np.ones(len(beats["user"]), np.bool_))

    @property
    def bins(self) -> frozenset[str]:
        return frozenset(corner_bins(self.inputs) | pattern_bins(self.n, self.m)) | MODE_BINS

    def covered(self, beats: Beats) -> set[str]:
        sparse = beats["index"][beats["dense"][:, 0] == 0]
        ascending = sparse[(np.diff(sparse, axis=1) > 0).all(axis=1)]
        patterns = covered_patterns(ascending, self.m)
        return covered_corners(self.inputs, beats) | patterns | covered_modes(beats["dense"])


BLOCKS.register("nm_select")(
    (*(NMSelect(n, m) for n, m in ((2, 4), (1, 8), (5, 16), (8, 32))), NMSelect(2, 4, 4), NMSelect(2, 4, 16))
)
