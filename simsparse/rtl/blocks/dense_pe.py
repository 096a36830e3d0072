# SPDX-License-Identifier: Apache-2.0
"""dot_accumulate and dense_pe: as many signed products a beat as there are lanes, accumulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.handshake.stream import Stage
from simsparse.rtl.block import BLOCKS, Expected, RtlBlock, corner_bins, covered_corners
from simsparse.rtl.blocks.dot_pe import LONGEST
from simsparse.rtl.stimulus import signed
from simsparse.rtl.vectors import Beats, Field, wrapped


@dataclass(frozen=True)
class DotAccumulate(RtlBlock):
    """rtl/dot_accumulate.sv"""

    lanes: int
    bits: int = 8
    acc_bits: int = 32
    weight_bits: int = 0
    """Bits of a weight; as many as an activation's when 0."""
    module: ClassVar[str] = "dot_accumulate"
    stages: ClassVar[tuple[Stage, ...]] = (Stage(), Stage())

    @property
    def parameters(self) -> Mapping[str, int]:
        other = {"WeightWidth": self.weight_bits} if self.weight_bits else {}
        return {"Lanes": self.lanes, "DataWidth": self.bits, "AccWidth": self.acc_bits, **other}

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (
            Field("last", 1), Field("activation", self.bits, self.lanes, signed=True),
            Field("weight", self.weight_bits or self.bits, self.lanes, signed=True),
        )  # fmt: skip

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (Field("sum", self.acc_bits, signed=True),)

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        lengths = rng.integers(1, LONGEST + 1, tiles)
        shape = (int(lengths.sum()), self.lanes)
        last = np.zeros((shape[0], 1), np.int64)
        last[np.cumsum(lengths) - 1] = 1
        weights = signed(rng, shape, self.weight_bits or self.bits)
        return {"last": last, "activation": signed(rng, shape, self.bits), "weight": weights}

    def expected(self, beats: Beats) -> Expected:
        dots = (beats["activation"] * beats["weight"]).sum(axis=1)
        emits = beats["last"][:, 0] == 1
        sums = np.diff(np.cumsum(dots)[emits], prepend=np.int64(0))
        return Expected({"sum": wrapped(sums, self.acc_bits)[:, None]}, emits)

    @property
    def bins(self) -> frozenset[str]:
        return frozenset(corner_bins(self.inputs) | {f"beats={length}" for length in range(1, LONGEST + 1)})

    def covered(self, beats: Beats) -> set[str]:
        lengths = np.unique(np.diff(np.flatnonzero(beats["last"][:, 0]), prepend=-1))
        return covered_corners(self.inputs, beats) | {f"beats={length}" for length in lengths}


@dataclass(frozen=True)
class DensePE(DotAccumulate):
    """rtl/dense_pe.sv: a register of operands before dot_accumulate."""

    module: ClassVar[str] = "dense_pe"
    stages: ClassVar[tuple[Stage, ...]] = (Stage(), Stage(), Stage())


_WIDTHS = ((4, 16, 0), (16, 40, 0), (8, 32, 4), (16, 32, 8))
"""Bits of an activation, of a sum, and of a weight where it differs."""
BLOCKS.register("dot_accumulate")(
    (*(DotAccumulate(lanes) for lanes in (2, 3)), *(DotAccumulate(2, *widths) for widths in _WIDTHS))
)
BLOCKS.register("dense_pe")((*(DensePE(lanes) for lanes in (1, 2, 4)), *(DensePE(2, *widths) for widths in _WIDTHS)))
