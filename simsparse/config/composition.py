# SPDX-License-Identifier: Apache-2.0
"""Compositions as text: ``residency: lru(experts=64), prefetch: none``.

YAML holds a composition as a mapping of roles to kinds, ``{residency: {kind: lru, experts: 64}, prefetch: none}``. As
one line of text it is a value like any other: an axis lists it, a store keeps it and a report shows it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from simsparse.errors import SpecError

Composition = dict[str, dict[str, Any]]
"""Options by role, ``kind`` among them."""
_ROLE, _KIND, _OPTION = re.compile(r"\s*(\w+):\s*"), re.compile(r"\w+"), re.compile(r"\s*(\w+)=")
_DECODER = json.JSONDecoder()


def composition(value: Mapping[str, Any]) -> Composition:
    """A mapping from YAML, each role as a mapping with a ``kind``. Raises SpecError."""
    found: Composition = {}
    for role, said in value.items():
        options = {"kind": said} if isinstance(said, str) else said
        if not isinstance(options, Mapping) or not isinstance(options.get("kind"), str):
            raise SpecError(f"{said!r:.80}: expected a kind, or a mapping with the key kind", key=str(role))
        found[str(role)] = {str(name): option for name, option in options.items()}
    return found


def composed_text(value: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of a composition."""
    return ", ".join(f"{role}: {_part_text(options)}" for role, options in value.items())


def _part_text(options: Mapping[str, Any]) -> str:
    said = ", ".join(f"{name}={json.dumps(option)}" for name, option in options.items() if name != "kind")
    return f"{options['kind']}({said})" if said else str(options["kind"])


def is_composed(text: str) -> bool:
    """Whether ``text`` is a composition and not a name."""
    return ":" in text


def parse_composed(text: str) -> Composition:
    """The composition that ``text`` says. Raises SpecError where it is none."""
    found: Composition = {}
    place = 0
    while place < len(text):
        role, kind = _ROLE.match(text, place), None
        kind = role and _KIND.match(text, role.end())
        if not role or not kind or role[1] in found:
            raise _no_composition(text, place)
        found[role[1]] = {"kind": kind[0]}
        place = kind.end()
        if text.startswith("(", place):
            place = _options(text, place + 1, found[role[1]])
        if place < len(text):
            if not text.startswith(", ", place):
                raise _no_composition(text, place)
            place += 2
    return found


def _options(text: str, place: int, into: dict[str, Any]) -> int:
    """Read ``name=value, ...)`` from ``place`` on; returns the place after it."""
    while name := _OPTION.match(text, place):
        try:
            into[name[1]], place = _DECODER.raw_decode(text, name.end())
        except ValueError:
            raise _no_composition(text, name.end()) from None
        if text.startswith(")", place):
            return place + 1
        if not text.startswith(",", place):
            break
        place += 1
    raise _no_composition(text, place)


def _no_composition(text: str, place: int) -> SpecError:
    return SpecError(
        f"{text!r:.120}: nothing that is known at {text[place : place + 20]!r}; expected such as "
        "'residency: lru(experts=64), prefetch: none'"
    )
