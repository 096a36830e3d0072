# SPDX-License-Identifier: Apache-2.0
"""Address mappings as data: which bits of an access's number choose what, the lowest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from simsparse.dram.device import LEVELS, DramDevice
from simsparse.dram.layout import Ints
from simsparse.errors import SpecError, nearest

MAPPINGS: Mapping[str, Sequence[str]] = {
    "bgil": ("Channel", "PseudoChannel", "BankGroup", "Column", "Bank", "Rank", "Sid", "Row"),
    "robaraco": ("Channel", "Column", "PseudoChannel", "Rank", "Sid", "BankGroup", "Bank", "Row"),
}
"""Mappings by name: neighbours in different bank groups, or in one row."""


@dataclass(frozen=True)
class AddressMap:
    """``fields``: levels and how many values of each, lowest first; a level may stand several times."""

    fields: tuple[tuple[str, int], ...]

    def split(self, numbers: Ints) -> dict[str, Ints]:
        """The place of accesses by level; what lies beyond the highest field wraps."""
        found: dict[str, Ints] = {}
        weight: dict[str, int] = {}
        rest = numbers
        for level, size in self.fields:
            part, rest = rest % size, rest // size
            found[level] = found[level] + part * weight[level] if level in found else part
            weight[level] = weight.get(level, 1) * size
        return found


def address_map(text: str, device: DramDevice, channels: int) -> AddressMap:
    """The mapping called ``text``, or described by it: levels, lowest first, ``Level`` or ``Level:BITS``.

    Levels of one node are left out of a name's list; ``Channel`` comes lowest where a description leaves it out. A
    level may be given by its number, 0 for the channel. Raises SpecError.
    """
    sizes = {**device.sizes, "Channel": channels}
    if text in MAPPINGS:
        return AddressMap(tuple((level, sizes[level]) for level in MAPPINGS[text] if sizes.get(level, 1) > 1))
    fields = [_field(word, sizes, text) for word in text.replace(",", " ").split()]
    if channels > 1 and not any(level == "Channel" for level, _ in fields):
        fields.insert(0, ("Channel", channels))
    for level, size in sizes.items():
        covered = prod(count for name, count in fields if name == level)
        if covered != size:
            raise SpecError(f"{text!r} gives {covered} values of {level}, which has {size}", key="mapping")
    return AddressMap(tuple(fields))


def _field(word: str, sizes: Mapping[str, int], text: str) -> tuple[str, int]:
    name, colon, bits = word.partition(":")
    level = list(sizes)[int(name)] if name.isdecimal() and len(name) < 3 and int(name) < len(sizes) else name
    if level not in sizes:
        allowed = [*MAPPINGS, *(level for level in LEVELS if level in sizes)]
        raise SpecError(f"{name!r:.60} in {text!r:.60} is not a level; {nearest(name, allowed)}", key="mapping")
    if colon and not (bits.isdecimal() and len(bits) < 3 and int(bits) <= 40):
        raise SpecError(f"{word!r:.60} is not LEVEL:BITS", key="mapping")
    return level, 1 << int(bits) if colon else sizes[level]
