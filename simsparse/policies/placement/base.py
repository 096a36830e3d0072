"""What every placement rule is: ops in, a device for each out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.registry import Registry


@dataclass(frozen=True)
class Placer(ABC):
    """Decides which device runs each op.

    A subclass names itself in ``name``, registers with ``@PLACEMENTS.register(name)``, holds its
    options as dataclass fields and implements ``devices``, which is pure.
    """

    name: ClassVar[str]

    @abstractmethod
    def devices(self, index: TraceIndex, machine: Machine, streamed: Sequence[bool]) -> tuple[str, ...]:
        """The device of each op of ``index``, in order; weights of ``streamed`` ops rest elsewhere.

        Raises MappingError when no device takes an op, SimulationError when none that does has room.
        """


PLACEMENTS: Registry[type[Placer]] = Registry("placement", package="simsparse.policies.placement")
