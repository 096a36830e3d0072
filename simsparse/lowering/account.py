"""From a program and its times to rows, action counts and what was not checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simsparse.core import Action, ActionCounts, OpResult
from simsparse.devices.link import BYTE
from simsparse.lowering.command_graph import Command, CostedGraph
from simsparse.lowering.energy import op_energy
from simsparse.lowering.machine import Machine
from simsparse.lowering.run import Times
from simsparse.units import FS_PER_SECOND, fs_to_seconds

TRANSFER = "transfer"
"""What bounds the time that waits for copies."""

Counts = dict[str, dict[Action, int]]


def copy_counts(src: str, dst: str, bytes: int, machine: Machine) -> dict[str, dict[Action, int]]:
    """What a copy does: bytes on each link, bytes read and written in the memories at its ends."""
    counts: Counts = {link.name: {BYTE: bytes} for link, _ in machine.hops(src, dst)}
    for device, direction in ((src, "read"), (dst, "write")):
        action = machine.devices[device].memory_action(direction)
        if action is not None:
            counts.setdefault(device, {})[action] = bytes
    return counts


def copy_joules(src: str, dst: str, bytes: int, machine: Machine) -> float:
    """Joules of a copy on its links and in the memories at its ends."""
    counts = copy_counts(src, dst, bytes, machine)
    return sum(op_energy(ActionCounts(actions), machine.prices[owner]) for owner, actions in counts.items())


def action_counts(program: CostedGraph, machine: Machine) -> dict[str, ActionCounts]:
    """Action counts of the whole program, by device and link."""
    total: Counts = {}
    for (device, slot), times in program.layout.ran.items():
        _add(total, {device: program.costs[device, slot].counts}, times)
    for (src, dst), bytes in program.layout.copied.items():
        _add(total, copy_counts(src, dst, bytes, machine), 1)
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


def stalls(program: CostedGraph, times: Times, machine: Machine) -> list[int]:
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


def rows(program: CostedGraph, times: Times, machine: Machine) -> tuple[OpResult, ...]:
    """One row an op, and one for all copies that the policy made of an op's data, in order of start.

    An op's ``latency_s`` is the time it ran; that of a policy's copies the time that compute stood
    still for them, so that the rows of a machine with one compute lane add up to its latency. The
    timeline has the copies in full. Joules are those of actions, without static power.
    """
    layout, starts, ends = program.layout, times.start_fs, times.end_fs
    known, own, priced = layout.op_rows, layout.op_commands, _priced(program, machine)
    columns = (
        known.name, known.kind, known.label, known.module, known.device, known.weight_sparsity,
        [starts[i] / FS_PER_SECOND for i in own], [(ends[i] - starts[i]) / FS_PER_SECOND for i in own],
        [joules for joules, _, _ in priced], [bound for _, bound, _ in priced], known.flops, known.bytes,
        [reference for _, _, reference in priced],
    )  # fmt: skip
    result = list(map(OpResult._make, zip(*columns, strict=True)))
    if layout.moves:
        stalled = stalls(program, times, machine)
        result += [_move_row(program, times, machine, own, stalled) for own in layout.moves.values()]
    result.sort(key=lambda row: row.start_s)
    return tuple(result)


def _priced(program: CostedGraph, machine: Machine) -> list[tuple[float, str, str | None]]:
    """Joules, bound and reference of each command that runs an op of the trace."""
    layout = program.layout
    known: dict[tuple[str, int], tuple[float, str, str | None]] = {
        (device, slot): (op_energy(cost.counts, machine.prices[device]), cost.bound, cost.validated)
        for (device, slot), cost in program.costs.items()
    }

    def copied(command: Command) -> tuple[float, str, str | None]:
        return copy_joules(command.src, command.dst, command.bytes, machine), TRANSFER, None

    return [known[key] if (key := layout.keys[i]) else copied(layout.commands[i]) for i in layout.op_commands]


def _move_row(
    program: CostedGraph, times: Times, machine: Machine, own: Sequence[int], stalled: Sequence[int]
) -> OpResult:
    commands = [program.commands[i] for i in own]
    op = program.layout.workload.trace.ops[commands[0].op]
    joules = sum(copy_joules(command.src, command.dst, command.bytes, machine) for command in commands)
    start = min(times.start_fs[i] for i in own)
    return OpResult(
        f"{op.name} copies", "copy", "copy", op.module, commands[0].device, str(op.weight_sparsity),
        fs_to_seconds(start), fs_to_seconds(sum(stalled[i] for i in own)), joules, TRANSFER, 0,
        sum(command.bytes for command in commands),
    )  # fmt: skip


def unvalidated(program: CostedGraph, machine: Machine, policy: str, reference: str | None) -> tuple[str, ...]:
    """Models behind a program's times that nothing checks, in words; ``reference`` is what checks the policy."""
    unique = program.layout.workload.unique
    found = {
        f"{device}: {unique[slot].kind} on {machine.system.devices[device].name}": None
        for (device, slot), cost in program.costs.items()
        if cost.validated is None
    }
    if program.layout.has_collectives:
        found["collectives: ring form on one link"] = None
    if reference is None:
        found[f"policy {policy}"] = None
    return tuple(found)
