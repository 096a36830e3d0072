# SPDX-License-Identifier: Apache-2.0
"""What every policy is: a composition of parts, and what the pipeline asks of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from inspect import signature
from typing import Any

from simsparse.config.composition import Composition, composed_text, composition, is_composed, parse_composed
from simsparse.core import Placements
from simsparse.devices.link import HostMemory
from simsparse.errors import MappingError, SpecError, nearest
from simsparse.events.simulator import Process
from simsparse.lowering.command_graph import CommandGraph, CostedGraph
from simsparse.lowering.live_run import LiveRun
from simsparse.lowering.machine import Machine
from simsparse.lowering.run import Control
from simsparse.lowering.trace_index import TraceIndex
from simsparse.lowering.unpacking import FREE
from simsparse.lowering.weight_source import HOST, WeightSource
from simsparse.policies.issue import resident_graph, streamed_graph
from simsparse.policies.live_copies import LiveCopies, live_graph
from simsparse.policies.part import PolicyPart
from simsparse.policies.placement import PLACEMENTS, Placer
from simsparse.policies.placement.greedy import Greedy
from simsparse.policies.prefetch import PREFETCHES, Prefetch
from simsparse.policies.prefetch.none import NoPrefetch
from simsparse.policies.prefetch.queued import Queued
from simsparse.policies.residency import RESIDENCIES, Residency
from simsparse.policies.residency.keep_all import KeepAll
from simsparse.policies.site import SITES, Site
from simsparse.policies.site.device import OnDevice
from simsparse.registry import Registry

MAX_GRAPHS = 64
MEASURED = "sections offload and weight_stream of the GPU measurements"
"""What checks the timing of the four named policies."""


@dataclass(frozen=True)
class Policy:
    """Decides what goes where and when: one part per decision.

    ``name`` is that of a named composition, else its text. ``validated`` names the reference that its timing was
    checked against, None when nothing checks it. Raises SpecError when a part has nothing to do.
    """

    name: str
    placement: Placer = field(default_factory=Greedy)
    residency: Residency = field(default_factory=KeepAll)
    prefetch: Prefetch = field(default_factory=NoPrefetch)
    site: Site = field(default_factory=OnDevice)
    validated: str | None = None

    def __post_init__(self) -> None:
        if self.residency.scope is None and type(self.prefetch) is not NoPrefetch and not self.prefetch.needs_events:
            raise SpecError(f"{self.prefetch.name} copies weights ahead, and with the residency {self.residency.name} "
                            "none rest elsewhere; use prefetch: none", key="prefetch")  # fmt: skip
        if self.residency.one_ahead and self.prefetch.windows > 1:
            raise SpecError(
                f"{self.prefetch.name} copies for {self.prefetch.windows} layers ahead, and the residency "
                f"{self.residency.name} has buffers for one; use ring or a cache", key="prefetch",
            )  # fmt: skip
        if self.residency.scope is None and type(self.site) is not OnDevice:
            raise SpecError(f"{self.site.name} is for weights that rest in host memory, and with the residency "
                            f"{self.residency.name} none do", key="site")  # fmt: skip
        if self.residency.source.memory is HostMemory.UNIFIED and type(self.prefetch) is not NoPrefetch:
            raise SpecError(f"{self.prefetch.name} copies weights ahead, and pages of unified memory come when a "
                            "kernel touches them; use prefetch: none", key="prefetch")  # fmt: skip
        if self.prefetch.during_run and not self._can_queue:
            raise SpecError(f"{self.prefetch.name} calls for experts of a cache in host memory, which come as they are "
                            "and run on the device; use a cache of experts, without synchronous, unpack and site",
                            key="prefetch")  # fmt: skip
        if self.residency.source.home != HOST and type(self.site) is not OnDevice:
            raise SpecError(f"{self.site.name} lets the host compute, and the weights rest on "
                            f"{self.residency.source.home}; use site: device", key="site")  # fmt: skip

    @property
    def _can_queue(self) -> bool:
        kept = self.residency
        as_it_is = kept.source == WeightSource() and kept.packing.unpack == FREE and not kept.synchronous
        return kept.slots and as_it_is and type(self.site) is OnDevice

    @property
    def parts(self) -> tuple[PolicyPart, ...]:
        """The parts, one per decision."""
        return self.placement, self.residency, self.prefetch, self.site

    @property
    def controls(self) -> tuple[Control, ...]:
        """What the parts do during the run, of those that need events."""
        decided = tuple(part.control for part in self.parts if part.needs_events)
        return (*decided, self._queue) if isinstance(self.prefetch, Queued) else decided

    def _queue(self, run: LiveRun) -> Process | None:
        assert isinstance(self.prefetch, Queued)
        home = self.residency.source.device(run.machine, self.name)
        return LiveCopies(run, self.residency, self.prefetch, home).processes()

    def place(self, index: TraceIndex, machine: Machine) -> Placements:
        """The device and the home of the weights of each op of the first step. Raises MappingError, SimulationError."""
        first = index.first
        streamed = self.residency.away(first)
        devices = homes = self.placement.devices(first, machine, streamed)
        if self.residency.scope:
            home = self.residency.source.device(machine, self.name)
            homes = tuple(home if away else device for device, away in zip(devices, streamed, strict=True))
        return Placements(first.trace, self.name, devices, homes)

    def lower(
        self, index: TraceIndex, placements: Placements, machine: Machine, level: int, seed: int = 0
    ) -> CostedGraph:
        """The commands of placed ops, with op costs of fidelity ``level``. Command graphs are remembered."""
        own = machine if any(part.measures for part in self.parts) else machine.topology
        key = (self._identity(seed), placements.devices, own)
        if key not in index.graphs:
            if len(index.graphs) >= MAX_GRAPHS:
                index.graphs.clear()
            index.graphs[key] = self._graph(index, _in_every_step(index, placements), machine, seed)
        return CostedGraph.of(index.graphs[key], machine, level)

    def _identity(self, seed: int) -> Hashable:
        drawn = seed if any(part.draws for part in self.parts) else None
        return self._texts, drawn

    @cached_property
    def _texts(self) -> tuple[tuple[type[PolicyPart], str], ...]:
        """What tells the parts from those of other policies."""
        return tuple((type(part), repr(part)) for part in self.parts)

    def _graph(self, index: TraceIndex, devices: tuple[str, ...], machine: Machine, seed: int) -> CommandGraph:
        if self.residency.scope is None:
            return resident_graph(index, devices, machine)
        home = self.residency.source.device(machine, self.name)
        if self.prefetch.during_run:
            return live_graph(index, devices, machine, self.residency, home)
        return streamed_graph(index, devices, machine, self.residency, self.prefetch, self.site, home, seed)


def _in_every_step(index: TraceIndex, placements: Placements) -> tuple[str, ...]:
    """The device of each op of every step: where the op of that name runs in the first one. Raises MappingError."""
    if len(index.steps) <= 1:
        return placements.devices
    known = {op.name: device for op, device in zip(placements.trace.ops, placements.devices, strict=True)}
    if unplaced := next((name for i in index.first_places if (name := index.ops[i].name) not in known), None):
        raise MappingError("a later step runs it and the first does not", key=unplaced)
    return tuple([known[op.name] for op in index.ops])


POLICIES: Registry[Callable[..., Policy]] = Registry(
    "policy",
    tuple(f"simsparse.policies.{module}" for module in ("resident", "on_demand", "prefetch_all", "pregated")),
)
"""Named compositions: functions of their options, given by keyword."""
ROLES: Mapping[str, Registry[Any]] = {"placement": PLACEMENTS, "residency": RESIDENCIES, "prefetch": PREFETCHES,
                                     "site": SITES}  # fmt: skip
"""The parts of a policy by role."""


def policy_of(policy: str | Mapping[str, Any] | Policy, options: Mapping[str, Any] | None = None) -> Policy:
    """The policy of a name, a composition (a mapping or its text), or itself, with options where they are given.

    Options of a named composition are its own; those of a composition are called ROLE.OPTION. Raises SpecError
    that names what is allowed.
    """
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, Mapping) or is_composed(policy):
        roles = composition(policy) if isinstance(policy, Mapping) else parse_composed(policy)
        return _composed(_with_options(roles, options or {}))
    named = POLICIES.get(policy)
    if not options:
        return _usual(named)
    for name in options:
        if name not in option_names(policy):
            raise SpecError(f"{name!r} is no option of the policy {policy}; {nearest(name, option_names(policy))}")
    return named(**options)


@lru_cache(maxsize=64)
def _usual(named: Callable[..., Policy]) -> Policy:
    """A named composition without options."""
    return named()


def _with_options(roles: Composition, options: Mapping[str, Any]) -> Composition:
    changed = {role: dict(said) for role, said in roles.items()}
    for name, value in options.items():
        role, _, option = name.partition(".")
        if role not in changed or not option:
            raise SpecError(f"{name!r} is no option of the composition; {nearest(role, changed)}, then a dot")
        changed[role][option] = value
    return changed


def _composed(roles: Composition) -> Policy:
    parts: dict[str, Any] = {}
    for role, said in roles.items():
        if role not in ROLES:
            raise SpecError(f"{role!r} is no part of a policy; {nearest(role, ROLES)}")
        parts[role] = _part(role, said)
    return Policy(composed_text(roles), **parts)


def _part(role: str, said: Mapping[str, Any]) -> PolicyPart:
    kind = ROLES[role].get(str(said["kind"]))
    options = {name: value for name, value in said.items() if name != "kind"}
    known = [each.name for each in fields(kind)]
    if unknown := next((name for name in options if name not in known), None):
        raise SpecError(f"{unknown!r} is no option of {said['kind']}; {nearest(unknown, known)}", key=role)
    try:
        part: PolicyPart = kind(**options)
    except SpecError as error:
        raise SpecError(error.message, key=f"{role}.{error.key}") from error
    return part


def option_names(policy: str) -> list[str]:
    """The options of a policy, as ``policy_options`` calls them. Raises SpecError."""
    if not is_composed(policy):
        return list(signature(POLICIES.get(policy)).parameters)
    roles = parse_composed(policy)
    return [f"{role}.{each.name}" for role, said in roles.items() for each in fields(ROLES[role].get(said["kind"]))]
