# SPDX-License-Identifier: Apache-2.0
"""What every dataflow is: integer cycles of GEMMs on an array of processing elements (PEs)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simsparse.errors import MappingError, SpecError
from simsparse.registry import Registry

Ints = NDArray[np.int64]
Wholes = NDArray[np.float64]
"""Whole numbers that may grow beyond 64 bits: exact below 2**53, and never wrapped."""
Mask = NDArray[np.bool_]
CUTS = (2, 4, 8, 16)
"""Shares of the longest stream that are tried."""


def ceil_div(a: Ints | Wholes | int, b: Ints | Wholes | int) -> Any:
    """``a / b`` rounded up, elementwise."""
    return -(-a // b)


@dataclass(frozen=True)
class PeArray:
    """``rows`` x ``cols`` PEs with ``macs`` multiply-accumulates a cycle each.

    ``skew`` is the share of the diagonal fill and drain (rows + cols - 2 cycles) that every fold
    pays; what is left is paid once. ``overlap`` is the share of a stationary load that can hide
    behind the fold before. ``decode`` is the delay of operand selection, in cycles a sparse fold;
    ``stages`` that of further registers and of control, in cycles of any fold. ``pipe_stages`` are registers inside a
    PE, whose cycles are paid as the diagonal's are: PipeStages of rtl/nm_systolic_array.sv.
    """

    rows: int
    cols: int
    macs: int = 1
    skew: float = 1.0
    overlap: float = 0.0
    decode: int = 0
    stages: int = 0
    pipe_stages: int = 0

    def __post_init__(self) -> None:
        least = min(self.skew, self.decode, self.stages, self.pipe_stages, self.overlap)
        if min(self.rows, self.cols, self.macs) < 1 or least < 0 or self.overlap > 1:
            raise SpecError(f"{self} is no array; expected positive sizes and 0 <= overlap <= 1", key="array")

    @property
    def pes(self) -> int:
        return self.rows * self.cols

    @property
    def fold_fill(self) -> int:
        """Cycles that every fold pays for filling and draining."""
        return math.ceil(self.skew * self._diagonal) + self.stages

    @property
    def once_fill(self) -> int:
        """Cycles of filling and draining that only the first and last fold show."""
        return max(0, self._diagonal - (self.fold_fill - self.stages))

    @property
    def _diagonal(self) -> int:
        """Cycles from the first PE's first sum to the last one's."""
        return self.rows + self.cols - 2 + self.pipe_stages


@dataclass(frozen=True)
class Gemms:
    """``y[m, n] = x[m, k] @ w[n, k].T`` many times: arrays of equal shape.

    A weight row keeps ``keep`` of every ``group`` elements along k; 1 of 1 is dense.
    """

    m: Wholes
    n: Wholes
    k: Wholes
    keep: Wholes
    group: Wholes

    @classmethod
    def of(cls, m: ArrayLike, n: ArrayLike, k: ArrayLike, keep: ArrayLike = 1, group: ArrayLike = 1) -> Gemms:
        """From anything that broadcasts. Raises SpecError when a size is not positive or keep > group."""
        arrays = np.broadcast_arrays(*(np.asarray(size, np.float64) for size in (m, n, k, keep, group)))
        if any((array < 1).any() for array in arrays) or (arrays[3] > arrays[4]).any():
            raise SpecError("a GEMM needs positive sizes and keep <= group", key="gemms")
        return cls(*arrays)

    @property
    def sparse(self) -> NDArray[np.bool_]:
        """Which GEMMs skip weights."""
        return self.keep < self.group

    @property
    def kept_k(self) -> Wholes:
        """Kept weights of one row; a short last group keeps at most what it has."""
        full, rest = np.divmod(self.k, self.group)
        kept: Wholes = full * self.keep + np.minimum(self.keep, rest)
        return kept

    @property
    def macs(self) -> Wholes:
        """Multiply-accumulates with kept weights."""
        return self.m * self.n * self.kept_k

    def per_pe(self, macs: int) -> tuple[Wholes, Wholes]:
        """What one PE takes on at a time: (``span`` elements of k, ``interval`` cycles between tokens).

        A PE holds as many whole groups as its ``macs`` multipliers can do in one cycle, at least
        one, and spends a cycle on each ``macs`` kept weights.
        """
        groups = np.maximum(1, macs // self.keep)
        return groups * self.group, ceil_div(groups * self.keep, macs)


@dataclass(frozen=True)
class ArrayCycles:
    """A GEMM with real masks on an array: cycles, effectual MACs, folds run, weights and input rows moved."""

    cycles: int
    macs: int
    folds: int
    weights_loaded: int
    inputs_streamed: int
    peak_macs: int

    @property
    def utilization(self) -> float:
        """Share of the array's multiply-accumulate slots that did an effectual one."""
        return self.macs / (self.cycles * self.peak_macs) if self.cycles else 0.0


