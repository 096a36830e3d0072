# SPDX-License-Identifier: Apache-2.0
"""sparse_tensor_core_24: one tile of D = A B + C an instruction, A compressed 2:4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.handshake.service import Service
from simsparse.rtl.block import BLOCKS, Expected, RtlBlock, corner_bins, covered_corners
from simsparse.rtl.stimulus import positions, signed
from simsparse.rtl.vectors import Beats, Field, wrapped
from simsparse.sparsity.formats.base import Encoded
from simsparse.sparsity.formats.bits import pack
from simsparse.sparsity.formats.nm import NMIndex

ILLEGAL_SHARE = 0.2
LEGAL = (0b0100, 0b1000, 0b1100, 0b1001, 0b1101, 0b1110)
"""The nibbles of two ascending indexes, as in PyTorch's torch/sparse/_semi_structured_conversions.py."""


@dataclass(frozen=True)
class SparseTensorCore24(RtlBlock):
    """rtl/sparse_tensor_core_24.sv"""

    tile_m: int
    tile_n: int
    tile_k: int
    step_k: int
    bits: int = 8
    acc_bits: int = 32
    weight_bits: int = 0
    """Bits of a value of A; as many as B's when 0."""
    module: ClassVar[str] = "sparse_tensor_core_24"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {
            "TileM": self.tile_m, "TileN": self.tile_n, "TileK": self.tile_k, "StepK": self.step_k,
            "DataWidth": self.bits, "AccWidth": self.acc_bits,
            **({"WeightWidth": self.weight_bits} if self.weight_bits else {}),
        }  # fmt: skip

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (
            Field("a", self.weight_bits or self.bits, self.tile_m * self.tile_k // 2, signed=True),
            Field("metadata", 4, self.tile_m * self.tile_k // 4),
            Field("b", self.bits, self.tile_k * self.tile_n, signed=True),
            Field("c", self.acc_bits, self.tile_m * self.tile_n, signed=True),
        )

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (Field("d", self.acc_bits, self.tile_m * self.tile_n, signed=True), Field("error", 1))

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        a, metadata, b, c = self.inputs
        kept = positions(rng, tiles * metadata.lanes, 2, 4)
        legal = (kept[:, 0] | kept[:, 1] << 2).reshape(tiles, -1)
        anything = rng.integers(0, 16, legal.shape)
        return {
            "a": signed(rng, (tiles, a.lanes), a.bits),
            "metadata": np.where(rng.random((tiles, 1)) < ILLEGAL_SHARE, anything, legal),
            "b": signed(rng, (tiles, b.lanes), self.bits),
            "c": signed(rng, (tiles, c.lanes), self.acc_bits),
        }

    def expected(self, beats: Beats) -> Expected:
        tiles = len(beats["a"])
        legal = np.isin(beats["metadata"], LEGAL)
        b = beats["b"].reshape(tiles, self.tile_k, self.tile_n)
        sums = self._dense(beats, legal) @ b + beats["c"].reshape(tiles, self.tile_m, self.tile_n)
        whole = np.asarray(legal.all(axis=1), np.bool_)
        outputs = {
            "d": wrapped(sums.reshape(tiles, -1), self.acc_bits), "error": 1 - whole[:, None].astype(np.int64)
        }  # fmt: skip
        work = np.full(tiles, self.tile_k // self.step_k - 1, np.int64)
        return Expected(outputs, np.ones(tiles, np.bool_), Service(work, np.ones(tiles, np.int64)))

    @property
    def bins(self) -> frozenset[str]:
        groups = self.inputs[1].lanes
        nibbles = {f"group{group}={number:04b}" for group in range(groups) for number in range(16)}
        return frozenset(corner_bins(self.inputs) | nibbles | {"error=0", "error=1", "wraps"})

    def covered(self, beats: Beats) -> set[str]:
        metadata = beats["metadata"]
        found = {
            f"group{group}={number:04b}"
            for group in range(metadata.shape[1])
            for number in np.unique(metadata[:, group])
        }
        legal = np.isin(metadata, LEGAL)
        found |= {f"error={int(not whole)}" for whole in np.unique(legal.all(axis=1))}
        b = beats["b"].reshape(-1, self.tile_k, self.tile_n)
        sums = (self._dense(beats, legal) @ b).reshape(len(b), -1) + beats["c"]
        wraps = {"wraps"} if (sums != wrapped(sums, self.acc_bits)).any() else set()
        return found | wraps | covered_corners(self.inputs, beats)

    def _dense(self, beats: Beats, legal: NDArray[np.bool_]) -> NDArray[np.int64]:
        """A (tiles, tile_m, tile_k), illegal groups zero."""
        stored, lawful = NMIndex(2, 4), np.where(legal, beats["metadata"], LEGAL[0])
        values = beats["a"] * np.repeat(legal, 2, axis=1)
        packed = {stored.name: pack(lawful, 4)}
        shape = (len(values) * self.tile_m, self.tile_k)
        dense = stored.decode(Encoded(shape, values.reshape(-1), packed, {}, values.size))
        return dense.astype(np.int64).reshape(-1, self.tile_m, self.tile_k)


BLOCKS.register("sparse_tensor_core_24")(
    (
        *(SparseTensorCore24(*tile) for tile in ((2, 2, 8, 4), (4, 4, 16, 16), (2, 3, 32, 8), (4, 8, 32, 16))),
        SparseTensorCore24(2, 2, 8, 4, bits=4, acc_bits=16), SparseTensorCore24(2, 1, 8, 8, bits=16, acc_bits=40),
        SparseTensorCore24(1, 2, 8, 4, weight_bits=4), SparseTensorCore24(2, 1, 8, 4, bits=16, weight_bits=8),
    )
)  # fmt: skip
