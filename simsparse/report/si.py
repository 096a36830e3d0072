# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them: three digits, an SI prefix and a unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simsparse.units import parse_quantity

_PREFIXES = {-18: "a", -15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_AXIS_UNITS = {
    "byte/second": "B/s", "flop/second": "FLOP/s", "hertz": "Hz", "second": "s", "watt": "W", "joule": "J", "byte": "B",
    "joule/byte": "J/B",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scale:
    """One unit for a whole axis or column: values are divided by ``factor`` and read in ``unit``."""

    factor: float
    unit: str


def _exponent(value: float) -> int:
    if value == 0 or not math.isfinite(value):
        return 0
    exponent = 3 * math.floor(math.log10(abs(value)) / 3 + 1e-12)
    return min(max(exponent, min(_PREFIXES)), max(_PREFIXES))


def digits(value: float, significant: int = 3) -> str:
    """``value`` with ``significant`` digits, without exponent between 0.001 and 99,999."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    rounded = float(f"{value:.{significant - 1}e}")
    places = significant - 1 - math.floor(math.log10(abs(rounded)))
    if abs(rounded) >= 1e5 or places > significant + 2:
        return f"{rounded:.{significant - 1}e}"
    return f"{rounded:.{max(0, places)}f}"


def si(value: float | None, unit: str) -> str:
    """``"1.23 ms"`` for 0.00123 and ``s``, with a space that does not break; an en dash for None."""
    if value is None or math.isnan(value):
        return "–"
    exponent = _exponent(float(f"{value:.3g}"))
    return f"{digits(value / 10**exponent)}\u00a0{_PREFIXES[exponent]}{unit}".rstrip()


def short_value(text: str) -> str:
    """The text of an axis value with its number in three digits: ``165 GB/s`` for ``164.92821 GB/s``."""
    number, _, unit = text.partition(" ")
    try:
        return f"{float(number):.3g} {unit}".strip()
    except ValueError:
        return text


def scale_for(values: Iterable[float], unit: str) -> Scale:
    """The prefix in which most of ``values`` read between 1 and 1000: that of their geometric mean."""
    logs = [math.log10(value) for value in values if value > 0 and math.isfinite(value)]
    exponent = _exponent(10 ** (sum(logs) / len(logs))) if logs else 0
    return Scale(10.0**exponent, f"{_PREFIXES[exponent]}{unit}")


def binary_scale_for(values: Iterable[float]) -> Scale:
    """As ``scale_for`` in powers of 1024: KiB, MiB, GiB."""
    logs = [math.log2(value) for value in values if value > 0 and math.isfinite(value)]
    step = min(max(int(sum(logs) / len(logs) // 10), 0), len(_BINARY) - 1) if logs else 0
    return Scale(1024.0**step, _BINARY[step])


def axis_numbers(values: Sequence[str]) -> tuple[list[float], str] | None:
    """Numbers and their SI unit behind the texts of an axis, ``"3.35 TB/s"``; None when one is no number."""
    try:
        return [float(value) for value in values], ""
    except ValueError:
        pass
    for unit, symbol in _AXIS_UNITS.items():
        try:
            return [parse_quantity(value, unit) for value in values], symbol
        except ValueError:
            continue
    return None
