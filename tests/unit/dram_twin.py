# SPDX-License-Identifier: Apache-2.0
"""A checker of command traces in plain Python: every constraint looked up in the list of all commands before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from simsparse.dram.device import COMMANDS, Constraint, DramDevice, Effect

Sent = tuple[int, str, tuple[int, ...]]
"""Tick, command and address by level from the channel on; -1 stands for all nodes of a level."""
ALL = (Effect.CLOSE_ALL, Effect.REFRESH_ALL)
SAME = (Effect.CLOSE_SAME, Effect.REFRESH_SAME)


def address(device: DramDevice, command: str, bank: int) -> tuple[int, ...]:
    """Address of ``command`` to the bank of a number, from its own levels: what it leaves open is -1."""
    digits: list[int] = []
    for level in reversed(device.levels):
        digits.append(bank % device.sizes[level])
        bank //= device.sizes[level]
    digits.reverse()
    scope = device.levels.index(device.scope)
    kind = COMMANDS[command]
    if kind in ALL:
        return tuple(digits[: scope + 1] + [-1] * (len(digits) - scope - 1))
    if kind in SAME:
        return tuple(digits[: scope + 1] + [-1] * (len(digits) - scope - 2) + digits[-1:])
    return tuple(digits)


def meets(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two addresses have a node in common."""
    return all(a == b or -1 in (a, b) for a, b in zip(one, other, strict=True))


@dataclass
class Checker:
    """Keeps all commands of a channel, and says from which tick on the next one is allowed."""

    device: DramDevice
    sent: list[Sent] = field(default_factory=list)

    def allowed(self, command: str, place: tuple[int, ...], now: int = -1) -> int:
        """First tick at which every constraint allows ``command`` at ``place``; what is over by ``now`` is left out."""
        following = [c for c in self.device.constraints if command in c.following]
        return max((self._after(c, place, now) for c in following), default=0)

    def note(self, tick: int, command: str, place: tuple[int, ...]) -> None:
        self.sent.append((tick, command, place))

    def _after(self, constraint: Constraint, place: tuple[int, ...], now: int) -> int:
        """Tick from which on one constraint allows a command: that of the ``window``-th last that it is about."""
        concerned = 0
        for tick, command, there in reversed(self.sent):
            if tick + constraint.ticks <= now:
                return 0
            concerned += command in constraint.preceding and self._near(constraint, place, there)
            if concerned == constraint.window:
                return tick + constraint.ticks
        return 0

    def _near(self, constraint: Constraint, place: tuple[int, ...], there: tuple[int, ...]) -> bool:
        """Whether the constraint is about commands at the two addresses."""
        depth = self.device.levels.index(constraint.level)
        if not meets(place[:depth], there[:depth]):
            return False
        own, other = place[depth], there[depth]
        return (own != other and -1 not in (own, other)) if constraint.siblings else meets((own,), (other,))
