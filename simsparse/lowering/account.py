"""From task records to rows, action counts, bounds, memory and what was not checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from simsparse.core import Action, ActionCounts, Op, OpResult
from simsparse.lowering.command_graph import Cause, Command, CostKey
from simsparse.lowering.energy import op_energy
from simsparse.lowering.machine import Machine
from simsparse.lowering.records import Records
from simsparse.units import FS_PER_SECOND, fs_to_seconds

TRANSFER = "transfer"
"""What bounds the time that waits for copies."""

Counts = dict[str, dict[Action, int]]


def copy_joules(command: Command, machine: Machine) -> float:
    """Joules of a copy on its links and in the memories at its ends."""
    counts = machine.copy_counts(command.src, command.dst, command.bytes)
    return sum(op_energy(ActionCounts(actions), machine.prices[owner]) for owner, actions in counts.items())


def action_counts(records: Records, machine: Machine) -> dict[str, ActionCounts]:
    """Action counts of everything that ran, by device and link."""
    total: Counts = {}
    for key, times in Counter(key for key in records.keys if key).items():
        _add(total, {key[0]: records.costs[key].counts}, times)
    copies = Counter((command.src, command.dst, command.bytes) for command in records.commands if command.src)
    for copy, times in copies.items():
        _add(total, machine.copy_counts(*copy), times)
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


def stalls(records: Records, machine: Machine) -> list[int]:
    """Idle femtoseconds of compute lanes per task, charged to the dependency that ended last.

    A copy on a compute lane is charged with all of its own time.
    """
    lanes = {(name, machine.compute_lane(name)): 0 for name in machine.processors}
    starts, ends = records.start_fs, records.end_fs
    stalled = [0] * len(starts)
    for i, command in enumerate(records.commands):
        lane = (command.device, command.lane)
        if lane not in lanes:
            continue
        if command.after and starts[i] > lanes[lane]:
            stalled[max(command.after, key=ends.__getitem__)] += starts[i] - lanes[lane]
        if command.src and command.cause is not Cause.OP:
            stalled[i] += ends[i] - starts[i]
        lanes[lane] = ends[i]
    return stalled


def rows(records: Records, machine: Machine) -> tuple[OpResult, ...]:
    """One row per op, one for all copies of an op's data, and one per command issued during the run, by start.

    An op's ``latency_s`` is the time it ran; that of copies the time that compute stood still for
    them, so that the rows of a machine with one compute lane add up to its latency. The timeline has
    the copies in full. Joules are those of actions, without static power.
    """
    starts, ends = records.start_fs, records.end_fs
    known, own = records.graph.op_rows, records.graph.op_commands
    priced = _priced(records, own, machine)
    columns = (
        known.name, known.kind, known.label, known.module, known.device, known.weight_sparsity,
        [starts[i] / FS_PER_SECOND for i in own], [(ends[i] - starts[i]) / FS_PER_SECOND for i in own],
        [joules for joules, _, _ in priced], [bound for _, bound, _ in priced], known.flops, known.bytes,
        [reference for _, _, reference in priced],
    )  # fmt: skip
    result = list(map(OpResult._make, zip(*columns, strict=True)))
    if len(starts) > len(own):
        stalled = stalls(records, machine)
        result += [_copies_row(records, each, stalled, machine) for each in _copies_by_op(records).values()]
        result += _issued_rows(records, stalled, machine)
    result.sort(key=lambda row: row.start_s)
    return tuple(result)


Priced = tuple[float, str, str | None]


def _priced(records: Records, tasks: Sequence[int], machine: Machine) -> list[Priced]:
    """Joules, bound and reference of each of ``tasks``."""
    known: dict[CostKey, Priced] = {
        key: (op_energy(cost.counts, machine.prices[key[0]]), cost.bound, cost.validated)
        for key, cost in records.costs.items()
    }
    keys, commands = records.keys, records.commands
    return [
        known[key] if (key := keys[i]) else (copy_joules(commands[i], machine), TRANSFER, None)
        for i in tasks
    ]  # fmt: skip


def _copies_by_op(records: Records) -> dict[int, list[int]]:
    """Tasks of the graph that copied data of an op, by the op."""
    found: dict[int, list[int]] = {}
    for i, command in enumerate(records.graph.commands):
        if command.cause is not Cause.OP:
            found.setdefault(command.op, []).append(i)
    return found


def _copies_row(records: Records, own: Sequence[int], stalled: Sequence[int], machine: Machine) -> OpResult:
    commands = [records.commands[i] for i in own]
    op = records.graph.index.trace.ops[commands[0].op]
    return OpResult(
        f"{op.name} copies", "copy", "copy", op.module, commands[0].device, str(op.weight_sparsity),
        fs_to_seconds(min(records.start_fs[i] for i in own)), fs_to_seconds(sum(stalled[i] for i in own)),
        sum(copy_joules(command, machine) for command in commands), TRANSFER, 0,
        sum(command.bytes for command in commands),
    )  # fmt: skip


def _issued_rows(records: Records, stalled: Sequence[int], machine: Machine) -> list[OpResult]:
    """One row per command that a policy issued during the run; a copy's latency is what compute waited for it."""
    first = len(records.graph.commands)
    tasks = range(first, first + len(records.issued))
    priced = _priced(records, tasks, machine)
    return [
        _issued_row(each.command, each.op, records.start_fs[i],
                    stalled[i] if each.command.src else records.end_fs[i] - records.start_fs[i], *cost)
        for i, each, cost in zip(tasks, records.issued, priced, strict=True)
    ]  # fmt: skip


def _issued_row(
    command: Command, op: Op | None, start_fs: int, fs: int, joules: float, bound: str, reference: str | None
) -> OpResult:
    known = (op.label, op.module, str(op.weight_sparsity)) if op else (command.kind, "", "dense")
    return OpResult(
        command.name, command.kind, known[0], known[1], command.device, known[2], fs_to_seconds(start_fs),
        fs_to_seconds(fs), joules, bound, op.flops if op else 0, op.min_bytes if op else command.bytes, reference,
    )  # fmt: skip


def peak_memory(records: Records) -> dict[str, dict[str, int]]:
    """Bytes by device and purpose at the moment when most of the device's memory was taken."""
    taken: dict[str, dict[str, int]] = {}
    peaks: dict[str, dict[str, int]] = {}
    for each in records.allocations:
        own = taken.setdefault(each.device, {})
        own[each.purpose] = own.get(each.purpose, 0) + each.bytes
        if sum(own.values()) > sum(peaks.get(each.device, {}).values()):
            peaks[each.device] = {purpose: size for purpose, size in own.items() if size}
    return peaks


def unvalidated(records: Records, machine: Machine, policy: str, reference: str | None) -> tuple[str, ...]:
    """Models behind the times that nothing checks, in words; ``reference`` is what checks the policy."""
    found = {
        f"{key[0]}: {records.kind(key)} on {machine.system.devices[key[0]].name}": None
        for key, cost in records.costs.items()
        if cost.validated is None
    }
    if records.graph.has_collectives:
        found["collectives: ring form on one link"] = None
    if reference is None:
        found[f"policy {policy}"] = None
    return tuple(found)
