# SPDX-License-Identifier: Apache-2.0
"""Axes of a sweep that are ranges of numbers: continuous, in steps, whole numbers or powers of two."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simsparse.config.keys import OPTION, OVERRIDE, Scalar
from simsparse.config.yaml import Document, KeyPath
from simsparse.errors import nearest

RANGE_KEYS = ("low", "high", "log", "unit", "integer", "step", "power_of_two", "when")
RANGE_SCHEMA = {
    "type": "object",
    "properties": {"low": {"type": "number"}, "high": {"type": "number"}, "log": {"type": "boolean"},
                   "unit": {"type": "string"}, "integer": {"type": "boolean"}, "step": {"type": "number"},
                   "power_of_two": {"type": "boolean"}, "when": {"type": "object"}},
    "required": ["low", "high"], "additionalProperties": False,
}  # fmt: skip
_WHOLE = ("steps",)
"""Keys that take whole numbers and may be ranges."""


@dataclass(frozen=True, slots=True)
class Range:
    """A numeric axis: values from ``low`` to ``high`` in ``unit``, which the key ``name`` is given.

    ``step``: only ``low`` and whole steps above it; 0 for all values. ``powers``: only powers of two. ``when`` maps
    axes to the labels at which the key is set at all; elsewhere it stays as it is without the axis.
    """

    name: str
    low: float
    high: float
    log: bool = False
    unit: str = ""
    step: float = 0.0
    powers: bool = False
    when: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        return frozenset((self.name,))

    @property
    def count(self) -> int:
        """The number of values, as far as a float can hold it; 0 where there are infinitely many."""
        if self.powers:
            return max(self.exponents[1] - self.exponents[0] + 1, 0)
        steps = (self.high - self.low) / self.step if self.step else -1.0
        return math.floor(min(steps, sys.float_info.max) + 1e-9) + 1

    @property
    def values(self) -> tuple[float, ...]:
        """All values of a range that has finitely many."""
        return tuple(map(self.nth, range(self.count)))

    def nth(self, i: int) -> float:
        """Value ``i`` of a range that has finitely many."""
        return 2.0 ** (self.exponents[0] + i) if self.powers else self.low + i * self.step

    @property
    def exponents(self) -> tuple[int, int]:
        """The least and the largest power of two in the range."""
        return math.ceil(math.log2(self.low) - 1e-12), math.floor(math.log2(self.high) + 1e-12)

    def at(self, u: float) -> float:
        """The value at ``u`` in [0, 1), evenly spread, on a log axis in the logarithm."""
        if self.count and not self.log:
            return self.nth(min(int(u * self.count), self.count - 1))
        if not self.log:
            return self.low + (self.high - self.low) * u
        drawn = self.low * math.exp(u * math.log(self.high / self.low))
        if self.powers:
            return self.nth(min(max(round(math.log2(drawn)) - self.exponents[0], 0), self.count - 1))
        return self.nth(min(round((drawn - self.low) / self.step), self.count - 1)) if self.step else drawn

    def text(self, number: float) -> str:
        """``number`` as an override says it: a whole number in full, else six digits, with the unit."""
        whole = float(number).is_integer() and abs(number) < 1e15
        return f"{int(number) if whole else format(number, '.6g')} {self.unit}".strip()

    def value(self, number: float) -> Scalar:
        """``number`` as the key takes it: a text for overrides, else a number."""
        if self.name.startswith(OVERRIDE):
            return self.text(number)
        return int(number) if float(number).is_integer() else number

    def applies(self, labels: Mapping[str, Scalar]) -> bool:
        """Whether the key is set at a point with these labels and values by axis."""
        return all(str(labels.get(axis)) in wanted for axis, wanted in self.when)


def read_range(document: Document, name: str, raw: Mapping[str, Any]) -> Range:
    """The range of the axis ``name``. Raises SpecError that names file, line and value."""
    path: KeyPath = ("axes", name)
    if not name.startswith((OVERRIDE, OPTION)) and name not in _WHOLE:
        others = ", policy_options.NAME or steps"
        raise document.error(path, f"a range needs an override axis (override.PATH){others}; expected a list of values")
    for key in raw:
        if key not in RANGE_KEYS:
            raise document.error((*path, key), f"unknown key; {nearest(key, RANGE_KEYS)}")
    low, high = (_number(document, (*path, key), raw.get(key)) for key in ("low", "high"))
    if not low < high:
        raise document.error((*path, "high"), f"{high:g} must be above low, {low:g}")
    log, powers = (_flag(document, path, raw, key) for key in ("log", "power_of_two"))
    if (log or powers) and low <= 0:
        raise document.error((*path, "low"), f"{low:g} must be positive on a {'log axis' if log else 'power of two'}")
    unit = raw.get("unit", "")
    if not isinstance(unit, str):
        raise document.error((*path, "unit"), f"{unit!r} is not a unit")
    found = Range(name, low, high, log, unit, _step(document, path, raw, low), powers, _when(document, path, raw))
    if powers and not found.count:
        raise document.error((*path, "high"), f"no power of two lies from {low:g} to {high:g}")
    return found


def _step(document: Document, path: KeyPath, raw: Mapping[str, Any], low: float) -> float:
    whole = _flag(document, path, raw, "integer") or path[-1] in _WHOLE
    step = _number(document, (*path, "step"), raw["step"]) if "step" in raw else float(whole)
    if "step" in raw and step <= 0:
        raise document.error((*path, "step"), f"{step:g} must be above 0")
    if "step" in raw and raw.get("power_of_two"):
        raise document.error((*path, "step"), "powers of two have no step")
    if whole and not (step.is_integer() and low.is_integer()):
        wrong = "step" if not step.is_integer() else "low"
        raise document.error((*path, wrong), f"{raw.get(wrong)!r} is not a whole number, which integer needs")
    return step


def _when(document: Document, path: KeyPath, raw: Mapping[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    when = raw.get("when", {})
    if not isinstance(when, dict):
        raise document.error((*path, "when"), f"{when!r}: expected a mapping of axes to a value or a list of values")
    return tuple(
        (str(axis), tuple(map(str, values if isinstance(values, list) else [values]))) for axis, values in when.items()
    )


def _flag(document: Document, path: KeyPath, raw: Mapping[str, Any], key: str) -> bool:
    value = raw.get(key, False)
    if not isinstance(value, bool):
        raise document.error((*path, key), f"{value!r}: expected true or false")
    return value


def _number(document: Document, path: KeyPath, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise document.error(path, f"{value!r} is not a finite number" if value is not None else "is missing")
    return float(value)
