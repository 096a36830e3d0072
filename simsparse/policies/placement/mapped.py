# SPDX-License-Identifier: Apache-2.0
"""Ops where a list of rules puts them, the others where they end soonest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from simsparse.core import Op
from simsparse.errors import SpecError, nearest
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.policies.placement.base import PLACEMENTS, Placer
from simsparse.policies.placement.search import search


@PLACEMENTS.register("mapped")
@dataclass(frozen=True)
class Mapped(Placer):
    """``rules`` are mappings ``{ops: PATTERN, device: NAME}``; the first whose pattern fits an op holds.

    A pattern is a shell pattern (``*``, ``?``, ``[...]``) on an op's name, module, kind or label. Ops
    without a rule go to processors, where they end soonest. Raises SpecError on a rule of another form,
    a device that is not there, and a pattern that fits no op.
    """

    name = "mapped"
    rules: Sequence[Mapping[str, str]] = ()

    def __post_init__(self) -> None:
        for i, rule in enumerate(self.rules):
            if not isinstance(rule, Mapping) or set(rule) != {"ops", "device"}:
                raise SpecError(f"{rule!r:.80}; expected {{ops: PATTERN, device: NAME}}", key=f"rules[{i}]")

    def devices(self, index: TraceIndex, machine: Machine, streamed: Sequence[bool]) -> tuple[str, ...]:
        ops = index.trace.ops
        for i, rule in enumerate(self.rules):
            if rule["device"] not in machine.devices:
                known = nearest(rule["device"], machine.devices)
                raise SpecError(f"{rule['device']!r} is no device of {machine.system.name}; {known}",
                                key=f"rules[{i}].device")  # fmt: skip
            if not any(_fits(rule["ops"], op) for op in ops):
                raise SpecError(f"{rule['ops']!r} fits no op of {index.trace.name}", key=f"rules[{i}].ops")
        return search(index, machine, streamed, [self._candidates(op) or machine.processors for op in ops])

    def _candidates(self, op: Op) -> tuple[str, ...]:
        return next(((rule["device"],) for rule in self.rules if _fits(rule["ops"], op)), ())


def _fits(pattern: str, op: Op) -> bool:
    return any(fnmatchcase(text, pattern) for text in (op.name, op.module, op.kind, op.label) if text)
