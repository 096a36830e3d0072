"""Programs: a schedule lowered to commands on lanes and links, in the order in which they are issued."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from simsparse.core import Op, OpCost, OpKind, Schedule
from simsparse.errors import MappingError, SimulationError
from simsparse.policies.machine import Machine
from simsparse.policies.workload import LINK_KINDS, Workload
from simsparse.units import seconds_to_fs


@dataclass(frozen=True, slots=True)
class Command:
    """One piece of work on a lane.

    ``op`` is the index of the trace's op that it runs, or that it moves data for (``moves``).
    ``fs`` is the time of an op, or what a copy takes beyond its links' latency and bandwidth.
    ``after`` are indexes of earlier commands, those before it on the same lane left out.
    """

    name: str
    kind: str
    device: str
    lane: str
    op: int
    fs: int
    after: tuple[int, ...] = ()
    src: str = ""
    dst: str = ""
    bytes: int = 0
    moves: bool = False


@dataclass(frozen=True)
class Program:
    """Commands in issue order, the cost of each op (None for those on links), and memory by device.

    ``footprint[device][what]`` are bytes that are taken for the whole run.
    """

    commands: tuple[Command, ...]
    costs: tuple[OpCost | None, ...]
    footprint: Mapping[str, Mapping[str, int]]
    unvalidated: tuple[str, ...] = ()

    def check_memory(self, machine: Machine) -> None:
        """Raises SimulationError when a device's memory can't hold what the program keeps there."""
        for device, parts in self.footprint.items():
            capacity = machine.devices[device].model.memory_bytes
            need = sum(parts.values())
            if capacity is not None and need > capacity:
                shares = ", ".join(f"{what} {size}" for what, size in parts.items() if size)
                raise SimulationError(f"{device} is full: {need} bytes needed ({shares}), capacity {capacity} bytes")


@dataclass
class ProgramBuilder:
    """Lowers ops one by one: inserts the copies of activations between devices, keeps indexes."""

    schedule: Schedule
    workload: Workload
    machine: Machine
    level: int
    commands: list[Command] = field(default_factory=list)
    unvalidated: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        ops = self.workload.trace.ops
        self._devices = [self.schedule.placements[op.name].device for op in ops]
        self._done = [-1] * len(ops)
        self._moved: dict[tuple[int, str], int] = {}
        self._last: dict[tuple[str, str], int] = {}
        self._lane = {name: machine_lane for name in self.machine.devices
                      if (machine_lane := self.machine.compute_lane(name))}  # fmt: skip
        self.costs = _costs(self.workload, self._devices, self.machine, self.level)
        self._fs: dict[int, int] = {}

    def last_on(self, device: str) -> tuple[int, ...]:
        """The command issued last on a device's compute lane, if there is one."""
        index = self._last.get((device, self._lane[device]))
        return () if index is None else (index,)

    def device_of(self, index: int) -> str:
        """Where op ``index`` runs."""
        return self._devices[index]

    def op(self, index: int, after: Iterable[int] = ()) -> int:
        """Issue op ``index`` of the trace; returns its command's index."""
        op = self.workload.trace.ops[index]
        if op.kind in LINK_KINDS:
            return self._on_link(index, op)
        device, cost = self._devices[index], self.costs[index]
        assert cost is not None
        fs = self._fs.get(id(cost))
        if fs is None:
            fs = self._fs[id(cost)] = seconds_to_fs(cost.latency_s)
        needs = self._needs(index, device, self._lane[device], after)
        done = self._issue(Command(op.name, op.kind.value, device, self._lane[device], index, fs, needs))
        self._done[index] = done
        return done

    def load(
        self, index: int, name: str, bytes: int, *, on_compute_lane: bool, after: Iterable[int] = (), src: str
    ) -> int:
        """Issue a copy of weights of op ``index`` to the op's device; returns its command's index."""
        device = self._devices[index]
        owner, lane = (device, self._lane[device]) if on_compute_lane else self.machine.copy_lane(src, device)
        return self._issue(Command(name, "copy", owner, lane, index, 0, tuple(after), src, device, bytes, True))

    def build(self, footprint: Mapping[str, Mapping[str, int]]) -> Program:
        """The finished program."""
        return Program(tuple(self.commands), tuple(self.costs), footprint, tuple(self.unvalidated))

    def _issue(self, command: Command) -> int:
        self.commands.append(command)
        index = len(self.commands) - 1
        self._last[command.device, command.lane] = index
        return index

    def _needs(self, index: int, device: str, lane: str, after: Iterable[int]) -> tuple[int, ...]:
        needs = list(after)
        for dep in self.workload.deps[index]:
            if self._devices[dep] != device:
                needs.append(self._move(dep, device))
                continue
            done = self._done[dep]
            if self.commands[done].lane != lane:
                needs.append(done)
        return tuple(needs)

    def _move(self, dep: int, device: str) -> int:
        """Bring what op ``dep`` wrote to ``device``, once."""
        if (dep, device) not in self._moved:
            src, op = self._devices[dep], self.workload.trace.ops[dep]
            owner, lane = self.machine.copy_lane(src, device)
            self._moved[dep, device] = self._issue(Command(
                f"{op.name} to {device}", "copy", owner, lane, dep, 0, (self._done[dep],), src, device,
                self.workload.facts(dep).output_bytes, True,
            ))  # fmt: skip
        return self._moved[dep, device]

    def _on_link(self, index: int, op: Op) -> int:
        src, dst, bytes, extra_fs = _link_work(op, self.machine)
        device, lane = self.machine.copy_lane(src, dst)
        needs = tuple(self._done[dep] for dep in self.workload.deps[index])
        if op.kind is OpKind.COLLECTIVE:
            self.unvalidated.append("collectives: ring alpha-beta form on one link")
        self._done[index] = self._issue(
            Command(op.name, op.kind.value, device, lane, index, extra_fs, needs, src, dst, bytes)
        )
        return self._done[index]


