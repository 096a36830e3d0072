# SPDX-License-Identifier: Apache-2.0
"""From task records to rows, action counts, bounds, memory and what was not checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from operator import attrgetter, sub

import numpy as np

from simsparse.config.cluster import NETWORK
from simsparse.core import NO_ESTIMATE, WAITING, Action, ActionCounts, ErrorEstimate, Op, OpKind, OpResult
from simsparse.core.varying_arrays import stacked
from simsparse.lowering.command_graph import Cause, Command, CostKey
from simsparse.lowering.energy import op_energy
from simsparse.lowering.error_estimate import error_estimate, measured_errors
from simsparse.lowering.held import HeldWeights
from simsparse.lowering.idle import IdleTime
from simsparse.lowering.machine import Machine
from simsparse.lowering.patterns_used import patterns_used, unpacked_free
from simsparse.lowering.records import Records
from simsparse.units import FS_PER_SECOND, fs_to_seconds

TRANSFER = "transfer"
"""What bounds the time that waits for copies."""

CHECKED_RANKS = 2
"""Ranks of the layers that were measured under a layout."""
HOST = "host"
"""What bounds the time that waits for calls of the framework."""

LAYOUT_NOTE = (
    "PyTorch's 2:4 products write transposed outputs; the stack eager charges the ops that read them, others do not"
)

CountsByComponent = dict[str, dict[Action, int]]


def copy_joules(src: str, dst: str, bytes: int, machine: Machine) -> float:
    """Joules of a copy on its links and in the memories at its ends."""
    counts = machine.copy_counts(src, dst, bytes)
    return sum(op_energy(ActionCounts(actions), machine.prices[owner]) for owner, actions in counts.items())


Priced = tuple[float, str, str | None]
"""Joules, bound and reference of a task."""


@dataclass(frozen=True)
class Account:
    """What the records of a run on a machine add up to.

    ``follows_layouts``: as of the stack that launched the ops.
    """

    records: Records
    machine: Machine
    follows_layouts: bool = False

    @cached_property
    def counts(self) -> dict[str, ActionCounts]:
        """Action counts of everything that ran, by device and link."""
        total: CountsByComponent = {}
        for key, times in self.records.runs.items():
            _add(total.setdefault(key[0], {}), self.records.costs[key].counts, times)
        for copy, times in self.records.copies.items():
            for owner, counts in self.machine.copy_counts(*copy).items():
                _add(total.setdefault(owner, {}), counts, times)
        return {owner: ActionCounts(counts) for owner, counts in total.items()}

    @cached_property
    def idle(self) -> IdleTime:
        """When compute lanes stood still."""
        return IdleTime(self.records, self.machine)

    def rows(self) -> tuple[OpResult, ...]:
        """One row per op, one for all copies of an op's data, and one per command issued during the run, by start.

        An op's ``latency_s`` is the time it ran; that of copies, and of transfers where there is one processor, the
        time that compute stood still for them, so that the rows of a machine with one compute lane add up to its time.
        The timeline has the copies in full. Joules are those of actions, without static power.
        """
        known, (joules, bounds, references) = self.records.graph.op_rows, self._op_columns
        columns = (
            known.name, known.kind, known.label, known.module, known.device, known.weight_sparsity,
            self._op_starts, self._op_seconds, joules, bounds, known.flops, self._op_bytes, references,
            known.weight_format,
        )  # fmt: skip
        made: Iterable[OpResult] = map(tuple.__new__, repeat(OpResult), zip(*columns, strict=True))  # _make, faster
        if self.records.in_order:
            return tuple(made)
        result = [*made, *self._other_rows]
        result.sort(key=attrgetter("start_s"))
        return tuple(result)

    @property
    def _op_bytes(self) -> Sequence[int]:
        """Least bytes of each op, its weights in the pattern that the device makes use of."""
        graph = self.records.graph
        if not any(graph.special_by_device.values()):
            return graph.op_rows.bytes
        held, found, index = HeldWeights(graph.index, self.machine), list(graph.op_rows.bytes), graph.index
        for row, command in enumerate(map(graph.commands.__getitem__, graph.op_commands)):
            if command.device in self.machine.devices:
                op = index.unique[index.slot[command.op]] if command.part < 0 else graph.op_of(command)
                found[row] += held.read_beyond(op, command.device)
        return found

    @property
    def _op_columns(self) -> tuple[list[float], list[str], list[str | None]]:
        """Joules, bound and reference of each op of the trace."""
        graph, known = self.records.graph, self._priced_costs
        columns = zip(*(known[key] for key in graph.runs), (0.0, TRANSFER, None), strict=True)
        joules, bounds, references = (list(map(column.__getitem__, graph.op_places)) for column in columns)
        for place, copies in graph.op_copies.items():
            joules[place] = sum(self._copy_joules(self.records.commands[i]) for i in copies)
            bounds[place], references[place] = TRANSFER, None
        return joules, bounds, references

    @cached_property
    def seconds_by_bound(self) -> dict[str, float]:
        """Seconds of the rows by what bound them, and those that devices waited for others, largest first.

        They add up to the latency for each compute lane that ran something.
        """
        sums = self._sums_in_order() if self.records.in_order else self._sums()
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def _sums_in_order(self) -> dict[str, float]:
        """Seconds by bound of ops that run one after another on one lane, added up in that order."""
        graph, starts, ends = self.records.graph, self.records.start_fs, self.records.end_fs
        bounds = [self.records.costs[key].bound for key in graph.runs]
        number = {bound: i for i, bound in enumerate(dict.fromkeys(bounds))}
        seconds = stacked([(ends[i] - starts[i]) / FS_PER_SECOND for i in graph.first])
        places, owners = graph.place_array, np.array([number[bound] for bound in bounds])
        sums = np.bincount(owners[places], seconds[places], len(number)).tolist()
        return dict(zip(number, sums, strict=True))

    def _sums(self) -> dict[str, float]:
        """Seconds by bound of all rows, added up by start, and those that devices waited for others."""
        graph = self.records.graph
        of_key = [*(self.records.costs[key].bound for key in graph.runs), TRANSFER]
        bounds = list(map(of_key.__getitem__, graph.op_places))
        rows, copies = self._call_and_issued_rows, self._copy_times
        bounds += [TRANSFER] * len(copies) + [row.bound for row in rows]
        starts = np.array([*self._op_starts, *(start for start, _ in copies), *(row.start_s for row in rows)])
        seconds = np.array([*self._op_seconds, *(each for _, each in copies), *(row.latency_s for row in rows)])
        order, place = np.argsort(starts, kind="stable"), {bound: i for i, bound in enumerate(dict.fromkeys(bounds))}
        owners = np.array(list(map(place.__getitem__, bounds)), np.intp)[order]
        added, names = np.bincount(owners, seconds[order], len(place)).tolist(), [*place]
        sums: dict[str, float] = {names[i]: added[i] for i in dict.fromkeys(owners.tolist())}
        if waited := sum(self.idle.waits.values()):
            sums[WAITING] = fs_to_seconds(waited)
        return sums

    @cached_property
    def _op_starts(self) -> list[float]:
        starts, graph = self.records.start_fs, self.records.graph
        found = [starts[i] / FS_PER_SECOND for i in graph.op_commands]
        for place, copies in graph.collectives.items():
            found[place] = min(starts[i] for i in copies) / FS_PER_SECOND
        return found

    @cached_property
    def _op_seconds(self) -> list[float]:
        starts, ends, graph = self.records.start_fs, self.records.end_fs, self.records.graph
        if self.records.in_order:
            seconds = [(ends[i] - starts[i]) / FS_PER_SECOND for i in graph.first]
            return list(map(seconds.__getitem__, graph.places))
        ran = map(sub, map(ends.__getitem__, graph.op_commands), map(starts.__getitem__, graph.op_commands))
        found = [each / FS_PER_SECOND for each in ran]
        for place, own in graph.op_copies.items():
            found[place] = self._copying_fs(own[0]) / FS_PER_SECOND
        for place, copies in graph.collectives.items():
            found[place] = (max(ends[i] for i in copies) - min(starts[i] for i in copies)) / FS_PER_SECOND
        return found

    def _copying_fs(self, task: int) -> int:
        """Femtoseconds of the row of an op that is a copy."""
        if self.idle.alone:
            return self.idle.stalls[task]
        return self.records.end_fs[task] - self.records.start_fs[task] + self.idle.gaps.get(task, 0)

    @cached_property
    def _known_joules(self) -> dict[tuple[str, str, int], float]:
        return {}

    def _copy_joules(self, command: Command) -> float:
        """Joules of a copy; copies of equal ends and bytes are priced once."""
        key = command.src, command.dst, command.bytes
        if key not in self._known_joules:
            self._known_joules[key] = copy_joules(*key, self.machine)
        return self._known_joules[key]

    @cached_property
    def _priced_costs(self) -> dict[CostKey, Priced]:
        prices = self.machine.prices
        return {
            key: (op_energy(cost.counts, prices[key[0]]), cost.bound, self._reference(key))
            for key, cost in self.records.costs.items()
        }

    def _priced(self, task: int) -> Priced:
        key = self.records.keys[task]
        if key is None:
            return self._copy_joules(self.records.commands[task]), TRANSFER, None
        return self._priced_costs[key]

    def _reference(self, key: CostKey) -> str | None:
        return None if self._guesses_layout(key) else self.records.costs[key].validated

    def _guesses_layout(self, key: CostKey) -> bool:
        return not self.follows_layouts and key in self._transposed

    @cached_property
    def _transposed(self) -> frozenset[CostKey]:
        """The costs of 2:4 products on GPUs whose outputs, which lie transposed, a later op reads."""
        read, models = self.records.graph.index.special_read, self.machine.devices
        keys = [key for key in self.records.costs if key[1] in read and models[key[0]].model.multiplies_24]
        return frozenset(key for key in keys if models[key[0]].model.skips(read[key[1]]))

    def _model_of(self, key: CostKey) -> str:
        kind = self.records.kind(key)
        if self._guesses_layout(key):
            return f"{kind} with 2:4 weights and what reads its output"
        return f"{kind} with 2:4 weights" if self._skips(key) else kind

    def _skips(self, key: CostKey) -> bool:
        """Whether an op of the trace runs on the 2:4 units of a GPU."""
        unique, model = self.records.graph.index.unique, self.machine.devices[key[0]].model
        return key[1] < len(unique) and model.multiplies_24 and model.skips(unique[key[1]])

    @cached_property
    def _other_rows(self) -> list[OpResult]:
        """Rows of copies of ops' data, of the host's calls, then of what a policy issued during the run."""
        copies = map(self._copies_row, self.records.graph.copies_by_op.values(), self._copy_times)
        return [*copies, *self._unpack_rows(), *self._call_and_issued_rows]

    @cached_property
    def _call_and_issued_rows(self) -> list[OpResult]:
        return [*self._call_rows(), *self._issued_rows()]

    @cached_property
    def _copy_times(self) -> list[tuple[float, float]]:
        """Start of the copies of each op's data, and the seconds that compute stood still for them."""
        starts, copies = self.records.start_fs, self.records.graph.copies_by_op.values()
        stalls = self.idle.stalls if copies else []
        return [
            (fs_to_seconds(min([starts[i] for i in own])), fs_to_seconds(sum([stalls[i] for i in own])))
            for own in copies
        ]

    def _unpack_rows(self) -> Iterator[OpResult]:
        """One row per op whose weights were unpacked, with the seconds of that."""
        by_op: dict[int, list[int]] = {}
        for i, command in enumerate(self.records.graph.commands):
            if command.cause is Cause.UNPACK:
                by_op.setdefault(command.op, []).append(i)
        starts, ends, graph = self.records.start_fs, self.records.end_fs, self.records.graph
        for own in by_op.values():
            command, work = graph.commands[own[0]], graph.op_of(graph.commands[own[0]])
            joules, (_, bound, reference) = sum(self._priced(i)[0] for i in own), self._priced(own[0])
            yield _issued_row(command, work, starts[own[0]], sum(ends[i] - starts[i] for i in own), joules, bound,
                              reference)  # fmt: skip

    def _call_rows(self) -> list[OpResult]:
        """One row per device for the time that it waited for calls of the framework."""
        by_device: dict[str, list[int]] = {}
        for i in self.records.graph.calls:
            by_device.setdefault(self.records.commands[i].device, []).append(i)
        starts, stalls = self.records.start_fs, self.idle.stalls if by_device else []
        return [
            OpResult(f"calls for {device}", "call", "call", "", device, "dense", fs_to_seconds(starts[own[0]]),
                     fs_to_seconds(sum(stalls[i] for i in own)), 0.0, HOST, 0, 0)
            for device, own in by_device.items()
        ]  # fmt: skip

    def _copies_row(self, own: Sequence[int], times: tuple[float, float]) -> OpResult:
        commands = [self.records.commands[i] for i in own]
        index, i = self.records.graph.index, commands[0].op
        op = index.ops[i]
        return OpResult(
            f"{index.names[i]} copies", "copy", "copy", op.module, commands[0].device, str(op.weight_sparsity),
            *times, sum(map(self._copy_joules, commands)), TRANSFER, 0,
            sum(command.bytes for command in commands),
        )  # fmt: skip

    def _issued_rows(self) -> list[OpResult]:
        """One row per command that a policy issued during the run; a copy's latency is what compute waited for it."""
        if not self.records.issued:
            return []
        first = len(self.records.graph.commands)
        tasks = range(first, first + len(self.records.issued))
        starts, ends = self.records.start_fs, self.records.end_fs
        return [
            _issued_row(each.command, each.op, starts[i],
                        self.idle.stalls[i] if each.command.src else ends[i] - starts[i], *self._priced(i))
            for i, each in zip(tasks, self.records.issued, strict=True)
        ]  # fmt: skip

    @cached_property
    def peak_memory(self) -> dict[str, dict[str, int]]:
        """Bytes by device and purpose at the moment when most of the device's memory was taken."""
        taken: dict[str, dict[str, int]] = {}
        peaks: dict[str, dict[str, int]] = {}
        for each in self.records.allocations:
            own = taken.setdefault(each.device, {})
            own[each.purpose] = own.get(each.purpose, 0) + each.bytes
            if sum(own.values()) > sum(peaks.get(each.device, {}).values()):
                peaks[each.device] = {purpose: size for purpose, size in own.items() if size}
        return peaks

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What devices leave out of the costs of the ops that they ran, in words."""
        models = {name: device.model for name, device in self.machine.devices.items()}
        graph = self.records.graph
        found = [f"{device}: {note}" for device, special in graph.special_by_device.items()
                 for op in (graph.ops_by_device[device][1] if models[device].notes_dense else special)
                 for note in models[device].notes(op)]  # fmt: skip
        found += [f"{each.command.device}: {note}" for each in self.records.issued if each.op
                  for note in models[each.command.device].notes(each.op)]  # fmt: skip
        found += [f"{key[0]}: {LAYOUT_NOTE}" for key in self.records.costs if key in self._transposed]
        return tuple(dict.fromkeys([*found, *unpacked_free(self.records, self.runs_as)]))

    @cached_property
    def runs_as(self) -> dict[str, dict[str, str]]:
        """By device and sparsity the pattern that the device makes use of, where any op's is another one."""
        return patterns_used(self.records, self.machine)

    @cached_property
    def error_estimate(self) -> ErrorEstimate:
        """How far the times of operators may be off."""
        errors = measured_errors(self.records.costs)
        return error_estimate(self.records, errors, self._op_seconds) if errors else NO_ESTIMATE

    @property
    def _unchecked_collectives(self) -> Iterator[str]:
        """Models of collectives and layouts that nothing checks: kernels over the links of one board are checked."""
        graph = self.records.graph
        moves = [each for each in graph.commands if each.kind == OpKind.COLLECTIVE] if graph.has_collectives else []
        if any(move.channel is None for move in moves):
            yield "collectives: copies on links"
        if any(move.dst == NETWORK for move in moves):
            yield "collectives between nodes"
        if any(span.ranks > CHECKED_RANKS for span in self.machine.system.spans.values()):
            yield f"layouts over more than {CHECKED_RANKS} GPUs"

    def unvalidated(self, policy: str, reference: str | None) -> tuple[str, ...]:
        """Models behind the times that nothing checks, in words; ``reference`` is what checks the policy."""
        found = {
            f"{key[0]}: {self._model_of(key)} on {self.machine.system.devices[key[0]].name}": None
            for key in self.records.costs
            if self._reference(key) is None
        }
        found |= dict.fromkeys(self._unchecked_collectives)
        if reference is None:
            found[f"policy {policy}"] = None
        return tuple(found)


def _add(total: dict[Action, int], more: Mapping[Action, int], times: int) -> None:
    for action, count in more.items():
        total[action] = total.get(action, 0) + count * times


def _issued_row(
    command: Command, op: Op | None, start_fs: int, fs: int, joules: float, bound: str, reference: str | None
) -> OpResult:
    known = (op.label, op.module, str(op.weight_sparsity)) if op else (command.kind, "", "dense")
    return OpResult(
        command.name, command.kind, known[0], known[1], command.device, known[2], fs_to_seconds(start_fs),
        fs_to_seconds(fs), joules, bound, op.flops if op else 0, op.min_bytes if op else command.bytes, reference,
    )  # fmt: skip


def merged(counts: Mapping[str, ActionCounts]) -> ActionCounts:
    """All counts in one, components named ``gpu0.hbm``."""
    return ActionCounts(
        {(f"{owner}.{component}", action): count for owner, actions in counts.items()
         for (component, action), count in actions.items()}
    )  # fmt: skip
