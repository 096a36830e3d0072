# SPDX-License-Identifier: Apache-2.0
"""Where does 2:4, or any other way to hold weights, pay on a part for one layer? Times over tokens, and the winner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

from simsparse._estimate import estimate
from simsparse.advice.choices import WeightChoice
from simsparse.config.hardware import part_of
from simsparse.config.quantity import Part
from simsparse.core import Op, OpKind
from simsparse.devices.base import device_for
from simsparse.errors import MappingError, SpecError

FoundT = TypeVar("FoundT")


class ChoiceTime(NamedTuple):
    """One choice at one number of tokens: seconds, joules, what bounds it, and what checks the model, if anything."""

    tokens: int
    choice: str
    latency_s: float
    energy_j: float
    bound: str
    validated: str | None


@dataclass(frozen=True)
class Crossover:
    """The times of every choice that the part can run, token count by token count.

    ``winners``: (first token count, choice) of each stretch of tokens with one fastest choice; of choices that take
    equal time, the one stated first. Within ``tokens`` given, a change is found to the token by bisection, which
    assumes one change between two neighbours. ``pays``: (first, last) token counts of each stretch in which a choice is
    faster than the first one that the part can run, by choice, found in the same way. ``refused``: reasons by choice;
    ``notes``: what the part leaves out of a choice, such as that it multiplies sparse weights as dense ones.
    """

    part: str
    layer: str
    times: tuple[ChoiceTime, ...]
    winners: tuple[tuple[int, str], ...]
    pays: dict[str, tuple[tuple[int, int], ...]]
    refused: dict[str, str]
    notes: dict[str, tuple[str, ...]]


def crossover(
    layer: Op, hw: Part | str | Path, choices: Sequence[WeightChoice], tokens: Sequence[int]
) -> Crossover:  # fmt: skip
    """Time ``layer``, a linear op, on ``hw`` at each of ``tokens`` with its weights as each of ``choices``.

    Raises SpecError when ``layer`` is no linear op, when ``tokens`` do not rise, and when the part can run no choice.
    """
    part = part_of(hw)
    _check(layer, choices, tokens)
    device = device_for(part)
    ops = {choice.text: choice.of(layer) for choice in choices}
    refused = {text: reason for text, op in ops.items() if (reason := _refusal(op, part, tokens))}
    able = [text for text in ops if text not in refused]
    if not able:
        reasons = "; ".join(f"{text}: {reason}" for text, reason in refused.items())
        raise SpecError(f"{part.name} can run none of the choices: {reasons}", key="choices")

    @cache
    def timed(text: str, count: int) -> ChoiceTime:
        found = estimate(_at(ops[text], count), part)
        return ChoiceTime(count, text, found.latency_s, found.energy_j, found.bound, found.validated)

    def winner(count: int) -> str:
        return min(able, key=lambda text: timed(text, count).latency_s)

    def pays(text: str) -> Callable[[int], bool]:
        return lambda count: timed(text, count).latency_s < timed(able[0], count).latency_s

    winners = _stretches(tokens, winner)
    faster = {text: _where(_stretches(tokens, pays(text)), tokens[-1]) for text in able[1:]}
    times = tuple(timed(text, count) for count in tokens for text in able)
    notes = {text: found for text in able if (found := device.notes(ops[text]))}
    return Crossover(part.name, _words(layer), times, tuple(winners), faster, refused, notes)


def _check(layer: Op, choices: Sequence[WeightChoice], tokens: Sequence[int]) -> None:
    if layer.kind != OpKind.LINEAR:
        raise SpecError(f"{layer.kind!r} has no weights to choose; expected linear", key="layer")
    if not choices or len({choice.text for choice in choices}) < len(choices):
        raise SpecError("expected choices, each of them once", key="choices")
    if not tokens or tokens[0] < 1 or any(a >= b for a, b in pairwise(tokens)):
        raise SpecError("expected rising numbers of tokens from 1", key="tokens")


def _refusal(op: Op, part: Part, tokens: Sequence[int]) -> str | None:
    """Why the part can't run ``op`` at one of ``tokens``."""
    try:
        for count in (tokens[0], tokens[-1]):
            estimate(_at(op, count), part)
    except MappingError as error:
        return error.message
    return None


def _at(op: Op, tokens: int) -> Op:
    return op.with_(dims={**op.dims, "m": tokens})


def _stretches(tokens: Sequence[int], found: Callable[[int], FoundT]) -> list[tuple[int, FoundT]]:
    """The first count of each stretch of ``tokens`` with one value of ``found``, and that value."""
    stretches = [(tokens[0], found(tokens[0]))]
    for low, high in pairwise(tokens):
        if found(high) != stretches[-1][1]:
            stretches.append(_change(low, high, stretches[-1][1], found))
    return stretches


def _change(low: int, high: int, before: FoundT, found: Callable[[int], FoundT]) -> tuple[int, FoundT]:
    """The least count above ``low`` at which ``found`` is not ``before``, by bisection, and what it is there."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if found(middle) == before else (low, middle)
    return high, found(high)


def _where(stretches: Sequence[tuple[int, bool]], last: int) -> tuple[tuple[int, int], ...]:
    """First and last count of each stretch that holds; the counts end at ``last``."""
    ends = [first - 1 for first, _ in stretches[1:]] + [last]
    return tuple((first, end) for (first, holds), end in zip(stretches, ends, strict=True) if holds)


def _words(layer: Op) -> str:
    return f"linear, {layer.dims['n']} outputs, {layer.dims['k']} inputs, {layer.dtype}"
