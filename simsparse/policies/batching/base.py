# SPDX-License-Identifier: Apache-2.0
"""The contract of batching: what a rule sees of an engine between two steps, and what it says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from inspect import signature
from typing import Any, ClassVar, NamedTuple, Protocol

from simsparse.errors import SpecError, nearest
from simsparse.registry import Registry


class BatchView(Protocol):
    """What a rule sees and may do. Requests are numbers."""

    @property
    def decoding(self) -> int:
        """Sequences that have their first token and want the next."""

    def unfinished(self) -> list[int]:
        """Admitted requests, part of whose prompt is still to be read, the first admitted first."""

    def left(self, request: int) -> int:
        """Tokens of an admitted request's prompt that are still to be read."""

    def admit(self) -> int | None:
        """Admit the first waiting request: give it a place and memory for its prompt.

        None where none waits, no place is free, or memory is short.
        """


class StepPlan(NamedTuple):
    """A step: tokens to read of prompts, ``(request, tokens)``, and whether decoding sequences get a token each."""

    chunks: tuple[tuple[int, int], ...] = ()
    decode: bool = True


class Batching(ABC):
    """A rule of batching. Its options are the arguments of its ``__init__``; it registers in BATCHINGS.

    ``max_seqs``: sequences that are admitted at a time. ``tokens``: tokens of one step, where the rule has a limit.
    ``priorities``: the waiting request of the lowest priority is admitted first, not the first that came.
    """

    name: ClassVar[str]

    def __init__(self, max_seqs: int = 256, tokens: int = 8192, priorities: bool = False) -> None:
        for key, value in (("max_seqs", max_seqs), ("tokens", tokens)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SpecError(f"{value!r} is not a whole number from 1", key=key)
        self.max_seqs, self.tokens, self.priorities = max_seqs, tokens, priorities

    @abstractmethod
    def plan(self, view: BatchView) -> StepPlan:
        """The next step. Without chunks, and with nothing that decodes, the engine waits."""


BATCHINGS: Registry[type[Batching]] = Registry("batching", package="simsparse.policies.batching")


def batching_of(options: str | Mapping[str, Any] | Batching) -> Batching:
    """The rule that ``options`` name: a kind, or a mapping with the key ``kind`` and the rule's options.

    Raises SpecError on a kind or an option that is not known.
    """
    if isinstance(options, Batching):
        return options
    said = {"kind": options} if isinstance(options, str) else dict(options)
    kind = str(said.pop("kind", ""))
    rule = BATCHINGS.get(kind)
    known = [name for name in signature(rule).parameters if name != "self"]
    if unknown := next((name for name in said if name not in known), None):
        raise SpecError(f"{unknown!r} is not an option of {kind}; {nearest(unknown, known)}", key="batching")
    return rule(**said)
