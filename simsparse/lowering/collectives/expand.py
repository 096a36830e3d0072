# SPDX-License-Identifier: Apache-2.0
"""A collective of a trace on a machine: its ranks, its copies, and how long they take alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from simsparse.core import Op
from simsparse.core.kinds.collective import COLLECTIVE
from simsparse.errors import MappingError, nearest
from simsparse.events import CopyPace
from simsparse.lowering.collectives.base import ALGORITHMS, DEFAULTS, Algorithm, Send
from simsparse.lowering.collectives.kernels import KernelRun, fastest, sends
from simsparse.lowering.machine import Ends, Machine


class CollectiveCopy(NamedTuple):
    """A copy of a collective; ``beside`` are the ends of all copies of its step, ``channel`` the kernel."""

    src: str
    dst: str
    bytes: int
    beside: tuple[Ends, ...]
    channel: CopyPace | None = None


def ranks_of(op: Op, machine: Machine) -> tuple[str, ...]:
    """The devices of a collective in the order of their ranks.

    They are the first of the op's group, a list of names of groups and devices; of all processors where
    it has none. Raises MappingError when there are too few, and on a name that the system does not have.
    """
    members = _members(op, machine)
    ranks = op.dims["ranks"]
    if not 2 <= ranks <= len(members):
        where = f"the group {', '.join(op.group)} has {len(members)} devices" if op.group else (
            f"{machine.system.name} has {len(members)} processors")  # fmt: skip
        raise MappingError(f"{op.label} over {ranks} ranks; {where}", key=op.name)
    return members[:ranks]


def _members(op: Op, machine: Machine) -> tuple[str, ...]:
    if not op.group:
        return machine.processors
    groups, devices = machine.system.groups, machine.devices
    members: list[str] = []
    for name in op.group:
        if name not in groups and name not in devices:
            raise MappingError(f"{name!r} is no group and no device; {nearest(name, [*groups, *devices])}", key=op.name)
        members += groups.get(name, (name,))
    if twice := next((name for name in members if members.count(name) > 1), None):
        raise MappingError(f"{twice!r} has two ranks in the group {', '.join(op.group)}", key=op.name)
    return tuple(members)


def algorithm_of(op: Op, machine: Machine) -> Algorithm:
    """The algorithm that the system names for a collective, else the default. Raises MappingError, SpecError."""
    name = machine.system.collectives.get(op.label, DEFAULTS[op.label])
    found = ALGORITHMS.get(name)
    if op.label not in found.labels:
        raise MappingError(f"{name} is no algorithm of {op.label}; it serves {', '.join(found.labels)}", key=op.name)
    return found()


def copies_of(op: Op, machine: Machine) -> list[list[CollectiveCopy]]:
    """The copies of each step of a collective, on the machine's devices.

    Links that state the kernels of collectives run these, unless the system names an algorithm.
    """
    devices = ranks_of(op, machine)
    run = None if op.label in machine.system.collectives else kernel_of(op, machine, devices)
    if run is not None:
        return [_step(sends(run, op.label, len(devices)), devices)]
    return [_step(step, devices) for step in algorithm_of(op, machine).steps(op.label, op.dims["bytes"], len(devices))]


def kernel_of(op: Op, machine: Machine, devices: tuple[str, ...]) -> KernelRun | None:
    """The kernel that runs a collective over ``devices``; None where a link between them states none."""
    kernels = machine.collective_kernels(devices)
    if kernels is None:
        return None
    both = op.label not in ("send_recv", "broadcast", "reduce", "gather", "scatter")
    rates = (hop.rate(way, both) for ends in pairwise(devices) for hop, way in machine.hops(*ends))
    return fastest(kernels, op, len(devices), min(rates))


def results_of(op: Op, machine: Machine) -> tuple[str, ...]:
    """The devices that have the result of a collective, in the order of ranks."""
    devices = ranks_of(op, machine)
    return tuple(devices[rank] for rank in COLLECTIVE.holders(op))


def _step(sends: Sequence[Send], devices: Sequence[str]) -> list[CollectiveCopy]:
    beside = tuple((devices[send.src], devices[send.dst]) for send in sends)
    return [CollectiveCopy(*ends, send.bytes, beside, send.channel) for send, ends in zip(sends, beside, strict=True)]


def collective_fs(op: Op, machine: Machine) -> int:
    """Femtoseconds of a collective that shares its routes with no other work: its steps one after the other."""
    return sum(
        max(machine.copy_fs(copy.src, copy.dst, copy.bytes, copy.beside, copy.channel) for copy in step)
        for step in copies_of(op, machine)
    )
