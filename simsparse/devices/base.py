# SPDX-License-Identifier: Apache-2.0
"""What every device is: a part, and a pure cost of operators on it, vectorised over operators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from simsparse.config.quantity import Part, Quantity
from simsparse.core import Action, ActionCounts, Op, OpCost, OpCycles, Role, Unit
from simsparse.core.memo import by_identity
from simsparse.core.varying_arrays import array_of, occurs, stacked
from simsparse.devices.factored import parts_of
from simsparse.errors import MappingError
from simsparse.registry import Registry
from simsparse.sparsity import DENSE, USUAL, Sparsity

DENSE_FORMAT = "dense"
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


SAVING = "limit"
"""Component whose actions save energy that others were counted with."""
SMALL = 2**40
"""Product of the dims of an op of which no number is near the largest."""
LONGEST_S = 1e15
"""Seconds that no operator takes: 30 million years."""
COUNT_LIMIT = 2.0**62
"""What no count of actions may reach, so that sums of a few stay within 64 bits."""


def whole_counts(action: Action, counts: Floats) -> NDArray[np.int64]:
    """Whole numbers of occurrences of ``action``. Raises MappingError when one does not fit 64 bits."""
    if counts.max(initial=0.0) >= COUNT_LIMIT:
        raise MappingError(f"{counts.max():.3g} times {'.'.join(action)}: 2**62 or more")
    return np.rint(counts).astype(np.int64)


@dataclass(frozen=True)
class CostArrays:
    """Costs of a list of ops, one array element an op.

    ``latency_s``: seconds of the op run alone. ``contributors``: seconds by name (compute, memory,
    launch, ...). ``bound``: index into the contributors' names of the one that sets the latency.
    ``counts``: how often each (component, action) happens. ``validated``: per op the reference that
    the model was checked against, "" when nothing checks it.
    """

    latency_s: Floats
    contributors: Mapping[str, Floats]
    bound: NDArray[np.intp]
    counts: Mapping[Action, NDArray[np.int64]]
    validated: Sequence[str]
    level: int = 0

    @property
    def sound(self) -> NDArray[np.bool_]:
        """Which costs are numbers, with no time and no count below 0 or beyond what sums can hold."""
        good = _between(stacked([self.latency_s, *self.contributors.values()]), LONGEST_S)
        return good & _between(stacked([*self.counts.values()]), COUNT_LIMIT) if self.counts else good

    def summed(self, lengths: Sequence[int]) -> CostArrays:
        """The costs of ops that run ``lengths`` of these one after another; nothing validates an op of several."""
        seconds = {name: _summed(values, lengths) for name, values in self.contributors.items()}
        counts = {action: whole_counts(action, _summed(values, lengths)) for action, values in self.counts.items()}
        bound: NDArray[np.intp] = np.argmax(np.stack(list(seconds.values())), axis=0)
        starts = np.cumsum([0, *lengths[:-1]]).tolist()
        validated = [self.validated[at] if length == 1 else "" for at, length in zip(starts, lengths, strict=True)]
        return CostArrays(_summed(self.latency_s, lengths), seconds, bound, counts, validated, self.level)

    def op_costs(self) -> list[OpCost]:
        """The same as one OpCost an op."""
        names = list(self.contributors)
        seconds = {name: values.tolist() for name, values in self.contributors.items()}
        counts = {action: values.tolist() for action, values in self.counts.items()}
        bounds = self.bound.tolist()
        return [
            OpCost(
                latency, names[bounds[i]], {name: seconds[name][i] for name in names if seconds[name][i]},
                ActionCounts.of_whole({action: values[i] for action, values in counts.items() if occurs(values[i])}),
                self.level, self.validated[i] or None,
            )
            for i, latency in enumerate(self.latency_s.tolist())
        ]  # fmt: skip


@dataclass(frozen=True)
class PowerBudget:
    """A power limit that averages over time.

    ``watts``: what it leaves above static power. ``speed``: rate of the arithmetic that it holds
    down, while there is power to spare, over the rate under a steady load. ``window_s``: seconds
    over which it averages.
    """

    watts: float
    speed: float
    window_s: float

    def saving_fraction(self, speed: float) -> float:
        """Fraction of the full-clock saving that clock ratio ``speed`` (1..self.speed) achieves."""
        return (1 - 1 / speed) / (1 - 1 / self.speed)


class StreamedMemory(Protocol):
    """A part's own memory; ``efficiency`` is the share of the ``bandwidth`` that streams reach."""

    @property
    def bandwidth(self) -> Quantity: ...
    @property
    def efficiency(self) -> Quantity: ...


