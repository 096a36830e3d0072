"""What every policy is: placements of ops, their command graph, and what it does during the run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import ClassVar

from simsparse.core import Placements, Trace
from simsparse.events.simulator import Process
from simsparse.lowering.command_graph import CommandGraph, CostedGraph
from simsparse.lowering.live_run import LiveRun
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import trace_index_of
from simsparse.registry import Registry

MAX_GRAPHS = 64


class Policy(ABC):
    """Decides what goes where and when.

    A subclass names itself in ``name`` and registers with ``@POLICIES.register(name)``; its
    constructor takes the policy's options by keyword. ``place`` decides ahead where each op runs and
    where its weights rest; ``lower`` turns that into commands. A policy that decides at run time
    overrides ``control``; level 0 refuses it. ``validated`` names the reference that the policy's
    timing was checked against, None when nothing checks it.
    """

    name: ClassVar[str]
    validated: ClassVar[str | None] = None

    @abstractmethod
    def place(self, trace: Trace, machine: Machine) -> Placements:
        """A placement for every op. Raises MappingError or SimulationError when there is none."""

    @abstractmethod
    def graph(self, placements: Placements, machine: Machine) -> CommandGraph:
        """The commands of placed ops; they may depend on the machine's topology, not on its numbers."""

    @property
    def options(self) -> Hashable:
        """What the constructor was given, as far as command graphs depend on it."""
        return None

    def lower(self, placements: Placements, machine: Machine, level: int) -> CostedGraph:
        """The commands of placed ops, with op costs of fidelity ``level``. Command graphs are remembered."""
        index = trace_index_of(placements.trace)
        key = (type(self), self.options, placements.devices, machine.topology)
        if key not in index.graphs:
            if len(index.graphs) >= MAX_GRAPHS:
                index.graphs.clear()
            index.graphs[key] = self.graph(placements, machine)
        return CostedGraph.of(index.graphs[key], machine, level)

    def control(self, run: LiveRun) -> Process | None:
        """A process that issues further commands during the run; None when the command graph is all."""
        del run
        return None

    @property
    def needs_events(self) -> bool:
        """Whether the policy decides during the run, which takes the event engine."""
        return type(self).control is not Policy.control


POLICIES: Registry[type[Policy]] = Registry(
    "policy",
    tuple(f"simsparse.policies.{module}" for module in ("resident", "on_demand", "prefetch_all", "pregated")),
)
