# SPDX-License-Identifier: Apache-2.0
"""What every streaming block of rtl/ is: parameters, ports, a model of its values and stages for its cycles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints, Mask
from simsparse.dataflow.handshake.service import Service, service_cycles
from simsparse.dataflow.handshake.stream import Stage, stream_cycles, through_cycles
from simsparse.registry import Registry
from simsparse.rtl.stimulus import corners
from simsparse.rtl.stream import DrivenStream
from simsparse.rtl.vectors import Beats, Channel, Field

MOST_PATTERNS = 200
"""Above this many patterns of N in M, coverage asks for every index in every place instead."""


@dataclass(frozen=True)
class Expected:
    """What a block gives for a stream: output beats in order, and which input beats end one (``emits``).

    ``service`` says more of a block that spends as many cycles on a beat, or gives as many for it, as its value asks.
    """

    outputs: Beats
    emits: NDArray[np.bool_]
    service: Service | None = None


@dataclass(frozen=True)
class Cycles:
    """Cycles in which every beat of the stream in was taken and of the one out given; the same of side streams."""

    taken: Ints
    given: Ints
    side_taken: tuple[Ints, ...] = ()
    side_given: tuple[Ints, ...] = ()
    met: frozenset[str] = frozenset()
    """Timed bins that the model met itself."""


class RtlBlock(ABC):
    """A module with one ready/valid stream in and one out, at one setting of its parameters, and maybe side streams.

    Subclasses are frozen dataclasses whose fields are the parameters.
    """

    module: ClassVar[str]
    stages: ClassVar[tuple[Stage, ...]] = (Stage(),)
    combinational: ClassVar[bool] = False
    """Whether it has no clock and no handshake: beats go through the bench in the cycle in which they come."""
    tied: ClassVar[Mapping[str, str]] = {}
    """Ports outside of the streams, and what the bench ties them to; outputs to nothing."""

    @property
    def side_inputs(self) -> tuple[Channel, ...]:
        """More streams in; a block that has any says itself when they move (``predicted``)."""
        return ()

    @property
    def side_outputs(self) -> tuple[Channel, ...]:
        """More streams out."""
        return ()

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, int]:
        """The module's parameters by name."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[Field, ...]:
        """Fields of the input stream; a field x is the port x_i."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[Field, ...]:
        """Fields of the output stream; a field x is the port x_o."""

    @abstractmethod
    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        """Random input beats of ``tiles`` tiles: the least that gives an output by itself."""

    @abstractmethod
    def expected(self, beats: Beats) -> Expected:
        """What must come out for ``beats``."""

    @property
    @abstractmethod
    def bins(self) -> frozenset[str]:
        """Everything about values and modes that a verification must have met."""

    @abstractmethod
    def covered(self, beats: Beats) -> set[str]:
        """The bins that ``beats`` meet."""

    @property
    def timed_bins(self) -> frozenset[str]:
        """Everything about which beats meet in time that a verification must have met."""
        return frozenset()

    def timed_covered(self, beats: Beats, at: Cycles) -> set[str]:
        """The timed bins that ``beats`` meet when they move as ``at`` says."""
        del beats, at
        return set()

    @property
    def timing(self) -> tuple[Stage, ...]:
        """Stages from input to output."""
        return self.stages

    def handshakes(self, values: Expected, offers: Mask, accepts: Mask) -> tuple[Ints, Ints]:
        """Cycles of (every beat in, every beat out) of a stream that gives ``values``; see stream_cycles."""
        if values.service is not None:
            return service_cycles(offers, accepts, values.service)
        if self.combinational:
            at = through_cycles(offers, accepts, values.emits.size)
            return at, at
        return stream_cycles(offers, accepts, values.emits, self.timing)

    def fitted(self, stream: DrivenStream) -> DrivenStream:
        """``stream`` as a driver would play it who looks at what the block does: most blocks need none."""
        return stream

    def predicted(self, stream: DrivenStream) -> tuple[Expected, Cycles]:
        """What must come out for ``stream``, and in which cycles."""
        values = self.expected(stream.beats)
        return values, Cycles(*self.handshakes(values, stream.offers, stream.accepts))

    @property
    def channels_in(self) -> tuple[Channel, ...]:
        """All streams in, the main one first."""
        return (Channel("", self.inputs), *self.side_inputs)

    @property
    def channels_out(self) -> tuple[Channel, ...]:
        """All streams out, the main one first."""
        return (Channel("", self.outputs), *self.side_outputs)

    @property
    def name(self) -> str:
        """Module and parameters, fit for a folder: ``nm_dot_pe-N2-M4``."""
        return "-".join([self.module, *(f"{key}{value}" for key, value in self.parameters.items())])


BLOCKS: Registry[tuple[RtlBlock, ...]] = Registry(
    "hardware block",
    tuple(
        f"simsparse.rtl.blocks.{module}" for module in (
            "cells", "select", "dot_pe", "decompress", "dense_pe", "encode24", "prune", "systolic", "tensor_core",
            "intersect", "gemm_top", "hash_accumulate", "floating", "requantise",
        )
    ),
)  # fmt: skip
"""By module, the parameter sets that are verified."""


def corner_bins(fields: tuple[Field, ...]) -> set[str]:
    """Every corner value in every lane of the signed ``fields``."""
    return {
        f"{field.name}[{lane}]={value}"
        for field in fields if field.signed
        for lane in range(field.lanes) for value in corners(field.bits)
    }  # fmt: skip


def covered_corners(fields: tuple[Field, ...], beats: Beats) -> set[str]:
    """The corner bins that ``beats`` meet."""
    return {
        f"{field.name}[{lane}]={value}"
        for field in fields if field.signed
        for lane in range(field.lanes)
        for value in np.intersect1d(beats[field.name][:, lane], corners(field.bits))
    }  # fmt: skip


def pattern_bins(n: int, m: int) -> set[str]:
    """Every pattern of ``n`` in ``m``; when they are too many, every index in every place."""
    if comb(m, n) <= MOST_PATTERNS:
        return {f"pattern={kept}" for kept in combinations(range(m), n)}
    return {f"place{place}={place + skip}" for place in range(n) for skip in range(m - n + 1)}


def covered_patterns(positions: NDArray[np.int64], m: int) -> set[str]:
    """The pattern bins that ascending ``positions`` (groups, n) meet."""
    n = positions.shape[1]
    if comb(m, n) <= MOST_PATTERNS:
        return {f"pattern={tuple(kept)}" for kept in np.unique(positions, axis=0).tolist()}
    return {f"place{place}={index}" for place in range(n) for index in np.unique(positions[:, place])}
