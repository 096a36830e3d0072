# SPDX-License-Identifier: Apache-2.0
"""When compute lanes stood still, and which copies, calls and devices they waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from simsparse.lowering.command_graph import Cause
from simsparse.lowering.machine import Machine
from simsparse.lowering.records import Records


@dataclass(frozen=True)
class IdleTime:
    """Idle time of the compute lanes of a run on a machine."""

    records: Records
    machine: Machine

    @cached_property
    def stalls(self) -> list[int]:
        """Idle femtoseconds of compute lanes per copy or call that they waited for.

        Of an idle time, each copy or call on the way to the task that ends it is charged with the part in which it was
        the last to run; what a device worked before the first of them is in ``waits``. So is the time after the last
        task of a lane. A copy on a compute lane is charged with all of its own time, and with the gap between short
        copies on its link before it.
        """
        return self._charged[0]

    @property
    def waits(self) -> Mapping[str, int]:
        """Femtoseconds that the compute lane of each device that ran something stood still while others worked."""
        return self._charged[1]

    @cached_property
    def _charged(self) -> tuple[list[int], dict[str, int]]:
        computing = (*self.machine.processors, *self.machine.hosts)
        lanes = {(name, self.machine.compute_lane(name)): 0 for name in computing}
        starts, ends = self.records.start_fs, self.records.end_fs
        stalled, waits = [0] * len(starts), dict.fromkeys(computing, 0)
        if self.records.without_pause and self.records.graph.lanes[0] in lanes:
            for i in self.records.graph.moves:
                if self.alone or self.records.commands[i].cause is not Cause.OP:
                    stalled[i] = ends[i] - starts[i]
            return stalled, waits
        commands, alone, waited = self.records.commands, self.alone, self.records.waited
        for i in self._order:
            _, _, device, on, _, after, src, *_ = command = commands[i]
            start, end, free = starts[i], ends[i], lanes.get((device, on))
            if free is None:
                continue
            if src and (alone or command.cause is not Cause.OP):
                stalled[i] += end - start
                if start > free and not after:
                    stalled[i] += start - free
            if waited and i in waited:
                after = (*after, *waited[i])
            if after and start > free:
                waits[device] += self._charge(after, free, start, stalled)
            lanes[device, on] = max(free, end)
        finish, ran = self.records.finish_fs if ends else 0, any(lanes.values())
        for (device, _), free in lanes.items():
            if free or (not ran and device == computing[0]):
                waits[device] += self._charge(range(len(ends)), free, finish, stalled)
        return stalled, waits

    @property
    def alone(self) -> bool:
        """Whether there is one processor, whose waiting is all that copies cost."""
        return len(self.machine.processors) == 1

    def _charge(self, after: Sequence[int], begin: int, end: int, stalled: list[int]) -> int:
        """Charge the idle time from ``begin`` to ``end`` to the copies and calls that led to ``after``.

        Returns the femtoseconds in which the first of them waited for work on another device.
        """
        starts, ends, commands = self.records.start_fs, self.records.end_fs, self.records.commands
        while end > begin:
            last = max(after, key=ends.__getitem__)
            if not commands[last].src and commands[last].cause is not Cause.CALL:
                return end - begin
            since = max(starts[last], begin)
            after = (*commands[last].after, *self._before[last])
            stalled[last] += end - (since if after else begin)
            end = since if after else begin
        return 0

    @cached_property
    def _before(self) -> list[tuple[int, ...]]:
        """The task before each one on its lane."""
        latest: dict[tuple[str, str], int] = {}
        found: list[tuple[int, ...]] = [()] * len(self.records.commands)
        for i in self._order:
            lane = self.records.commands[i][2:4]
            found[i] = (latest[lane],) if lane in latest else ()
            latest[lane] = i
        return found

    @cached_property
    def _order(self) -> Sequence[int]:
        """The tasks in an order in which those of a lane follow one another."""
        tasks = range(len(self.records.commands))
        return sorted(tasks, key=self.records.start_fs.__getitem__) if self.records.issued else tasks

    @cached_property
    def gaps(self) -> dict[int, int]:
        """Femtoseconds after short copies in which their lane could not issue the next one, which it then did."""
        starts, ends = self.records.start_fs, self.records.end_fs
        found: dict[int, int] = {}
        last: dict[tuple[str, str], int] = {}
        first = len(self.records.graph.commands)
        issued = (i for i, each in enumerate(self.records.issued, first) if each.command.src)
        for i in chain(self.records.graph.moves, issued):
            command = self.records.commands[i]
            lane = command.device, command.lane
            if (before := last.get(lane)) is not None and starts[i] > ends[before]:
                copied = self.records.commands[before]
                if starts[i] == starts[before] + self.machine.issue_fs(copied.src, copied.dst):
                    found[before] = starts[i] - ends[before]
            last[lane] = i
        return found