@dataclass(frozen=True)
class CopyRates:
    """How fast copies read and write a device's memory, in bytes per second.

    ``shared``: reads and writes share one rate; else they do not slow each other. A copy waits
    ``latency_s`` for the first byte and moves whole units of ``unit_bytes``. ``channels``: what copies share with the
    device's own work, 0 where they do not slow it.
    """

    read: float
    write: float
    shared: bool = True
    latency_s: float = 0.0
    unit_bytes: int = 1
    channels: float = 0.0

    @classmethod
    def of(cls, memory: StreamedMemory) -> Self:
        """Both at the rate that streams of a memory reach."""
        rate = memory.bandwidth.si * memory.efficiency.si
        return cls(rate, rate)


class StreamedTime(NamedTuple):
    """Seconds of an operator in which it streams the memory, at bytes per second, and others that hide more of them."""

    stream_s: float
    hidden_s: float
    bytes_per_s: float


def _between(columns: NDArray[Any], limit: float) -> NDArray[np.bool_]:
    """For which elements the numbers of all columns are from 0 to below ``limit``."""
    return array_of(((columns >= 0) & (columns < limit)).all(axis=0))


def _summed(values: NDArray[Any], lengths: Sequence[int]) -> Floats:
    """Sums of ``lengths`` values each, one run after another."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return array_of(np.bincount(owner, values, len(lengths)), np.float64)


class Device(ABC):
    """A part that runs operators.

    A subclass names its part kind in ``kind`` and the op kinds that it takes in ``op_kinds``, registers with
    ``@DEVICES.register(part.model)`` and implements ``cost_arrays``, which is pure. An op of any other kind is
    refused; ``refusals`` gives the reason by kind where there is a better one than the list of kinds. ``lanes`` are
    the in-order queues that the engine gives the device: compute streams and copy engines.
    """

    kind: ClassVar[str]
    refusals: ClassVar[Mapping[str, str]] = {}
    lanes: ClassVar[tuple[str, ...]] = ("compute",)

    def __init__(self, part: Part) -> None:
        self.part = part

    @property
    @abstractmethod
    def op_kinds(self) -> frozenset[str]:
        """Names of the op kinds that the device takes; most devices set it as a class attribute."""

    def supports(self, op: Op) -> str | None:
        """None when the device can run ``op``, else the reason why not, in words."""
        return self.unsuited(op) if op.kind in self.op_kinds else self.refusal(op)

    def unsuited(self, op: Op) -> str | None:
        """Why the device can't run ``op``, whose kind it takes: its element types, say; None when it can."""
        del op
        return None

    def refusal(self, op: Op) -> str:
        """Why the device takes no op of this kind."""
        if op.kind in self.refusals:
            return self.refusals[op.kind]
        if op.unit is Unit.LINK:
            return f"a {op.kind} runs on links, not on a part of kind {self.part.kind}"
        return f"a part of kind {self.part.kind} takes no {op.kind}; it takes {', '.join(sorted(self.op_kinds))}"

    def skips(self, op: Op) -> bool:
        """Whether zeros among the weights of ``op``, stored as they are, save work; else they are run as dense ones."""
        del op
        return False

    def used_sparsity(self, op: Op) -> Sparsity:
        """The pattern of the weights of ``op`` that the device makes use of, dense where it skips none of the zeros."""
        return op.weight_sparsity if self.skips(op) else DENSE

    @property
    def multiplies_24(self) -> bool:
        """Whether the device has units for 2:4 weights that a framework runs by kernels of their own."""
        return False

    @property
    def decode_rates(self) -> Mapping[str, float]:
        """Decoded bytes per second by format of the weights that the device decodes in a known time."""
        return {}

    def decodes(self, op: Op) -> bool:
        """Whether the weights of ``op`` are stored in a format that the device has to turn into dense ones first."""
        stored = op.definition.prunable and op.weight_format not in (USUAL, DENSE_FORMAT)
        return stored and not self.skips(op)

    def parts(self, op: Op) -> tuple[Op, ...]:
        """The products of the factors of ``op``'s weight, where the device runs them all; else the op itself."""
        parts = parts_of(op)
        return parts if all(self.supports(part) is None for part in parts) else (op,)

    def op_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        """``cost_arrays`` of ``ops``, those with factored weights as the sums of their factors' products."""
        if not any(op.weight_sparsity.is_factored for op in ops):
            return self._checked_arrays(ops, level)
        parts = [self.parts(op) for op in ops]
        return self._checked_arrays(tuple(chain.from_iterable(parts)), level).summed(list(map(len, parts)))

    def _checked_arrays(self, ops: Sequence[Op], level: int) -> CostArrays:
        """``cost_arrays`` of ``ops``. Raises MappingError when a number is too large or no number."""
        (_check_sizes_once if isinstance(ops, tuple) else _check_sizes)(ops)
        try:
            with np.errstate(over="raise", divide="raise", invalid="raise"):
                found = self.cost_arrays(ops, level)
        except (ArithmeticError, MemoryError) as error:
            raise MappingError(f"{self.part.name} gives no cost: its values lie too far apart ({error})") from error
        for i in np.flatnonzero(~found.sound).tolist():
            raise MappingError(
                f"{self.part.name} gives {found.latency_s[i]} s, which is no time: its values lie too far apart",
                key=ops[i].name,
            )
        return found

    def notes(self, op: Op) -> tuple[str, ...]:
        """What the costs of ``op`` leave out about its weights, in words."""
        if len(parts := self.parts(op)) > 1:
            return tuple(dict.fromkeys(note for part in parts for note in self.notes(part)))
        found = []
        if op.definition.prunable and not op.weight_sparsity.is_dense and not self.skips(op):
            found.append(f"{op.weight_sparsity} weights are multiplied as dense ones")
        elif op.definition.prunable and (used := self.used_sparsity(op)) != op.weight_sparsity:
            found.append(f"{op.weight_sparsity} weights run as {used}")
        if self.decodes(op) and op.weight_format not in self.decode_rates:
            found.append(f"decoding {op.weight_format} weights takes no time")
        return tuple(found)

    @property
    def notes_dense(self) -> bool:
        """Whether ``notes`` may say something of ops whose weights are dense and in the usual format."""
        return False

    @abstractmethod
    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        """Costs of ``ops``, each alone on the device, weights in the device's own memory.

        Raises MappingError for an op that the device does not support.
        """

    def cycles(
        self, op: Op, weight_mask: Mask | None = None, input_mask: Mask | None = None, seed: int = 0
    ) -> OpCycles:
        """Level 2: ``op`` alone, with the masks of its operands, weights (n, k) and inputs (m, k).

        An operand without a mask is as its sparsity says: dense, or drawn from ``seed`` (simsparse.sparsity.drawn).
        A device without a cycle core keeps this method, which raises MappingError; so does one with a core for an op
        that it can't run and for a mask of another shape.
        """
        del weight_mask, input_mask, seed
        raise MappingError(f"{self.part.name} has no cycle core", key=op.name)

    @property
    def role(self) -> Role:
        """What the device does in a system whose file gives it no other role."""
        return self.part.role

    @property
    def copy_rates(self) -> CopyRates | None:
        """What the device's memory allows to copies; None when it limits none."""
        return None

    def far_read_seconds(self, op: Op, link_bytes_per_s: float) -> float | None:
        """Seconds in which ``op``, a gather, reads its rows from a memory beyond a link of that nominal rate.

        None where the device has no kernel that does.
        """
        del op, link_bytes_per_s
        return None

    def streaming(self, cost: OpCost) -> StreamedTime | None:
        """How an operator of ``cost`` streams the device's memory, where copies slow it down; None where not."""
        del cost
        return None

    def copy_counts(self, direction: str, bytes: int) -> Mapping[Action, int]:
        """What a copy of ``bytes`` does in the device's memory; ``direction`` is read or write.

        The bytes are those of the first priced action that reads (or writes) the memory or crosses its pins.
        """
        for action in self.prices:
            if action[1] in (f"{direction}_byte", "external_byte"):
                return {action: bytes}
        return {}

    def call_seconds(self, op: Op) -> float | None:
        """Seconds that a host takes for the framework's call that launches ``op``; None where none is known."""
        del op
        return None

    @property
    def power_budget(self) -> PowerBudget | None:
        """The power limit under which ``cost_arrays`` holds; None when none is known."""
        return None

    def burst_gain(self, ops: Sequence[Op]) -> Floats:
        """Seconds by which each op is faster while there is power to spare; weights as ``cost_arrays`` takes them."""
        return np.zeros(len(ops))

    def op_burst_gain(self, ops: Sequence[Op]) -> Floats:
        """``burst_gain`` of ``ops``, those with factored weights as the sums of their factors' products."""
        if not any(op.weight_sparsity.is_factored for op in ops):
            return self.burst_gain(ops)
        parts = [self.parts(op) for op in ops]
        return _summed(self.burst_gain(tuple(chain.from_iterable(parts))), list(map(len, parts)))

    def costs(self, ops: Sequence[Op], level: int = 0) -> list[OpCost]:
        """One OpCost an op; ops of equal signature are computed once."""
        signatures = [op.signature for op in ops]
        unique = dict(zip(signatures, ops, strict=True))
        costs = self.op_arrays(list(unique.values()), level).op_costs() if unique else []
        by_signature = dict(zip(unique, costs, strict=True))
        return [by_signature[signature] for signature in signatures]

    @property
    @abstractmethod
    def prices(self) -> Mapping[Action, float]:
        """Joules of one occurrence of each action that ``cost_arrays`` counts.

        Negative only for an action of SAVING, which counts what a power limit saves of the others.
        """

    @property
    @abstractmethod
    def static_watts(self) -> float:
        """Power drawn whatever runs."""

    @property
    @abstractmethod
    def memory_bytes(self) -> int | None:
        """Capacity of the device's memory; None when it is not limited or not known."""


DEVICES: Registry[type[Device]] = Registry(
    "device",
    tuple(f"simsparse.devices.{module}" for module in
          ("gpu", "cpu", "systolic", "sparse_engine", "spatial", "pim", "dpu", "memory", "storage", "switch")),
)  # fmt: skip


def _check_sizes(ops: Sequence[Op]) -> None:
    """Raises MappingError when a number of an op does not fit 64 bits with room for sums."""
    for op in ops:
        if prod([size or 1 for size in op.dims.values()]) > SMALL and (
            max(op.flops, op.vector_flops, op.min_bytes) > COUNT_LIMIT
        ):
            raise MappingError(f"{op.flops:.3g} FLOPs and {op.min_bytes:.3g} bytes are too many", key=op.name)


_check_sizes_once = by_identity(maxsize=64)(_check_sizes)


def device_for(part: Part) -> Device:
    """The device model of ``part``. Raises SpecError when its kind has none."""
    return DEVICES.get(part.model)(part)
