"""From a program and its times to rows, action counts and what was not checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simsparse.core import Action, ActionCounts, OpCost, OpResult, Schedule
from simsparse.devices.link import BYTE
from simsparse.energy import op_energy
from simsparse.policies.base import Policy
from simsparse.policies.machine import Machine
from simsparse.policies.program import Command, Program
from simsparse.policies.run import Times
from simsparse.policies.workload import Workload
from simsparse.units import fs_to_seconds

TRANSFER = "transfer"

Counts = dict[str, dict[Action, int]]


def copy_counts(command: Command, machine: Machine) -> dict[str, dict[Action, int]]:
    """What a copy does: bytes on each link, bytes read and written in the memories at its ends."""
    counts: Counts = {link.name: {BYTE: command.bytes} for link, _ in machine.hops(command.src, command.dst)}
    for device, direction in ((command.src, "read"), (command.dst, "write")):
        action = machine.devices[device].memory_action(direction) if device in machine.devices else None
        if action is not None:
            counts.setdefault(device, {})[action] = command.bytes
    return counts


def action_counts(program: Program, machine: Machine) -> dict[str, ActionCounts]:
    """Action counts of the whole program, by device and link."""
    times: dict[tuple[str, int], int] = {}
    costs: dict[int, OpCost] = {}
    total: Counts = {}
    for command in program.commands:
        if command.src:
            _add(total, copy_counts(command, machine), 1)
        elif (cost := program.costs[command.op]) is not None:
            key = (command.device, id(cost))
            times[key] = times.get(key, 0) + 1
            costs[id(cost)] = cost
    for (device, cost_id), count in times.items():
        _add(total, {device: dict(costs[cost_id].counts)}, count)
    return {owner: ActionCounts(counts) for owner, counts in total.items()}


def _add(total: Counts, more: Mapping[str, Mapping[Action, int]], times: int) -> None:
    for owner, counts in more.items():
        own = total.setdefault(owner, {})
        for action, count in counts.items():
            own[action] = own.get(action, 0) + count * times


def merged(counts: Mapping[str, ActionCounts]) -> ActionCounts:
    """All counts in one, components named ``gpu0.hbm``."""
    return ActionCounts(
        {(f"{owner}.{component}", action): count for owner, actions in counts.items()
         for (component, action), count in actions.items()}
    )  # fmt: skip


def stalls(program: Program, times: Times, machine: Machine) -> list[int]:
    """Per command the femtoseconds that a compute lane stood still for it.

    A lane's idle gap counts for the command that ended last of those it waited for; a copy on the
    compute lane itself counts in full.
    """
    lanes = {(name, machine.compute_lane(name)): 0 for name in machine.processors}
    stalled = [0] * len(program.commands)
    for i, command in enumerate(program.commands):
        lane = (command.device, command.lane)
        if lane not in lanes:
            continue
        if command.after and times.start_fs[i] > lanes[lane]:
            stalled[max(command.after, key=times.end_fs.__getitem__)] += times.start_fs[i] - lanes[lane]
        if command.moves:
            stalled[i] += times.end_fs[i] - times.start_fs[i]
        lanes[lane] = times.end_fs[i]
    return stalled


def rows(
    schedule: Schedule, workload: Workload, program: Program, times: Times, machine: Machine
) -> tuple[OpResult, ...]:
    """One row an op, and one for all copies that the policy made of an op's data.

    An op's ``latency_s`` is the time it ran; that of a policy's copies the time that compute stood
    still for them, so that the rows of a machine with one compute lane add up to its latency. The
    timeline has the copies in full. Joules are those of actions, without static power.
    """
    op_rows = _OpRows(schedule, workload, program, machine)
    result: list[OpResult] = []
    moves: dict[int, list[int]] = {}
    for i, command in enumerate(program.commands):
        if command.moves:
            moves.setdefault(command.op, []).append(i)
        else:
            result.append(op_rows.row(command, times.start_fs[i], times.end_fs[i]))
    if moves:
        stalled = stalls(program, times, machine)
        result += [_move_row(schedule, program, times, machine, own, stalled) for own in moves.values()]
    return tuple(sorted(result, key=lambda row: row.start_s))


class _OpRows:
    """Rows of ops; what equal ops share is computed once."""

    def __init__(self, schedule: Schedule, workload: Workload, program: Program, machine: Machine) -> None:
        self._ops, self._costs = schedule.trace.ops, program.costs
        self._workload, self._machine = workload, machine
        self._joules: dict[tuple[str, int], float] = {}
        self._texts: dict[int, str] = {}

    def row(self, command: Command, start_fs: int, end_fs: int) -> OpResult:
        op, cost = self._ops[command.op], self._costs[command.op]
        facts = self._workload.facts(command.op)
        slot = self._workload.slot[command.op]
        key = (command.device, slot)
        if key not in self._joules:
            self._joules[key] = self._energy(command, cost)
            self._texts[slot] = str(op.weight_sparsity)
        return OpResult(
            op.name, command.kind, op.label, op.module, command.device, self._texts[slot], start_fs / 1e15,
            (end_fs - start_fs) / 1e15, self._joules[key], TRANSFER if cost is None else cost.bound,
            facts.flops, facts.min_bytes, None if cost is None else cost.validated,
        )  # fmt: skip

    def _energy(self, command: Command, cost: OpCost | None) -> float:
        if cost is not None:
            return op_energy(cost.counts, self._machine.devices[command.device].prices)
        return _copy_energy(command, self._machine)


def _copy_energy(command: Command, machine: Machine) -> float:
    counts = copy_counts(command, machine)
    return sum(op_energy(ActionCounts(actions), machine.prices[owner]) for owner, actions in counts.items())


def _move_row(
    schedule: Schedule, program: Program, times: Times, machine: Machine, own: Sequence[int], stalled: Sequence[int]
) -> OpResult:
    first, op = program.commands[own[0]], schedule.trace.ops[program.commands[own[0]].op]
    moved = sum(program.commands[i].bytes for i in own)
    energy = sum(_copy_energy(program.commands[i], machine) for i in own)
    start = min(times.start_fs[i] for i in own)
    return OpResult(
        f"{op.name} copies", "copy", "copy", op.module, first.device, str(op.weight_sparsity), fs_to_seconds(start),
        fs_to_seconds(sum(stalled[i] for i in own)), energy, TRANSFER, 0, moved,
    )  # fmt: skip


def unvalidated(workload: Workload, program: Program, machine: Machine, policy: Policy) -> tuple[str, ...]:
    """Models behind a program's times that nothing checks, in words."""
    found = dict.fromkeys(program.unvalidated)
    seen: set[tuple[str, int]] = set()
    for command in program.commands:
        cost = None if command.src else program.costs[command.op]
        slot = workload.slot[command.op]
        if cost is None or (command.device, slot) in seen:
            continue
        seen.add((command.device, slot))
        if cost.validated is None:
            found[f"{command.device}: {command.kind} on {machine.system.devices[command.device].name}"] = None
    if policy.validated is None:
        found[f"policy {policy.name}"] = None
    return tuple(found)
