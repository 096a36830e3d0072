# SPDX-License-Identifier: Apache-2.0
"""Axes of a sweep: lists of values, lists of mappings, and ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from simsparse.config.keys import Scalar, is_key, known_keys, read_value
from simsparse.config.ranges import RANGE_SCHEMA, Range, read_range
from simsparse.config.validated import fault_message
from simsparse.config.yaml import Document, KeyPath
from simsparse.errors import nearest

ROWS = "rows"
"""Name of the axis whose items are points that a sweep lists; it is no column of the results."""
_SCALAR_SCHEMA = {"type": ["string", "number", "boolean"]}
_ITEM_SCHEMA = {"anyOf": [_SCALAR_SCHEMA, {"type": "object", "additionalProperties": True}]}
AXES_SCHEMA = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"anyOf": [{"type": "array", "minItems": 1, "items": _ITEM_SCHEMA}, RANGE_SCHEMA]},
    "description": "KEY: [values]; NAME: [{label: ..., KEY: value, ...}]; override.PATH: {low, high, log, unit, "
    "integer, step, power_of_two, when}",
}


@dataclass(frozen=True, slots=True)
class Choices:
    """An axis of listed items; each sets some keys and is shown as its label."""

    name: str
    items: tuple[Mapping[str, Scalar], ...]
    labels: tuple[Scalar, ...]
    named: bool

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(key for item in self.items for key in item)


Axis = Choices | Range


def read_axis(document: Document, name: str, value: Any) -> Axis:
    """The axis ``name`` of a sweep. Raises SpecError that names file, line, item and value."""
    path: KeyPath = ("axes", name)
    if isinstance(value, dict):
        return read_range(document, name, value)
    if not isinstance(value, list) or not value:
        raise document.error(path, f"{value!r}: expected a list of values or {{low, high, log, unit}}")
    if is_key(name):
        values = [_value(document, (*path, i), name, item) for i, item in enumerate(value)]
        return _distinct(document, Choices(name, tuple({name: v} for v in values), tuple(values), named=False))
    if not any(isinstance(item, dict) for item in value):
        raise document.error(path, f"is not a key; {nearest(name, known_keys())}; or a list of mappings")
    items = [_item(document, (*path, i), item) for i, item in enumerate(value)]
    return _distinct(document, Choices(name, tuple(i for i, _ in items), tuple(label for _, label in items), True))


def read_rows(document: Document, rows: Sequence[Any]) -> Choices:
    """Points that a sweep lists, each the keys that it sets, as one axis. Raises SpecError that names the row."""
    items = [_item(document, (ROWS, i), item)[0] for i, item in enumerate(rows)]
    return Choices(ROWS, tuple(items), tuple(range(1, len(items) + 1)), named=True)


def _distinct(document: Document, axis: Choices) -> Choices:
    first: dict[str, int] = {}
    for i, label in enumerate(axis.labels):
        if (before := first.setdefault(str(label), i)) != i:
            raise document.error(("axes", axis.name, i), f"{label!r} stands twice; first as item {before}")
    return axis


def _item(document: Document, path: KeyPath, item: Any) -> tuple[dict[str, Scalar], str]:
    if not isinstance(item, dict):
        raise document.error(path, f"{item!r}: expected a mapping of keys, as the other items are")
    values: dict[str, Scalar] = {}
    for key, value in item.items():
        if key == "label":
            continue
        if not is_key(key):
            raise document.error((*path, key), f"is not a key; {nearest(key, ['label', *known_keys()])}")
        values[key] = _value(document, (*path, key), key, value)
    if not values:
        raise document.error(path, "sets no key")
    label = item.get("label")
    if label is not None and (not isinstance(label, str | int | float) or not str(label).strip()):
        raise document.error((*path, "label"), f"{label!r} is not a word")
    return values, " ".join(str(value) for value in values.values()) if label is None else str(label)


def _value(document: Document, path: KeyPath, key: str, value: Any) -> Scalar:
    try:
        return read_value(key, value)
    except ValidationError as error:
        raise document.error(path, fault_message(error.errors()[0])) from None
