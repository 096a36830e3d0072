# SPDX-License-Identifier: Apache-2.0
"""Forms: JSON texts of which many differ in a few values alone, stored once, with the values of each beside.

A form is a JSON text with a hole where a value differs. A text of this form is stored as a JSON list: the number of the
form, then what fills its holes, in their order.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

HOLE = "\x01"
"""Stands for a value; in JSON texts no such character stands as it is."""


class Holes:
    """Makes forms: values that differ are marked by a token, at which the text is cut."""

    def __init__(self) -> None:
        self._mark = f"@{secrets.token_hex(8)}:"

    def token(self, number: int) -> str:
        """A text that stands in place of value ``number``; nobody else writes it."""
        return f"{self._mark}{number}@"

    def number(self, text: str) -> int | None:
        """The number of the value for which ``text`` is the token; None of any other text."""
        own = text.startswith(self._mark) and text[len(self._mark) : -1].isdecimal()
        return int(text[len(self._mark) : -1]) if own else None

    def form(self, text: str) -> tuple[str, tuple[int, ...]]:
        """A JSON text with holes for its tokens, and the number of the value that each hole takes."""
        first, *rest = text.split(f'"{self._mark}')
        pieces = [piece.split('@"', 1) for piece in rest]
        return HOLE.join([first, *(after for _, after in pieces)]), tuple(int(number) for number, _ in pieces)


@dataclass(frozen=True)
class TextForm:
    """A JSON text with holes."""

    text: str

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """What stands between the holes."""
        return tuple(self.text.split(HOLE))

    def filled(self, values: Sequence[Any]) -> str:
        """The JSON text with ``values`` in the holes. Raises ValueError when there are more or fewer of them."""
        if len(values) != len(self.pieces) - 1:
            raise ValueError(f"{len(values)} values for {len(self.pieces) - 1} holes")
        found = [self.pieces[0]]
        for value, piece in zip(values, self.pieces[1:], strict=True):
            found += json.dumps(value), piece
        return "".join(found)


def listed(kinds: str) -> str:
    """How a list of values is written: by ``%`` of a tuple of them, texts as ``encode_basestring_ascii`` writes them.

    ``kinds`` has a letter per value: ``t`` for a text, any other for a number.
    """
    return f"[{', '.join('%s' if kind == 't' else '%r' for kind in kinds)}]"


def form_of(values: Mapping[str, Any], holes: Sequence[str]) -> str:
    """The form of ``values`` as JSON, holes where the keys ``holes`` stand, which come in the order of the values."""
    mark = Holes()
    text = json.dumps(
        {name: mark.token(holes.index(name)) if name in holes else value for name, value in values.items()}
    )
    return mark.form(text)[0]
