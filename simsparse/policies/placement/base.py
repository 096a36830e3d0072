# SPDX-License-Identifier: Apache-2.0
"""What every placement rule is: ops in, a device for each out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from simsparse.core import Trace
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.policies.part import PolicyPart
from simsparse.registry import Registry


@dataclass(frozen=True)
class Placer(PolicyPart):
    """Decides which device runs each op.

    A subclass registers with ``@PLACEMENTS.register(name)`` and implements ``devices``, which is pure. One that runs
    parts of an op on several devices overrides ``divided``.
    """

    def divided(self, trace: Trace, machine: Machine) -> Trace:
        """The trace whose ops are placed: ``trace``, ops of several devices in parts."""
        del machine
        return trace

    @abstractmethod
    def devices(self, index: TraceIndex, machine: Machine, streamed: Sequence[bool]) -> tuple[str, ...]:
        """The device of each op of ``index``, in order; weights of ``streamed`` ops rest elsewhere.

        Raises MappingError when no device takes an op, SimulationError when none that does has room.
        """


PLACEMENTS: Registry[type[Placer]] = Registry("placement", package="simsparse.policies.placement")
