# SPDX-License-Identifier: Apache-2.0
"""nm_decompress: kept values and metadata to a dense group, or an error."""

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
from simsparse.rtl.stimulus import positions, signed
from simsparse.rtl.vectors import Beats, Field
from simsparse.sparsity.formats.base import Encoded
from simsparse.sparsity.formats.bits import index_bits, pack
from simsparse.sparsity.formats.nm import NMBitmap, NMIndex

ILLEGAL_SHARE = 0.25


@dataclass(frozen=True)
class NMDecompress(RtlBlock):
    """rtl/nm_decompress.sv"""

    n: int
    m: int
    bitmap: bool = False
    bits: int = 8
    module: ClassVar[str] = "nm_decompress"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"N": self.n, "M": self.m, "DataWidth": self.bits, "Bitmap": int(self.bitmap)}

    @property
    def inputs(self) -> tuple[Field, ...]:
        metadata = Field("metadata", 1, self.m) if self.bitmap else Field("metadata", index_bits(self.m), self.n)
        return (Field("value", self.bits, self.n, signed=True), metadata)

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (Field("dense", self.bits, self.m, signed=True), Field("error", 1))

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        metadata = positions(rng, tiles, self.n, self.m)
        if self.bitmap:
            bits = np.zeros((tiles, self.m), np.int64)
            np.put_along_axis(bits, metadata, 1, axis=1)
            metadata = bits
        field = self.inputs[1]
        anything = rng.integers(0, 1 << field.bits, metadata.shape)
        illegal = rng.random((tiles, 1)) < ILLEGAL_SHARE
        return {
            "value": signed(rng, (tiles, self.n), self.bits),
            "metadata": np.where(illegal, anything, metadata),
        }

    def expected(self, beats: Beats) -> Expected:
        legal = self._legal(beats["metadata"])
        dense = np.zeros((legal.size, self.m), np.int64)
        dense[legal] = self._decoded(beats["value"][legal], beats["metadata"][legal])
        return Expected({"dense": dense, "error": 1 - legal[:, None].astype(np.int64)}, np.ones(legal.size, np.bool_))

    @property
    def bins(self) -> frozenset[str]:
        faults = {"fewer", "more"} if self.bitmap else {"repeated", "descending"} if self.n > 1 else set()
        if not self.bitmap and self.m < 1 << index_bits(self.m):
            faults |= {"out of range"}
        if self.n == self.m:
            faults -= {"more"}
        return frozenset(corner_bins(self.inputs) | pattern_bins(self.n, self.m) | faults)

    def covered(self, beats: Beats) -> set[str]:
        metadata = beats["metadata"]
        legal = metadata[self._legal(metadata)]
        kept = np.nonzero(legal)[1].reshape(-1, self.n) if self.bitmap else legal
        return covered_corners(self.inputs, beats) | covered_patterns(kept, self.m) | self._faults(metadata)

    def _legal(self, metadata: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self.bitmap:
            return np.asarray(metadata.sum(axis=1) == self.n, np.bool_)
        sound = (np.diff(metadata, axis=1, prepend=-1) > 0) & (metadata < self.m)
        return np.asarray(sound.all(axis=1), np.bool_)

    def _faults(self, metadata: NDArray[np.int64]) -> set[str]:
        if self.bitmap:
            kept = metadata.sum(axis=1)
            found = {"fewer": kept < self.n, "more": kept > self.n}
        else:
            step = np.diff(metadata, axis=1)
            found = {"repeated": step == 0, "descending": step < 0, "out of range": metadata >= self.m}
        return {name for name, where in found.items() if where.any()}

    def _decoded(self, values: NDArray[np.int64], metadata: NDArray[np.int64]) -> NDArray[np.int64]:
        stored = NMBitmap(self.n, self.m) if self.bitmap else NMIndex(self.n, self.m)
        packed = {stored.name: pack(metadata, self.inputs[1].bits)}
        shape = (len(values), self.m)
        return stored.decode(Encoded(shape, values.reshape(-1), packed, {}, values.size)).astype(np.int64)


BLOCKS.register("nm_decompress")(
    (
        NMDecompress(2, 4), NMDecompress(1, 4), NMDecompress(4, 8), NMDecompress(3, 6), NMDecompress(4, 32),
        NMDecompress(2, 4, bitmap=True), NMDecompress(4, 8, bitmap=True), NMDecompress(2, 4, bits=4),
        NMDecompress(2, 4, bits=16),
    )
)  # fmt: skip
