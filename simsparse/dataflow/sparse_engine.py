# SPDX-License-Identifier: Apache-2.0
"""What every sparse engine is: a cycle core that walks the non-zeros of both operands, and its closed form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import product
from math import prod
from typing import ClassVar

import numpy as np

from simsparse.dataflow.base import Ints
from simsparse.dataflow.traffic import Buffers
from simsparse.errors import SpecError
from simsparse.registry import Registry
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.sparsity.statement import Sparsity

FACE, SIDE = 2**31, 2**20
"""Elements that an operand or the result of one piece of a product may have, and the longest of its sizes."""

MOST = 65536
"""Largest count that a setting of an engine may state."""


class Resident(Enum):
    """What of a product does not cross the DRAM: nothing; inputs and results; both operands and results."""

    NOTHING = "nothing"
    ACTIVATIONS = "activations"
    ALL = "all"


@dataclass(frozen=True)
class PeConfig:
    """What an engine is built of.

    ``rows`` x ``cols`` PEs with ``macs`` multiply-accumulates a cycle each; ``buffers`` in bytes;
    ``dram_bytes`` a cycle; ``value_bits`` of an operand's element, ``output_bits`` of a result's, ``weight_bits`` of
    a weight as the DRAM holds it, ``value_bits`` where not given. ``settings`` are the engine's own, those that its
    ``settings`` name. ``resident`` are the operands and results that are on the chip already and stay there.
    """

    rows: int
    cols: int
    macs: int
    buffers: Buffers
    dram_bytes: float
    value_bits: int
    output_bits: int
    settings: Mapping[str, float] = field(default_factory=dict)
    weight_bits: int = 0
    resident: Resident = Resident.NOTHING

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight_bits", self.weight_bits or self.value_bits)

    @property
    def peak_macs(self) -> int:
        """Multiply-accumulates a cycle of all PEs."""
        return self.rows * self.cols * self.macs

    def whole(self, name: str) -> int:
        """A setting that counts something. Raises SpecError when it is missing or no whole number from 1 to MOST."""
        value = self.settings.get(name)
        if value is None or value != round(value) or not 1 <= value <= MOST:
            raise SpecError(f"{value!r}; expected a whole number from 1 to {MOST}", key=f"engine.{name}")
        return round(value)


@dataclass(frozen=True)
class Work:
    """What a product took: ``cycles``, and by cause; effectual ``macs``; bytes moved.

    ``causes`` add up to ``cycles``: ``compute`` and what else made the engine take longer (fill, drain, imbalance,
    metadata, merge, conflict, dram, ...). ``dram_read``, ``dram_write`` and ``sram`` (both ways) are bytes, metadata
    included. ``events`` are further counts by name (intersections, probes, merges, ...).
    """

    cycles: int
    macs: int
    causes: Mapping[str, int]
    dram_read: int
    dram_write: int
    sram: int
    events: Mapping[str, int] = field(default_factory=dict)

    def utilization(self, machine: PeConfig) -> float:
        """Share of the machine's multiply-accumulate slots that did an effectual one."""
        return self.macs / (self.cycles * machine.peak_macs) if self.cycles else 0.0


