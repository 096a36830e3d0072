# SPDX-License-Identifier: Apache-2.0
"""Numbers with unit, source and basis, and the pydantic base that every part stands on."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from simsparse.core.role import Role
from simsparse.core.tensor import DType
from simsparse.errors import SpecError, nearest
from simsparse.sparsity import USUAL
from simsparse.sparsity.formats.storage import storage_text
from simsparse.units import parse_quantity


class Basis(StrEnum):
    """How a number is known."""

    STANDARD = "standard"
    DATASHEET = "datasheet"
    MEASURED = "measured"
    PAPER = "paper"
    DERIVED = "derived"
    ASSUMED = "assumed"
    OVERRIDE = "override"


class Frozen(BaseModel):
    """Immutable, and an error on any key that the schema does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @cached_property
    def _numbers(self) -> tuple[tuple[str, Quantity], ...]:
        """Every number below with its dotted path; copies of a part share what they do not change."""
        return tuple(_visit({key: getattr(self, key) for key in type(self).model_fields}))

    @cached_property
    def assumed(self) -> tuple[str, ...]:
        """Dotted path and text of every value of basis ``assumed``; copies of a part share what they do not change."""
        return tuple(_assumed({key: getattr(self, key) for key in type(self).model_fields}))

    def quantities(self) -> Iterator[tuple[str, Quantity]]:
        """Every number below with its dotted path."""
        yield from self._numbers


class Quantity(Frozen):
    """A number in SI units. ``text`` is what the file says, ``unit`` what ``si`` is counted in."""

    si: float
    text: str
    unit: str
    source: str | None
    basis: Basis
    note: str = ""

    def __float__(self) -> float:
        return self.si

    @property
    def whole(self) -> int:
        """The value as a whole number. Raises ValueError when it is not one."""
        if self.si != round(self.si):
            raise ValueError(f"{shown(self.text)} is not a whole number of {self.unit or 'items'}")
        return round(self.si)


def shown(value: Any) -> str:
    """``value`` as a message shows it: its repr, cut where it is long or deep."""
    return _shorten.repr(value)


_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = 60
_shorten.maxlevel = 2
_KEYS = {"value", "source", "basis", "note"}


def _quantity(raw: Any, unit: str, least: float, most: float) -> Quantity:
    if isinstance(raw, Quantity):
        return raw
    if not isinstance(raw, dict):
        raise ValueError(f"{shown(raw)}: expected {{value, source, basis}}")
    if unknown := set(raw) - _KEYS:
        raise ValueError(f"unknown key {shown(min(map(str, unknown)))}; allowed: {', '.join(sorted(_KEYS))}")
    for key in ("value", "basis"):
        if raw.get(key) is None:
            raise ValueError(f"{key} is missing; expected {{value, source, basis}}")
    try:
        basis = Basis(raw["basis"])
    except ValueError:
        raise ValueError(f"{shown(raw['basis'])} is not a basis; allowed: {', '.join(Basis)}") from None
    source = raw.get("source")
    if not source and basis not in (Basis.ASSUMED, Basis.OVERRIDE):
        raise ValueError(f"a number of basis {basis} needs a source")
    for key in ("source", "note"):
        if not isinstance(raw.get(key), str | None):
            raise ValueError(f"{key} {shown(raw[key])} is not text")
    text = _text(raw["value"])
    si = parse_quantity(text, unit) if unit else _plain(text)
    if not least <= si <= most:
        raise ValueError(f"{shown(text)} must be from {least:g} to {most:g} {unit}".rstrip())
    return Quantity(si=si, text=text, unit=unit, source=source, basis=basis,
                    note=raw.get("note") or "")  # fmt: skip


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{shown(value)} is not a number with a unit")
    return str(value)


