# SPDX-License-Identifier: Apache-2.0
"""What a part can do at most: the two numbers of its roofline, from the part or from what a sweep wrote of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.errors import SimsparseError

if TYPE_CHECKING:
    from simsparse.config.quantity import Part

_PREFERRED = ("bf16", "fp16", "int8", "fp32")
_UNITS = {"tensor": "flop/second", "peak": "flop/second", "bandwidth": "byte/second", "clock": "hertz",
          "column": "byte"}  # fmt: skip
"""Units of the numbers that a roofline needs, by a word of their path; others are plain."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """Dense peak in FLOP/s of ``dtype``, and bytes/s of the memory that its operators stream from.

    ``sparse24`` is the factor by which 2:4 weights raise the peak, of operations counted dense; None where it has none.
    """

    flops_per_s: float
    bytes_per_s: float
    dtype: str
    sparse24: float | None = None

    @property
    def ridge(self) -> float:
        """FLOP/byte at which both limits meet."""
        return self.flops_per_s / self.bytes_per_s


def peaks_of(part: Part) -> Peaks | None:
    """The peaks of ``part``, nominal, before any efficiency; None for a kind that runs no operators.

    A systolic array and a PIM unit count two operations a multiply-accumulate; PIM reads from its
    banks at the rate of its column commands.
    """
    from simsparse.config.parts.accel import AccelPart

    skips = isinstance(part, AccelPart) and part.sparsity is not None and "2:4" in part.sparsity.patterns
    return _peaks({path: quantity.si for path, quantity in part.quantities()}, 2.0 if skips else None)


def stored_peaks(resolved: Path | None, system: str, overrides: Mapping[str, str]) -> dict[str, Peaks]:
    """The peaks of the devices of ``system`` by the numbers that a sweep wrote down; empty where it did not.

    They do not say which patterns an accelerator skips: it has no dashed roof.
    """
    found = {}
    for device, texts in (_written(resolved, system) if resolved is not None else {}).items():
        own = {path.removeprefix(f"{device}."): text for path, text in overrides.items() if path.startswith(device)}
        try:
            peaks = _peaks({path: _number(path, text) for path, text in {**texts, **own}.items()}, None)
        except (ValueError, KeyError, ZeroDivisionError, OverflowError):
            continue
        if peaks is not None and all(0 < rate < math.inf for rate in (peaks.flops_per_s, peaks.bytes_per_s)):
            found[device] = peaks
    return found


@lru_cache(maxsize=64)
def _written(resolved: Path, system: str) -> dict[str, dict[str, str]]:
    """Texts of the numbers of each device that peaks depend on."""
    from simsparse.config.yaml import read_parts_used

    try:
        parts = _mapping(_mapping(read_parts_used(resolved).data).get(system))
    except SimsparseError:
        return {}
    return {
        str(device): {str(path): str(_mapping(value).get("value")) for path, value in
                      _mapping(_mapping(part).get("values")).items() if str(path).startswith(_ROOTS)}
        for device, part in parts.items()
    }  # fmt: skip


_ROOTS = ("compute.", "array.", "memory.", "commands.")


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(path: str, text: str) -> float:
    """The SI value of a number that peaks depend on; NaN of any other. Raises ValueError."""
    from simsparse.units import parse_quantity

    words = path.split(".")
    unit = next((unit for word, unit in _UNITS.items() if word in words[1:]), "")
    try:
        return parse_quantity(text, unit)
    except ValueError:
        if unit:
            raise
        return math.nan


def _peaks(numbers: Mapping[str, float], sparse24: float | None) -> Peaks | None:
    """Peaks by the paths of the numbers that a kind of part has."""
    n = numbers
    if (rate := _rate(n, "compute.tensor.")) is not None:
        return Peaks(rate[1], n["memory.bandwidth"], rate[0], n.get("compute.sparse24"))
    if (rate := _rate(n, "array.macs.")) is not None:
        elements = n["array.rows"] * n["array.cols"]
        return Peaks(2 * rate[1] * elements * n["array.clock"], n["memory.bandwidth"], rate[0], sparse24)
    if (rate := _rate(n, "compute.peak.")) is not None:
        return Peaks(rate[1], n["memory.bandwidth"], rate[0])
    if (rate := _rate(n, "compute.macs.")) is not None:
        units = n["memory.stacks"] * n["compute.units"]
        columns = n["memory.stacks"] * n["commands.channels"] * n["commands.banks"] / n["commands.interval"]
        return Peaks(2 * rate[1] * units * n["compute.clock"], columns * n["commands.column"] * n["commands.clock"],
                     rate[0])  # fmt: skip
    return None


def _rate(numbers: Mapping[str, float], prefix: str) -> tuple[str, float] | None:
    """The dtype whose rate stands for a device, and that rate; None where it has none."""
    by_dtype = {path.removeprefix(prefix): value for path, value in numbers.items() if path.startswith(prefix)}
    if not by_dtype:
        return None
    dtype = next((name for name in _PREFERRED if name in by_dtype), next(iter(by_dtype)))
    return dtype, by_dtype[dtype]