def _costs(workload: Workload, devices: list[str], machine: Machine, level: int) -> list[OpCost | None]:
    """The cost of each op where it is placed, None for those on links."""
    wanted: dict[str, dict[int, None]] = {}
    for slot, device, op in zip(workload.slot, devices, workload.trace.ops, strict=True):
        if op.kind not in LINK_KINDS:
            wanted.setdefault(device, {})[slot] = None
    found: dict[tuple[str, int], OpCost] = {}
    for device, slots in wanted.items():
        costs = machine.devices[device].costs([workload.unique[slot] for slot in slots], level)
        found.update({(device, slot): cost for slot, cost in zip(slots, costs, strict=True)})
    return [found.get((device, slot)) for slot, device in zip(workload.slot, devices, strict=True)]


COLLECTIVE_FORMS: Mapping[str, tuple[float, int]] = {
    "all_reduce": (2.0, 2), "all_gather": (0.0, 1), "reduce_scatter": (1.0, 1), "all_to_all": (1.0, 1),
    "send_recv": (0.0, 0),
}  # fmt: skip
"""Per kind: multiples of (ranks - 1) / ranks of the input that a rank sends, and of (ranks - 1) steps.

Ring algorithms, with the bytes of one rank's input; all_gather sends the whole input ranks - 1 times,
send_recv once. Source: derived; Thakur, Rabenseifner and Gropp (2005) give the same forms.
"""


def _link_work(op: Op, machine: Machine) -> tuple[str, str, int, int]:
    """Ends, bytes and further latency in fs of an op that runs on a link. Raises MappingError."""
    if op.kind is OpKind.TRANSFER:
        for end in (op.src, op.dst):
            if end not in machine.system.devices:
                raise MappingError(f"{end!r} is no device of {machine.system.name}", key=op.name)
        assert op.src is not None and op.dst is not None
        return op.src, op.dst, op.dims["bytes"], 0
    ranks, size = op.dims["ranks"], op.dims["bytes"]
    if len(machine.processors) < ranks or ranks < 2:
        raise MappingError(
            f"{op.label} over {ranks} ranks; {machine.system.name} has {len(machine.processors)} processors",
            key=op.name,
        )
    src, dst = machine.processors[0], machine.processors[1]
    share, steps = COLLECTIVE_FORMS[op.label]
    sent = {"all_gather": size * (ranks - 1), "send_recv": size}.get(
        op.label, round(share * size * (ranks - 1) / ranks)
    )
    latency = sum(link.latency_fs for link, _ in machine.hops(src, dst))
    return src, dst, sent, latency * max(0, steps * (ranks - 1) - 1)