def _plain(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not a plain number") from None


def _reader(unit: str, least: float, most: float) -> BeforeValidator:
    """Reads a number of ``unit`` from ``least`` to ``most``, beyond which no part is and no model holds."""
    return BeforeValidator(lambda raw: _quantity(raw, unit, least, most))


def _whole(quantity: Quantity) -> Quantity:
    quantity.whole  # noqa: B018 (raises ValueError)
    return quantity


def _at_most_one(quantity: Quantity) -> Quantity:
    if quantity.si > 1:
        raise ValueError(f"{quantity.text!r} is a share; it must be at most 1")
    return quantity


def _one_to_two(quantity: Quantity) -> Quantity:
    if not 1 <= quantity.si <= 2:
        raise ValueError(f"{quantity.text!r} must be from 1 (half duplex) to 2 (full duplex)")
    return quantity


Bytes = Annotated[Quantity, _reader("byte", 1, 2.0**60)]
BytesPerSecond = Annotated[Quantity, _reader("byte/second", 1000, 1e18)]
FlopsPerSecond = Annotated[Quantity, _reader("flop/second", 1, 1e24)]
Hertz = Annotated[Quantity, _reader("hertz", 1, 1e15)]
Seconds = Annotated[Quantity, _reader("second", 0, 1e6)]
Watts = Annotated[Quantity, _reader("watt", 0, 1e9)]
Joules = Annotated[Quantity, _reader("joule", 0, 1)]
JoulesPerByte = Annotated[Quantity, _reader("joule/byte", 0, 1)]
SquareMillimetres = Annotated[Quantity, _reader("millimeter**2", 1e-9, 1e9)]
Whole = Annotated[Quantity, _reader("", 1, 65536), AfterValidator(_whole)]
"""A number of things, or of cycles, that are whole."""
Ticks = Annotated[Quantity, _reader("", 0, 1 << 20), AfterValidator(_whole)]
"""A number of clock ticks, none included."""
Volts = Annotated[Quantity, _reader("volt", 1e-3, 1000)]
Amperes = Annotated[Quantity, _reader("ampere", 0, 1000)]
Multiplier = Annotated[Quantity, _reader("", 1e-6, 1e6)]
"""A ratio that divides something, or of which a power is taken."""
Ratio = Annotated[Quantity, _reader("", 0, 1e6)]
Share = Annotated[Quantity, _reader("", 0, 1e6), AfterValidator(_at_most_one)]
Duplex = Annotated[Quantity, _reader("", 0, 1e6), AfterValidator(_one_to_two)]
Efficiency = Annotated[Quantity, _reader("", 1e-6, 1e6), AfterValidator(_at_most_one)]


def _dtype(text: str) -> str:
    try:
        return str(DType(text))
    except ValueError:
        raise ValueError(f"{shown(text)} is not a dtype; {nearest(text[:60], DType)}") from None


DTypeName = Annotated[str, AfterValidator(_dtype)]
"""A key of numbers that differ by element type."""


def _format(text: str) -> str:
    try:
        named = storage_text(text)
    except SpecError as error:
        raise ValueError(error.message) from None
    if named in (USUAL, "dense"):
        raise ValueError(f"{shown(text)} weights need no decoding")
    return named


FormatName = Annotated[str, AfterValidator(_format)]
"""A key of numbers that differ by storage format."""


class Part(Frozen):
    """What every part has. ``name`` is its path under hw_models/, set by the loader.

    ``role`` is what a device of this kind does in a system that does not say otherwise. ``overridden`` are the paths of
    the values that differ from the file's; what was measured on the real part says nothing of them.
    """

    role: ClassVar[Role] = Role.PROCESSOR
    name: str
    kind: str
    description: str
    area: SquareMillimetres | None = None
    overridden: Annotated[tuple[str, ...], Field(exclude=True)] = ()
    _stated: Part | None = PrivateAttr(None)

    @property
    def stated(self) -> Self:
        """The part as its file has it, without overrides."""
        return self if self._stated is None else self._stated  # type: ignore[return-value]

    def changed_from(self, stated: Part, paths: tuple[str, ...]) -> Self:
        """This part as one whose values at ``paths`` are no longer those that its file states."""
        changed = self.model_copy(update={"overridden": paths}).with_followers(stated)
        changed._stated = stated
        return changed

    def with_followers(self, stated: Part) -> Self:
        """This part, its overrides given, with what must follow from them; ``stated`` as of ``stated``."""
        del stated
        return self

    @property
    def model(self) -> str:
        """Name of the device model that runs the part: its kind, where a kind has one model."""
        return self.kind

    @property
    def counted_area(self) -> Quantity | None:
        """The area that the file states, or what the part's components take where they are known."""
        return self.area

    @property
    def stated_power(self) -> Quantity | None:
        """What makers or authors state of the whole part at work, None where the kind has no such number.

        It stands beside a result for comparison and is never priced.
        """
        return None

    @cached_property
    def digest(self) -> str:
        """Hash of everything the part says, and of what its file says where values differ from it."""
        values = self.model_dump(mode="json")
        if self._stated is not None:
            values["stated"] = self._stated.digest
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _visit(nodes: Mapping[Any, Any]) -> Iterator[tuple[str, Quantity]]:
    for key, node in nodes.items():
        if isinstance(node, Quantity):
            yield str(key), node
        elif isinstance(node, Frozen | dict):
            below = _visit(node) if isinstance(node, dict) else node._numbers
            yield from ((f"{key}.{path}", quantity) for path, quantity in below)


def _assumed(nodes: Mapping[Any, Any]) -> Iterator[str]:
    for key, node in nodes.items():
        if isinstance(node, Quantity):
            if node.basis is Basis.ASSUMED:
                yield f"{key} = {node.text}"
        elif isinstance(node, Frozen | dict):
            for line in _assumed(node) if isinstance(node, dict) else node.assumed:
                yield f"{key}.{line}"
