# SPDX-License-Identifier: Apache-2.0
"""What every residency is: which weights rest in host memory, and which of them a device keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from simsparse.errors import SimulationError
from simsparse.lowering.trace_index import TraceIndex
from simsparse.lowering.unpacking import Packing
from simsparse.lowering.weight_source import WeightSource
from simsparse.lowering.weights import Weight, WeightScope, streamed_ops
from simsparse.policies.part import PolicyPart, View
from simsparse.registry import Registry


class Room(Enum):
    """What a cache finds when a weight is wanted."""

    HELD = "held"
    """The weight is there."""
    MADE = "made"
    """There is room, and the weight must be copied."""
    NONE = "none"
    """All room is in use."""


class Cache(ABC):
    """The streamed weights in the memory of one device, during one run.

    ``bytes`` is the memory that they take, known at the end of the run.
    """

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Memory that is set aside for the whole run."""

    @abstractmethod
    def begin_step(self) -> None:
        """A step begins."""

    @abstractmethod
    def holds(self, weight: Weight) -> bool:
        """Whether ``weight`` is there for the current op."""

    @abstractmethod
    def bring(self, weight: Weight, *, ahead: bool) -> Room:
        """Have ``weight`` for the current op or, ``ahead``, for the next window, and say whether a copy is due."""

    def drop(self, weight: Weight) -> None:
        """Give up ``weight``, of which a part has come ahead. Raises SimulationError where that can't be."""
        raise SimulationError(f"{type(self).__name__} can't give up a part of {weight.matrix}")

    def due(self, weight: Weight) -> int:
        """Bytes to copy of ``weight``, for which there is room now: all of it, unless a part has stayed."""
        return weight.bytes

    @abstractmethod
    def read(self, weight: Weight) -> None:
        """Note that the current op reads ``weight``, which is there."""

    @abstractmethod
    def end_op(self) -> None:
        """The op that read weights has been issued."""

    @abstractmethod
    def end_window(self) -> None:
        """All ops of the current window have been issued."""


@dataclass(frozen=True)
class Residency(PolicyPart):
    """Decides which weights rest in host memory, and which of them a device keeps.

    A subclass registers with ``@RESIDENCIES.register(name)`` and implements ``scope`` and ``cache``.
    """

    slots: ClassVar[bool] = False
    """Whether its caches have slots that copies may be called for at any time."""
    one_ahead: ClassVar[bool] = False
    """Whether weights may come for the next window alone, not for those after it."""

    @property
    @abstractmethod
    def scope(self) -> WeightScope | None:
        """The weights that rest in host memory, None where all stay on the devices that read them."""

    @property
    def synchronous(self) -> bool:
        """Whether the host waits for gates and copies before it calls for the ops that read the weights."""
        return False

    @property
    def chunk_bytes(self) -> int | None:
        """The largest single copy; None: an expert or a matrix in one."""
        return None

    def away(self, index: TraceIndex) -> Sequence[bool]:
        """Per op whether its weights rest elsewhere."""
        return streamed_ops(index, self.scope)

    @property
    def source(self) -> WeightSource:
        """Where the weights of ``scope`` rest, and how they come from there."""
        return WeightSource()

    @property
    def zero_copy(self) -> bool:
        """Whether devices themselves read the rows that they gather from tables that rest in host memory."""
        return False

    @property
    def packing(self) -> Packing:
        """How weights cross a link, and where they become dense."""
        return Packing()

    @abstractmethod
    def cache(self, view: View) -> Cache:
        """An empty cache of one device at the start of a run; ``view`` shows what the part may see."""


RESIDENCIES: Registry[type[Residency]] = Registry("residency", package="simsparse.policies.residency")