class SparseEngine(ABC):
    """A sparse engine: ``y[m, n] = x[m, k] @ w[n, k].T`` with zeros in either operand.

    ``settings`` says what each of its own parameters means. ``tolerance`` is how far ``expect`` may be from ``run``,
    as a share of the cycles, on a draw of the same sparsity. ``denser_is_slower``: another non-zero never makes it
    faster; where that is False the docstring says why. ``weight_formats`` name the storage formats whose bytes its
    traffic counts; an engine without one reads weights in a form of its own alone. ``keeps_activations``: its traffic
    leaves out what is resident. ``widens``: its traffic counts
    weights of another width than the inputs, which are widened on their way in; others are refused. ``limits``: least
    and most of settings that can't be any number from 0 to MOST. ``volume``:
    m * n * k up to which ``expect`` takes a product at once; a larger one runs as pieces, one after another.
    """

    name: ClassVar[str]
    settings: ClassVar[Mapping[str, str]] = {}
    tolerance: ClassVar[float] = 0.1
    denser_is_slower: ClassVar[bool] = True
    weight_formats: ClassVar[tuple[str, ...]] = ()
    widens: ClassVar[bool] = False
    keeps_activations: ClassVar[bool] = False
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}
    volume: ClassVar[int] = 2**42

    @abstractmethod
    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        """Walk real patterns, weights (n, k) and inputs (m, k). Raises SpecError when they do not fit together."""

    @abstractmethod
    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        """Closed form: what ``run`` takes on average for patterns of these sparsities; ``shape`` is (m, n, k)."""

    def experts(self, counts: Sequence[int], d_model: int, d_ff: int, gated: bool, machine: PeConfig) -> Work | None:
        """A whole MoE layer, ``counts`` tokens at each expert that is hit; None: one product after another."""
        del counts, d_model, d_ff, gated, machine
        return None

    def applies(self, sparsity: Sparsity) -> bool:
        """Whether the engine gains from weights of ``sparsity``; else they run as dense ones."""
        return not sparsity.is_dense


def pieces(shape: tuple[int, int, int], volume: int) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """(how many, shape) of equal pieces of a product (m, n, k), none larger than ``volume``, with an operand or
    a result over FACE elements or a size over SIDE; the longest sizes are cut, and the last pieces may be shorter."""
    sizes, cuts = list(shape), [1, 1, 1]
    while prod(sizes) > volume or prod(sorted(sizes)[1:]) > FACE or max(sizes) > SIDE:
        longest = sizes.index(max(sizes))
        cuts[longest] *= 2
        sizes[longest] = -(-shape[longest] // cuts[longest])
    sides = [_sides(whole, size) for whole, size in zip(shape, sizes, strict=True)]
    for (count_m, m), (count_n, n), (count_k, k) in product(*sides):
        yield count_m * count_n * count_k, (m, n, k)


def _sides(whole: int, size: int) -> list[tuple[int, int]]:
    full, rest = divmod(whole, size)
    return [(count, side) for count, side in ((full, size), (1, rest)) if count and side]


def even_shares(total: int, count: int) -> Ints:
    """``total`` as ``count`` whole numbers that differ by at most one; no product of the two is formed."""
    each, rest = divmod(total, count)
    return np.asarray(each + np.diff(rest * np.arange(count + 1) // count))


def same_k(weights: NonZeros, inputs: NonZeros) -> tuple[int, int, int]:
    """(m, n, k) of a product. Raises SpecError when the operands differ in k."""
    (n, k), (m, other) = weights.shape, inputs.shape
    if k != other:
        raise SpecError(f"weights ({n}, {k}) and inputs ({m}, {other}) differ in k", key="input_mask")
    return m, n, k


def double_buffered(load: Ints, compute: Ints) -> tuple[int, int]:
    """Cycles of steps whose data arrive while the step before computes: (total, those spent waiting).

    The first load shows whole; step i computes ``compute[i]`` cycles, while ``load[i + 1]`` cycles of data arrive.
    """
    if not load.size:
        return 0, 0
    steps = np.maximum(compute[:-1], load[1:])
    total = int(load[0] + steps.sum() + compute[-1])
    return total, total - int(compute.sum())


def cycles_of(size_bytes: float, bytes_a_cycle: float) -> int:
    """Cycles that ``size_bytes`` take at ``bytes_a_cycle``, rounded up."""
    return int(np.ceil(size_bytes / bytes_a_cycle))


ENGINES: Registry[SparseEngine] = Registry("engine", package="simsparse.dataflow.engines")
"""Sparse engines by name; a module of dataflow/engines registers one or a few of a kind."""
