# SPDX-License-Identifier: Apache-2.0
"""nm_encode24: dense groups of four to two values and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.rtl.block import BLOCKS, Expected, RtlBlock, corner_bins, covered_corners
from simsparse.rtl.stimulus import signed
from simsparse.rtl.vectors import Beats, Field
from simsparse.sparsity.formats.sparse24 import encode24


@dataclass(frozen=True)
class NMEncode24(RtlBlock):
    """rtl/nm_encode24.sv"""

    groups: int
    bits: int = 8
    module: ClassVar[str] = "nm_encode24"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"Groups": self.groups, "DataWidth": self.bits}

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
        mask = rng.integers(0, 2, (tiles, self.groups * 4))
        sparse = rng.random((tiles, 1)) < 0.5
        legal = np.argsort(rng.random((tiles, self.groups, 4)), axis=2).reshape(tiles, -1) < 2
        return {"dense": signed(rng, mask.shape, self.bits) * np.where(sparse, legal, mask)}

    def expected(self, beats: Beats) -> Expected:
        groups = self._groups(beats)
        values, metadata = encode24(groups)
        over = ((groups != 0).sum(axis=2) > 2).any(axis=1, keepdims=True)
        outputs = {"value": values.reshape(len(groups), -1), "metadata": metadata, "error": over.astype(np.int64)}
        return Expected(outputs, np.ones(len(groups), np.bool_))

    @property
    def bins(self) -> frozenset[str]:
        patterns = {f"group{group}={number:04b}" for group in range(self.groups) for number in range(16)}
        return frozenset(corner_bins(self.inputs) | patterns | {"error=0", "error=1"})

    def covered(self, beats: Beats) -> set[str]:
        numbers = ((self._groups(beats) != 0) << np.arange(4)).sum(axis=2)
        patterns = {
            f"group{group}={number:04b}" for group in range(self.groups) for number in np.unique(numbers[:, group])
        }
        errors = {f"error={error}" for error in np.unique(self.expected(beats).outputs["error"])}
        return covered_corners(self.inputs, beats) | patterns | errors

    def _groups(self, beats: Beats) -> NDArray[np.int64]:
        return beats["dense"].reshape(-1, self.groups, 4)


BLOCKS.register("nm_encode24")((NMEncode24(1), NMEncode24(8), NMEncode24(4, bits=16)))