class Dataflow(ABC):
    """Which operand stays in the PEs, and what that costs.

    ``streams`` is the dim along which partial sums of a fold pile up; None when they stay in the PEs.
    """

    name: ClassVar[str]
    streams: ClassVar[Literal["m", "n"] | None] = None

    @abstractmethod
    def cycles(self, gemms: Gemms, array: PeArray) -> Wholes:
        """Cycles of each GEMM, operands on chip, from the first load to the last result."""

    @abstractmethod
    def tiles(self, gemms: Gemms, array: PeArray, partial_sums: int) -> tuple[Wholes, Wholes]:
        """(tokens, outputs) whose results stay on chip until they are whole.

        ``partial_sums`` is how many of them the output buffer holds: as long a stream as possible
        past the array's stationary operand, then as many of those as still fit.
        """

    def chunked_cycles(self, gemms: Gemms, array: PeArray, partial_sums: int) -> Wholes:
        """Cycles when the output buffer holds ``partial_sums`` of them: streams are cut into chunks,
        and each chunk loads the stationary operand again."""
        return self.cut_cycles(gemms, array, self.tiles(gemms, array, partial_sums))

    def cut_cycles(self, gemms: Gemms, array: PeArray, tile: tuple[Wholes, Wholes]) -> Wholes:
        """Cycles when streams are cut into chunks of ``tile``, (tokens, outputs)."""
        if self.streams is None:
            return self.cycles(gemms, array)
        size, length = (gemms.m, tile[0]) if self.streams == "m" else (gemms.n, tile[1])
        chunks = ceil_div(size, length)
        total: Wholes = chunks * self.cycles(replace(gemms, **{self.streams: ceil_div(size, chunks)}), array)
        return total

    def cuts(self, gemms: Gemms, array: PeArray, partial_sums: int) -> Iterator[tuple[Wholes, Wholes]]:
        """Tiles to choose from: streams as long as ``tiles`` has them, a half, a quarter, ... as long, with more of
        the stationary operand's tiles beside each other."""
        tokens, outputs = self.tiles(gemms, array, partial_sums)
        yield tokens, outputs
        for cut in CUTS if self.streams else ():
            if self.streams == "m":
                shorter = np.maximum(1, tokens // cut)
                beside = np.maximum(1, partial_sums // shorter // array.cols) * array.cols
                yield shorter, np.minimum(gemms.n, beside)
            else:
                shorter = np.maximum(1, outputs // cut)
                beside = np.maximum(1, partial_sums // shorter // array.cols) * array.cols
                yield np.minimum(gemms.m, beside), shorter

    @abstractmethod
    def passes(self, gemms: Gemms, array: PeArray, tile: tuple[Wholes, Wholes]) -> tuple[Wholes, Wholes, Wholes]:
        """How many times the (weights, inputs, partial sums) of each GEMM cross the array's edge."""

    def cycles_with_masks(self, weight_mask: Mask, input_mask: Mask | int, array: PeArray, span: int) -> ArrayCycles:
        """Cycles with real masks: weights (n, k), inputs (m, k) or the number of dense tokens.

        A PE holds the kept weights of ``span`` elements of k. Raises MappingError when the dataflow has no cycle core.
        """
        del weight_mask, input_mask, array, span
        raise MappingError(f"the {self.name} dataflow has no cycle core; ws has one")


def folded(folds: Wholes, load: Wholes, stream: Wholes, array: PeArray) -> Wholes:
    """Cycles of ``folds`` that each load for ``load`` cycles and then stream for ``stream``.

    ``stream`` holds the fold's fill. The first load shows; later ones hide as ``overlap`` allows.
    """
    hidden: Wholes = np.minimum(np.floor(array.overlap * load), stream)
    total: Wholes = folds * (load + stream) - (folds - 1) * hidden + array.once_fill
    return total


DATAFLOWS: Registry[Dataflow] = Registry(
    "dataflow",
    tuple(f"simsparse.dataflow.{module}" for module in
          ("weight_stationary", "output_stationary", "input_stationary", "weight_gather")),
)  # fmt: skip
