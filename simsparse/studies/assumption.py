# SPDX-License-Identifier: Apache-2.0
"""Assumed values of parts, and what halving and doubling makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from simsparse.config.hardware import override_part
from simsparse.config.quantity import Basis, Part, Quantity
from simsparse.core.memo import by_identity
from simsparse.errors import SpecError

FACTORS = (0.5, 2.0)
MoveKey = tuple[str, str, float]
"""Part, path and factor of a move."""


@dataclass(frozen=True, order=True)
class Assumption:
    """A value of basis ``assumed``: the part that has it, its path there, and its text."""

    part: str
    path: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        return self.part, self.path


@dataclass(frozen=True)
class Move:
    """An assumption at ``factor`` times its value; ``value`` is the text of that, None when the part refuses it.

    ``paths``: the numbers of the part that the move changes, the assumption's and what follows from it.
    """

    assumption: Assumption
    factor: float
    value: str | None
    refusal: str = ""
    paths: frozenset[str] = frozenset()


def assumptions(parts: Iterable[Part]) -> list[Assumption]:
    """The assumed values of ``parts``, each part once, in order of part and path."""
    found = {
        Assumption(part.name, path, quantity.text)
        for part in parts
        for path, quantity in part.quantities()
        if quantity.basis is Basis.ASSUMED
    }
    return sorted(found)


def moves(parts: Iterable[Part]) -> Iterator[Move]:
    """Each assumed value of ``parts`` halved and doubled, as far as the part takes it."""
    by_name = {part.name: part for part in parts}
    for name in sorted(by_name):
        yield from _moves_of(by_name[name])


@by_identity(maxsize=256)
def _moves_of(part: Part) -> tuple[Move, ...]:
    numbers = dict(part.quantities())
    return tuple(_moved(part, assumption, numbers, factor) for assumption in assumptions([part]) for factor in FACTORS)


def _moved(part: Part, assumption: Assumption, numbers: Mapping[str, Quantity], factor: float) -> Move:
    quantity = numbers[assumption.path]
    if quantity.si == 0:
        return Move(assumption, factor, None, "is zero")
    text = scaled(quantity, factor)
    try:
        moved = dict(override_part(part, {assumption.path: text}).quantities())
    except SpecError as error:
        return Move(assumption, factor, None, error.message)
    paths = {path for path in numbers.keys() | moved.keys() if _si(numbers.get(path)) != _si(moved.get(path))}
    return Move(assumption, factor, text, paths=frozenset(paths))


def _si(number: Quantity | None) -> float | None:
    return None if number is None else number.si


def scaled(quantity: Quantity, factor: float) -> str:
    """``factor`` times the value as text, in SI units, whole numbers without a point."""
    value = quantity.si * factor
    number = str(round(value)) if value == round(value) and abs(value) < 1e15 else repr(value)
    return f"{number} {quantity.unit}".strip()


def key_of(move: Move) -> MoveKey:
    """What a move is found by."""
    return (*move.assumption.key, move.factor)


def grouped(chosen: Iterable[Move]) -> list[tuple[Move, ...]]:
    """The moves that a part takes, by part and by the place of the value within it."""
    groups: dict[tuple[str, str], list[Move]] = {}
    for move in chosen:
        if move.value is not None:
            groups.setdefault((move.assumption.part, move.assumption.path.rpartition(".")[0]), []).append(move)
    return [tuple(own) for own in groups.values()]


def both_ways(own: Sequence[Move]) -> Iterator[tuple[Move, ...]]:
    """All values of a group moved at once, every other one the other way, and the same with all ways turned round."""
    by_value: dict[tuple[str, str], list[Move]] = {}
    for move in own:
        by_value.setdefault(move.assumption.key, []).append(move)
    for start in range(len(FACTORS)):
        yield tuple(ends[(start + place) % len(ends)] for place, ends in enumerate(by_value.values()))


def overrides_for(assumption: Assumption, value: str, parts: Mapping[str, Part]) -> dict[str, str]:
    """The overrides that give ``value`` to the assumption wherever its part is among ``parts``, by owner."""
    return {
        f"{owner}.{assumption.path}": value
        for owner, part in parts.items()
        if part.name == assumption.part and f"{assumption.path} = {assumption.text}" in part.assumed
    }
