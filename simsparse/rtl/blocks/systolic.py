# SPDX-License-Identifier: Apache-2.0
"""nm_systolic_array: folds of weights and activations to sums, weight- or output-stationary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.handshake.array_stream import Sides, os_handshakes, ws_handshakes
from simsparse.rtl.block import (
    BLOCKS,
    Cycles,
    Expected,
    RtlBlock,
    corner_bins,
    covered_corners,
    covered_patterns,
    pattern_bins,
)  # fmt: skip
from simsparse.rtl.blocks.select import MODE_BINS, covered_modes
from simsparse.rtl.stimulus import positions, signed
from simsparse.rtl.stream import DrivenStream
from simsparse.rtl.vectors import Beats, Channel, Field, wrapped
from simsparse.sparsity.formats.bits import index_bits

LONGEST = 12
"""Activation beats of the longest random fold."""


@dataclass(frozen=True)
class NMSystolicArray(RtlBlock):
    """rtl/nm_systolic_array.sv"""

    rows: int
    cols: int
    n: int
    m: int
    output_stationary: bool = False
    bits: int = 8
    acc_bits: int = 32
    weight_bits: int = 0
    """Bits of a weight; as many as an activation's when 0."""
    pipe_stages: int = 0
    module: ClassVar[str] = "nm_systolic_array"
    tied: ClassVar[Mapping[str, str]] = {"clear_i": "1'b0"}

    @property
    def weight_width(self) -> int:
        """Bits of a weight."""
        return self.weight_bits or self.bits

    @property
    def parameters(self) -> Mapping[str, int]:
        return {
            "Rows": self.rows, "Cols": self.cols, "N": self.n, "M": self.m, "DataWidth": self.bits,
            "AccWidth": self.acc_bits, "OutputStationary": int(self.output_stationary),
            "WeightWidth": self.weight_width, "PipeStages": self.pipe_stages,
        }  # fmt: skip

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (Field("last", 1), Field("activation", self.bits, self.rows * self.m, signed=True))

    @property
    def side_inputs(self) -> tuple[Channel, ...]:
        lanes = self.cols * self.n
        fields = (
            Field("dense", 1), Field("weight", self.weight_width, lanes, signed=True),
            Field("index", index_bits(self.m), lanes),
        )  # fmt: skip
        return (Channel("weight_", fields),)

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (Field("last", 1), Field("sum", self.acc_bits, self.cols, signed=True))

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        """A tile is a fold, its weights all dense or all N:M."""
        lengths = rng.integers(1, LONGEST + 1, tiles)
        count = int(lengths.sum())
        last = np.zeros((count, 1), np.int64)
        last[np.cumsum(lengths) - 1] = 1
        words = lengths if self.output_stationary else np.full(tiles, self.rows)
        total = int(words.sum())
        return {
            "last": last,
            "activation": signed(rng, (count, self.rows * self.m), self.bits),
            "dense": np.repeat(rng.integers(0, 2, (tiles, 1)), words, axis=0),
            "weight": signed(rng, (total, self.cols * self.n), self.weight_width),
            "index": positions(rng, total * self.cols, self.n, self.m).reshape(total, -1),
        }

    def expected(self, beats: Beats) -> Expected:
        sums, last = self._sums(beats), beats["last"][:, 0]
        if self.output_stationary:
            last = np.tile(np.arange(self.rows) == self.rows - 1, int(last.sum()))
        outputs = {"last": last.astype(np.int64)[:, None], "sum": wrapped(sums, self.acc_bits)}
        return Expected(outputs, np.ones(len(sums), np.bool_))

    def predicted(self, stream: DrivenStream) -> tuple[Expected, Cycles]:
        core = os_handshakes if self.output_stationary else ws_handshakes
        sides = Sides(stream.side_offers[0], stream.offers, stream.accepts)
        at = core(sides, stream.beats["last"][:, 0] == 1, self.rows, self.cols, self.pipe_stages)
        return self.expected(stream.beats), Cycles(at.activations, at.results, (at.weights,))

    @property
    def bins(self) -> frozenset[str]:
        lengths = {f"beats={length}" for length in range(1, LONGEST + 1)} | ({"wraps"} if self._may_wrap else set())
        fields = (*self.inputs, *self.side_inputs[0].fields)
        return frozenset(corner_bins(fields) | pattern_bins(self.n, self.m) | lengths) | MODE_BINS

    def covered(self, beats: Beats) -> set[str]:
        sparse = beats["index"][beats["dense"][:, 0] == 0].reshape(-1, self.n)
        lengths = np.unique(np.diff(np.flatnonzero(beats["last"][:, 0]), prepend=-1))
        corners = covered_corners((*self.inputs, *self.side_inputs[0].fields), beats)
        found = covered_modes(beats["dense"]) | {f"beats={length}" for length in lengths}
        if self._may_wrap:
            sums = self._sums(beats)
            found |= {"wraps"} if (sums != wrapped(sums, self.acc_bits)).any() else set()
        return corners | covered_patterns(sparse, self.m) | found

    @property
    def timed_bins(self) -> frozenset[str]:
        if self.output_stationary:
            return frozenset({"sums end as close as they may", "a result leaves while the next sum runs"})
        return frozenset({
            "weights taken as their place is freed", "weights taken while the fold before runs", "no weights ahead",
            "all weights ahead",
        })  # fmt: skip

    def timed_covered(self, beats: Beats, at: Cycles) -> set[str]:
        ends = np.flatnonzero(beats["last"][:, 0])
        begins = np.concatenate([[0], ends[:-1] + 1])
        words = at.side_taken[0]
        if self.output_stationary:
            leave = at.given.reshape(-1, self.rows)
            found = {
                "sums end as close as they may": (np.diff(at.taken[ends]) == self.rows).any(),
                "a result leaves while the next sum runs": (leave[:-1, -1] >= at.taken[begins[1:]]).any(),
            }
        else:
            loaded = words.reshape(-1, self.rows)
            found = {
                "weights taken as their place is freed": (loaded[1:, 0] == at.taken[begins[:-1]]).any(),
                "weights taken while the fold before runs": (loaded[1:, -1] < at.taken[ends[:-1]]).any(),
                "no weights ahead": (loaded[1:, 0] > at.taken[ends[:-1]]).any(),
                "all weights ahead": (loaded[1:, -1] < at.taken[begins[1:]] - 1).any(),
            }
        return {name for name, met in found.items() if met}

    def weights(self, beats: Beats) -> NDArray[np.int64]:
        """Weight words (words, cols, m) as dense groups: what multiplies each activation; equal indexes add up."""
        shape = (-1, self.cols, self.n)
        places = np.where(beats["dense"][:, :, None] == 1, np.arange(self.n), beats["index"].reshape(shape))
        groups = np.zeros((len(places), self.cols, self.m), np.int64)
        word, col = np.ogrid[: len(places), : self.cols]
        for lane in range(self.n):
            groups[word, col, places[:, :, lane]] += beats["weight"].reshape(shape)[:, :, lane]
        return groups

    @property
    def _may_wrap(self) -> bool:
        """Whether the largest sum does not fit."""
        products = self.n * (LONGEST if self.output_stationary else self.rows)
        return products << (self.bits + self.weight_width - 2) >= 1 << (self.acc_bits - 1)

    def _sums(self, beats: Beats) -> NDArray[np.int64]:
        """Results (beats out, cols) before they wrap."""
        lengths = np.diff(np.flatnonzero(beats["last"][:, 0]), prepend=-1)
        return self._running(beats, lengths) if self.output_stationary else self._streamed(beats, lengths)

    def _streamed(self, beats: Beats, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Weight-stationary: each token (tokens, rows * m) times its fold's weights."""
        folds = self.weights(beats).reshape(-1, self.rows, self.cols, self.m).transpose(0, 1, 3, 2)
        matrices = folds.reshape(-1, self.rows * self.m, self.cols)
        products = [
            tokens @ matrix
            for tokens, matrix in zip(np.split(beats["activation"], np.cumsum(lengths)[:-1]), matrices, strict=True)
        ]
        return np.concatenate(products)

    def _running(self, beats: Beats, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Output-stationary: rows of sums over the beats of each fold."""
        activations = beats["activation"].reshape(-1, self.rows, self.m)
        through = np.cumsum(activations @ self.weights(beats).transpose(0, 2, 1), axis=0)[np.cumsum(lengths) - 1]
        return np.diff(through, axis=0, prepend=0).reshape(-1, self.cols)


def _sets() -> tuple[NMSystolicArray, ...]:
    sizes = ((1, 1, 1, 4), (4, 4, 2, 4), (2, 3, 4, 8), (3, 2, 1, 4), (2, 2, 3, 16))
    both = [NMSystolicArray(*size, output_stationary=way) for way in (False, True) for size in sizes]
    return (*both, NMSystolicArray(4, 2, 2, 4, acc_bits=17), NMSystolicArray(8, 8, 2, 4), *_widths())


def _widths() -> tuple[NMSystolicArray, ...]:
    """Widths of 4, 8 and 16 bits, activations and weights of different width, and every number of pipeline stages."""
    return (
        NMSystolicArray(2, 2, 2, 4, bits=4, acc_bits=16), NMSystolicArray(2, 3, 2, 4, bits=16, acc_bits=40),
        NMSystolicArray(2, 2, 2, 4, weight_bits=4, pipe_stages=1),
        NMSystolicArray(3, 2, 1, 4, bits=16, weight_bits=8, pipe_stages=2),
        NMSystolicArray(2, 3, 2, 4, pipe_stages=3),
        NMSystolicArray(2, 2, 2, 4, True, weight_bits=4, pipe_stages=3),
        NMSystolicArray(3, 2, 2, 4, True, bits=16, weight_bits=8, pipe_stages=1),
        NMSystolicArray(2, 1, 1, 2, True, bits=4, acc_bits=12, pipe_stages=2),
    )  # fmt: skip


BLOCKS.register("nm_systolic_array")(_sets())
