# SPDX-License-Identifier: Apache-2.0
"""bitmap_intersect: inner join of two bitmaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.handshake.intersect import intersect, intersect_service
from simsparse.rtl.block import BLOCKS, Expected, RtlBlock
from simsparse.rtl.vectors import Beats, Field
from simsparse.sparsity.formats.bits import index_bits

DENSITIES = (0.0, 0.05, 0.3, 0.5, 0.8, 0.95, 1.0)


@dataclass(frozen=True)
class BitmapIntersect(RtlBlock):
    """rtl/bitmap_intersect.sv"""

    width: int
    matches: int = 1
    module: ClassVar[str] = "bitmap_intersect"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"Width": self.width, "Matches": self.matches}

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (Field("bitmap_a", 1, self.width), Field("bitmap_b", 1, self.width))

    @property
    def outputs(self) -> tuple[Field, ...]:
        offset = index_bits(self.width)
        return (
            Field("match", 1, self.matches), Field("offset_a", offset, self.matches),
            Field("offset_b", offset, self.matches), Field("last", 1),
        )  # fmt: skip

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        return {name: self._bitmaps(rng, tiles) for name in ("bitmap_a", "bitmap_b")}

    def expected(self, beats: Beats) -> Expected:
        a, b = self._masks(beats)
        service = intersect_service(a, b, self.matches)
        tile, offset_a, offset_b = intersect(a, b)
        ends = np.cumsum(service.gives)
        nth = np.arange(tile.size) - np.searchsorted(tile, tile)
        where = (ends - service.gives)[tile] + nth // self.matches, nth % self.matches
        outputs = {name: np.zeros((ends[-1], self.matches), np.int64) for name in ("match", "offset_a", "offset_b")}
        outputs["last"] = np.zeros((ends[-1], 1), np.int64)
        outputs["match"][where] = 1
        outputs["offset_a"][where], outputs["offset_b"][where] = offset_a, offset_b
        outputs["last"][ends - 1] = 1
        return Expected(outputs, np.ones(len(a), np.bool_), service)

    @property
    def bins(self) -> frozenset[str]:
        """Every element matched, every offset of both operands, tiles without a match for each reason, full tiles,
        and every number of lanes in use in a last beat."""
        numbers = {f"{name}={i}" for name in ("element", "offset_a", "offset_b") for i in range(self.width)}
        kinds = {"both empty", "a empty", "b empty", "disjoint", "full"}
        return frozenset(numbers | kinds | {f"last lanes={lanes}" for lanes in range(1, self.matches + 1)})

    def covered(self, beats: Beats) -> set[str]:
        a, b = self._masks(beats)
        _, offset_a, offset_b = intersect(a, b)
        seen = {"element": np.nonzero(a & b)[1], "offset_a": offset_a, "offset_b": offset_b}
        some_a, some_b, some = a.any(axis=1), b.any(axis=1), (a & b).any(axis=1)
        kinds = {
            "both empty": ~some_a & ~some_b, "a empty": ~some_a & some_b, "b empty": some_a & ~some_b,
            "disjoint": some_a & some_b & ~some, "full": (a & b).all(axis=1),
        }  # fmt: skip
        lanes = (np.count_nonzero(a & b, axis=1)[some] - 1) % self.matches + 1
        found = {f"{name}={i}" for name, numbers in seen.items() for i in np.unique(numbers)}
        return (
            found
            | {kind for kind, where in kinds.items() if where.any()}
            | {f"last lanes={i}" for i in np.unique(lanes)}
        )

    def _bitmaps(self, rng: np.random.Generator, tiles: int) -> NDArray[np.int64]:
        chances = 1 / (1 + np.array(DENSITIES) * self.width / 4)
        densities = rng.choice(DENSITIES, (tiles, 1), p=chances / chances.sum())
        return (rng.random((tiles, self.width)) < densities).astype(np.int64)

    def _masks(self, beats: Beats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return beats["bitmap_a"] == 1, beats["bitmap_b"] == 1


BLOCKS.register("bitmap_intersect")(
    (
        *(BitmapIntersect(width) for width in (8, 16, 32, 64, 128)),
        BitmapIntersect(32, 4), BitmapIntersect(12, 3),
    )
)  # fmt: skip
