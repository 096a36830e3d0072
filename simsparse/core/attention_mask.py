# SPDX-License-Identifier: Apache-2.0
"""Attention masks: a pattern in words turns the dense attentions of a trace into what finds the kept keys and reads
them.

A statement is a pattern and, after it, layers that differ: ``tokens:256 dense=0,1 choose=2,13`` leaves layers 0 and 1
dense, finds tokens in layers 2 and 13, and reads the ones found last in all others. Layers are numbered by the first
number in the path of an op's module. ``found`` says that keys were found before, in an earlier step.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Self

from simsparse.core.kind import OpKind
from simsparse.errors import SpecError
from simsparse.registry import Registry

if TYPE_CHECKING:
    from simsparse.core.op import Op

BLOCK = 64
"""Queries and keys of a block of a mask. Source: MInference, SeerAttention, native sparse attention."""


class MaskPattern(ABC):
    """A pattern: a frozen dataclass in ``simsparse.core.attention_masks``, registered by name; ``syntax`` shows it."""

    name: ClassVar[str]
    syntax: ClassVar[str]

    @classmethod
    @abstractmethod
    def read(cls, text: str) -> Self | None:
        """The pattern of a text; None where it is another's."""

    @abstractmethod
    def finding(self, op: Op) -> list[Op]:
        """Operators that find the keys which the queries of ``op`` read; none where positions alone say it."""

    @abstractmethod
    def reading(self, op: Op) -> Op:
        """The attention ``op`` on the kept keys; ``op`` itself where the pattern has nothing to leave out."""


MASKS: Registry[type[MaskPattern]] = Registry("attention mask", package="simsparse.core.attention_masks")
"""Patterns by name."""
FOUND = "found"
_LAYER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")
_LIST = re.compile(r"(dense|choose)=(\d{1,4}(?:,\d{1,4})*)")


@dataclass(frozen=True)
class AttentionMask:
    """A pattern, the layers that stay dense, and those that find keys; empty ``choose``: all do, none if ``found``."""

    pattern: MaskPattern
    text: str
    dense: frozenset[int] = frozenset()
    choose: frozenset[int] = frozenset()
    found: bool = False

    @classmethod
    def parse(cls, text: str) -> AttentionMask:
        """A mask from its text. Raises SpecError."""
        return _parsed(text)

    def __str__(self) -> str:
        return self.text

    def applied(self, op: Op) -> Sequence[Op]:
        """What ``op`` becomes: what finds keys, then the attention; ``op`` alone where it is no attention."""
        if op.kind != OpKind.ATTENTION:
            return (op,)
        layer = layer_number(op)
        if layer in self.dense:
            return (op,)
        finds = not self.found and (not self.choose or layer in self.choose)
        return (*(self.pattern.finding(op) if finds else ()), self.pattern.reading(op))


def layer_number(op: Op) -> int | None:
    """The layer of an op: the first number in the path of its module, or of its name where it has none."""
    match = _LAYER.search(op.module or op.name)
    return int(match[1]) if match else None


@lru_cache(maxsize=256)
def _parsed(text: str) -> AttentionMask:
    first, *rest = text.split() or [""]
    found = [pattern for name in MASKS if (pattern := MASKS.get(name).read(first)) is not None]
    if not found:
        known = ", ".join(MASKS.get(name).syntax for name in MASKS)
        raise SpecError(f"{text!r:.80} is no attention mask; expected {known}", key="attention_mask")
    lists: dict[str, frozenset[int]] = {}
    for word in rest:
        if word == FOUND:
            continue
        match = _LIST.fullmatch(word)
        if match is None or match[1] in lists:
            raise SpecError(
                f"{word!r:.80}: after a pattern come dense=LAYERS, choose=LAYERS, found", key="attention_mask"
            )
        lists[match[1]] = frozenset(map(int, match[2].split(",")))
    return AttentionMask(found[0], " ".join((first, *rest)), **lists, found=FOUND in rest)


def named(op: Op, part: str, make: Callable[..., Op], *sizes: int, **fields: object) -> Op:
    """An op that finds keys for the attention ``op``, in its module and of its type."""
    fields.setdefault("dtype", op.dtype)
    return make(*sizes, name=f"{op.name}.{part}", module=op.module, **fields)


def causal_blocks(queries: int, keys: int, causal: int) -> int:
    """Blocks of scores of one head that hold a key which some query of the block sees."""
    rows, cols = -(-queries // BLOCK), -(-keys // BLOCK)
    if not causal:
        return rows * cols
    before = keys - queries
    lasts = ((min(first + BLOCK, queries) + before, keys) for first in range(0, queries, BLOCK))
    return sum(-(-min(max(last, 0), most) // BLOCK) for last, most in lasts)
