# SPDX-License-Identifier: Apache-2.0
"""What would a model take on these cards under these software stacks?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from simsparse._simulate import simulate
from simsparse.config.hardware import load_system
from simsparse.core import Keep, Result, Trace
from simsparse.errors import SimsparseError, SpecError


class CardTime(NamedTuple):
    """One trace on one part or system under one stack; ``refused`` says why there is no answer, else it is empty.

    ``unvalidated``: the models that nothing checks, by device; ``unvalidated_share``: their share of operator time.
    """

    card: str
    stack: str
    latency_s: float | None = None
    energy_j: float | None = None
    bound: str = ""
    unvalidated: tuple[str, ...] = ()
    unvalidated_share: float = 0.0
    refused: str = ""


def times_on_cards(
    trace: Trace, cards: Sequence[str], stacks: Sequence[str], level: int = 1,
    progress: Callable[[int, int, int], None] | None = None,
) -> list[CardTime]:  # fmt: skip
    """``trace`` on each of ``cards``, names of parts or systems, under each of ``stacks``.

    ``progress`` is called after each combination with those done, all of them, and those without an answer.

    A card that can't run the trace (too little memory, no kernel of a type) gives its reason. Raises SpecError when a
    name is not known or there is none.
    """
    if not cards or not stacks:
        raise SpecError("expected one card and one stack at least", key="cards" if not cards else "stacks")
    systems = {name: load_system(name) for name in cards}
    found: list[CardTime] = []
    for name, system in systems.items():
        for stack in stacks:
            try:
                result = simulate(trace, system, level=level, keep=Keep.ROWS, stack=stack)
                found.append(_answer(name, result))
            except SpecError:
                raise
            except SimsparseError as error:
                found.append(CardTime(name, stack, refused=error.message))
            if progress is not None:
                progress(len(found), len(systems) * len(stacks), sum(bool(each.refused) for each in found))
    return found


def _answer(card: str, result: Result) -> CardTime:
    total = sum(op.latency_s for op in result.ops)
    unchecked = sum(op.latency_s for op in result.ops if not op.validated)
    return CardTime(
        card, result.stack, result.latency_s, result.energy_j, result.bound, result.unvalidated,
        unchecked / total if total else 0.0,
    )  # fmt: skip
