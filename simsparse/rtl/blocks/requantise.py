# SPDX-License-Identifier: Apache-2.0
"""nm_requantise: sums to narrow integers with bias, scale, zero point and ReLU, as PyTorch's quantised linear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.handshake.stream import Stage
from simsparse.rtl.block import BLOCKS, Expected, RtlBlock, corner_bins, covered_corners
from simsparse.rtl.stimulus import signed
from simsparse.rtl.vectors import Beats, Field, wrapped

Ints = NDArray[np.int64]
OUTCOMES = ("saturates low", "saturates high", "tie to even", "tie to odd below", "zero", "fp32 sum rounds")


def requantised(sums: Ints, scale: NDArray[np.float32], zero: Ints, relu: Ints, bits: int) -> Ints:
    """Sums (beats, lanes) that fit in 32 bits times fp32 ``scale``, to signed integers of ``bits``; ``zero`` and
    ``relu`` (beats, 1)."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    with np.errstate(all="ignore"):
        scaled = np.rint(sums.astype(np.float32) * scale)
    whole = np.clip(scaled.astype(np.float64), -(1 << 40), 1 << 40).astype(np.int64)
    clamped: Ints = np.maximum(np.clip(whole + zero, low, high), np.where(relu == 1, zero, low))
    return clamped


@dataclass(frozen=True)
class NMRequantise(RtlBlock):
    """rtl/nm_requantise.sv"""

    lanes: int
    acc_bits: int = 32
    bits: int = 8
    module: ClassVar[str] = "nm_requantise"
    stages: ClassVar[tuple[Stage, ...]] = (Stage(),) * 4

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"Lanes": self.lanes, "AccWidth": self.acc_bits, "OutWidth": self.bits}

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (
            Field("last", 1), Field("sum", self.acc_bits, self.lanes, signed=True),
            Field("bias", 32, self.lanes, signed=True), Field("scale", 32, self.lanes),
            Field("zero", self.bits, signed=True), Field("relu", 1),
        )  # fmt: skip

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (Field("last", 1), Field("value", self.bits, self.lanes, signed=True))

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        """Thirds: scales that fill the range; any finite scale; powers of two, with which ties are common."""
        shape = (tiles, self.lanes)
        sums, bias = signed(rng, shape, self.acc_bits), signed(rng, shape, 32)
        small = rng.integers(-4000, 4000, shape)
        few = rng.random((tiles, 1)) < 0.6
        sums = np.where(few, wrapped(small, self.acc_bits), sums)
        bias = np.where(few, rng.integers(-300, 300, shape), bias)
        total = np.abs(wrapped(sums + bias, 32)) + 1.0
        fills = (rng.uniform(0, 1.3, shape) * (1 << (self.bits - 1)) / total).astype(np.float32)
        anything = rng.integers(0, 0x7F800000, shape).astype(np.uint32).view(np.float32)
        powers = np.exp2(rng.integers(-14, 2, shape)).astype(np.float32)
        scale = np.choose(rng.integers(0, 3, (tiles, 1)), (fills, anything, powers))
        scale = np.where(rng.random(shape) < 0.05, -scale, scale).astype(np.float32)
        return {
            "last": rng.integers(0, 2, (tiles, 1)), "sum": sums, "bias": bias,
            "scale": np.ascontiguousarray(scale).view(np.uint32).astype(np.int64),
            "zero": signed(rng, (tiles, 1), self.bits), "relu": rng.integers(0, 2, (tiles, 1)),
        }  # fmt: skip

    def expected(self, beats: Beats) -> Expected:
        values = requantised(self._totals(beats), self._scale(beats), beats["zero"], beats["relu"], self.bits)
        return Expected({"last": beats["last"], "value": values}, np.ones(len(values), np.bool_))

    @property
    def bins(self) -> frozenset[str]:
        fields = tuple(field for field in self.inputs if field.name in {"sum", "bias", "zero"})
        rounds = set() if self.acc_bits < 26 else {"fp32 sum rounds"}
        return frozenset(corner_bins(fields) | set(OUTCOMES[:-1]) | rounds | {"relu cuts", "relu passes"})

    def covered(self, beats: Beats) -> set[str]:
        fields = tuple(field for field in self.inputs if field.name in {"sum", "bias", "zero"})
        totals, scale = self._totals(beats), self._scale(beats)
        with np.errstate(all="ignore"):
            scaled = np.clip((totals.astype(np.float32) * scale).astype(np.float64), -1e12, 1e12)
        floor = np.floor(scaled)
        moved = np.rint(scaled) + beats["zero"]
        half = 1 << (self.bits - 1)
        cut = (beats["relu"] == 1) & (moved < beats["zero"])
        found = {
            "saturates low": moved < -half, "saturates high": moved >= half,
            "tie to even": (scaled - floor == 0.5) & (floor % 2 == 0),
            "tie to odd below": (scaled - floor == 0.5) & (floor % 2 == 1), "zero": scaled == 0,
            "fp32 sum rounds": totals.astype(np.float32).astype(np.float64) != totals,
            "relu cuts": cut, "relu passes": (beats["relu"] == 1) & ~cut,
        }  # fmt: skip
        return covered_corners(fields, beats) | {name for name, where in found.items() if where.any()}

    def _totals(self, beats: Beats) -> Ints:
        return wrapped(beats["sum"] + beats["bias"], 32)

    def _scale(self, beats: Beats) -> NDArray[np.float32]:
        return beats["scale"].astype(np.uint32).view(np.float32)


BLOCKS.register("nm_requantise")((
    NMRequantise(4), NMRequantise(1, bits=16), NMRequantise(2, acc_bits=20, bits=4), NMRequantise(3, acc_bits=24),
))  # fmt: skip
