# SPDX-License-Identifier: Apache-2.0
"""Cells that only carry data: stream_register, skid_buffer, stream_fifo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.handshake.stream import Stage
from simsparse.rtl.block import BLOCKS, Expected, RtlBlock, corner_bins, covered_corners
from simsparse.rtl.stimulus import signed
from simsparse.rtl.vectors import Beats, Field


@dataclass(frozen=True)
class Cell(RtlBlock):
    """Data in, the same data out."""

    width: int

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"Width": self.width}

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (Field("data", self.width, signed=True),)

    @property
    def outputs(self) -> tuple[Field, ...]:
        return self.inputs

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        return {"data": signed(rng, (tiles, 1), self.width)}

    def expected(self, beats: Beats) -> Expected:
        return Expected(beats, np.ones(len(beats["data"]), np.bool_))

    @property
    def bins(self) -> frozenset[str]:
        return frozenset(corner_bins(self.inputs))

    def covered(self, beats: Beats) -> set[str]:
        return covered_corners(self.inputs, beats)


@dataclass(frozen=True)
class StreamRegister(Cell):
    """rtl/stream_register.sv"""

    module: ClassVar[str] = "stream_register"


@dataclass(frozen=True)
class SkidBuffer(Cell):
    """rtl/skid_buffer.sv"""

    module: ClassVar[str] = "skid_buffer"
    stages: ClassVar[tuple[Stage, ...]] = (Stage(depth=2, registered=True),)


@dataclass(frozen=True)
class StreamFifo(Cell):
    """rtl/stream_fifo.sv"""

    depth: int
    module: ClassVar[str] = "stream_fifo"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"Width": self.width, "Depth": self.depth}

    @property
    def timing(self) -> tuple[Stage, ...]:
        return (Stage(depth=self.depth, registered=True),)


BLOCKS.register("stream_register")((StreamRegister(8),))
BLOCKS.register("skid_buffer")((SkidBuffer(8), SkidBuffer(33)))
BLOCKS.register("stream_fifo")(tuple(StreamFifo(8, depth) for depth in (1, 2, 5, 16)))
