# SPDX-License-Identifier: Apache-2.0
"""Task records: what ran, when and why. Rows, counts, energy, bounds, memory and the timeline come from them alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import NamedTuple, TypeVar

from simsparse.core import CacheUse, Op, OpCost, Span, Timeline
from simsparse.core.deferred import Deferred
from simsparse.lowering.command_graph import Allocation, Command, CommandGraph, CostKey, copies_among

T = TypeVar("T")


class Issued(NamedTuple):
    """A command that a policy issued during the run; ``key`` names its cost, None of a copy, and ``op`` what it ran."""

    command: Command
    key: CostKey | None = None
    op: Op | None = None


@dataclass(frozen=True)
class Records:
    """Everything that ran: one column per fact, one element per task, in the order of issue.

    Task i ran ``commands[i]`` (op, device and lane, ends and bytes of a copy, cause) from
    ``start_fs[i]`` to ``end_fs[i]``; ``costs[keys[i]]`` has its action counts, a copy (key None) those
    of its bytes on its links. The first tasks are those of ``graph``, which all ran; ``issued`` came
    during the run; ``waited`` are tasks that a policy held others back for, ``cache`` what it found in its caches.
    Closed form and event run write the same records.
    """

    graph: CommandGraph
    costs: Mapping[CostKey, OpCost]
    start_fs: Sequence[int]
    end_fs: Sequence[int]
    allocations: Sequence[Allocation]
    issued: Sequence[Issued] = ()
    waited: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    cache: Mapping[str, CacheUse] = field(default_factory=dict)

    @cached_property
    def commands(self) -> Sequence[Command]:
        """The command of each task."""
        return (*self.graph.commands, *(each.command for each in self.issued)) if self.issued else self.graph.commands

    @cached_property
    def keys(self) -> Sequence[CostKey | None]:
        """The cost of each task, None of a copy."""
        return (*self.graph.keys, *(each.key for each in self.issued)) if self.issued else self.graph.keys

    @cached_property
    def in_order(self) -> bool:
        """Whether every task ran an op of the trace, one after another."""
        return self.graph.is_queue and not self.issued

    @cached_property
    def without_pause(self) -> bool:
        """Whether all tasks ran on one lane, each from the end of the one before on, the first at once."""
        if self.issued or not self.graph.on_one_lane or self.start_fs[0]:
            return False
        return self.start_fs[1:] == self.end_fs[:-1]

    @cached_property
    def runs(self) -> dict[CostKey, int]:
        """How often each op, or kernel of a policy, ran on a device."""
        if not self.issued:
            return self.graph.runs
        return {**self.graph.runs, **Counter(each.key for each in self.issued if each.key)}

    @cached_property
    def copies(self) -> Counter[tuple[str, str, int]]:
        """How often each copy ran, by its ends and bytes."""
        return self.graph.copies + copies_among(each.command for each in self.issued)

    def per_task(self, values: Mapping[CostKey, T], copy: T) -> list[T]:
        """For each task the value of its cost's key, ``copy`` for a copy."""
        listed = [*(values[key] for key in self.graph.runs), copy]
        issued = (copy if each.key is None else values[each.key] for each in self.issued)
        return [*map(listed.__getitem__, self.graph.places), *issued]

    def kind(self, key: CostKey) -> str:
        """The kind of the op, or of the policy's kernel, that a key of ``costs`` belongs to."""
        unique = self.graph.distinct
        if key[1] < len(unique):
            return unique[key[1]].kind
        return next(each.command.kind for each in self.issued if each.key == key)

    @cached_property
    def finish_fs(self) -> int:
        """When the last task ended, in femtoseconds."""
        return self.end_fs[-1] if self.in_order else max(self.end_fs, default=0)

    def timeline(self) -> Timeline:
        """The tasks in order of start; its spans are made when they are first read."""
        return Timeline(Deferred(self._spans), self.finish_fs)

    def _spans(self) -> tuple[Span, ...]:
        columns = zip(self.start_fs, self.end_fs, *self.graph.span_columns, strict=False)
        spans: list[Span] = list(map(tuple.__new__, repeat(Span), columns))  # as _make, faster
        for i, each in enumerate(self.issued, start=len(spans)):
            command = each.command
            spans.append(Span(self.start_fs[i], self.end_fs[i], command.device, command.lane, command.name,
                              command.kind, command.bytes))  # fmt: skip
        return tuple(sorted(spans))
