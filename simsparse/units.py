# SPDX-License-Identifier: Apache-2.0
"""Units: the one place where text becomes SI numbers and seconds become engine ticks.

Time in the engine is an integer number of femtoseconds (1 s = 10**15 fs), so that events keep a
total order and results repeat to the last bit.
"""

from __future__ import annotations

import math
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pint import UnitRegistry

FS_PER_SECOND = 10**15


def seconds_to_fs(seconds: float) -> int:
    """Femtoseconds that cover ``seconds``, rounded up."""
    return math.ceil(seconds * FS_PER_SECOND)


def fs_to_seconds(femtoseconds: int) -> float:
    """Seconds of an engine time."""
    return femtoseconds / FS_PER_SECOND


_DEFINITIONS = """
femto- = 1e-15 = f-
pico- = 1e-12 = p-
nano- = 1e-9 = n-
micro- = 1e-6 = u- = µ- = μ-
milli- = 1e-3 = m-
centi- = 1e-2 = c-
kilo- = 1e3 = k-
mega- = 1e6 = M-
giga- = 1e9 = G-
tera- = 1e12 = T-
peta- = 1e15 = P-
kibi- = 2**10 = Ki-
mebi- = 2**20 = Mi-
gibi- = 2**30 = Gi-
tebi- = 2**40 = Ti-
second = [time] = s
minute = 60 * second = min
hour = 3600 * second = h
hertz = 1 / second = Hz
byte = [information] = B
bit = byte / 8 = b
flop = [flop]
mac = [mac]
FLOPS = flop / second
joule = [energy] = J
watt = joule / second = W
ampere = [current] = A
volt = watt / ampere = V
meter = [length] = m
"""
"""All units there are. pint's own list takes bytes for plain numbers, so that a missing unit would pass."""


def bytes_text(count: int) -> str:
    """``93.2 GB`` for a message; whole bytes below 10 kB. GB is 10**9 bytes."""
    for name, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= max(size, 10**4):
            return f"{count / size:.4g} {name}"
    return f"{count} bytes"


@cache
def _registry() -> UnitRegistry[Any]:
    from pint import UnitRegistry

    registry: UnitRegistry[Any] = UnitRegistry(None, cache_folder=None)
    registry.load_definitions(_DEFINITIONS.splitlines())
    return registry


_NAME = "[A-Za-zµμ][A-Za-zµμ0-9]*"
_QUANTITY = re.compile(
    rf"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{{1,3}})?)\s*({_NAME}(?:[ */^]+(?:{_NAME}|-?[0-9]))*)?\s*"
)
_LONGEST = 100


def parse_quantity(text: str, unit: str) -> float:
    """The SI value of ``text`` such as ``"3.35 TB/s"``, which must have the dimension of ``unit``.

    A number, then a unit: names joined by ``*`` and ``/``, with one-digit powers. GB is 10**9 bytes
    and GiB 2**30. Raises ValueError when the text is not a quantity of that dimension.
    """
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    factor = _factor(match[2] or "", unit) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text[:_LONGEST]!r} is not a quantity in {unit}")
    return float(match[1]) * factor


@lru_cache(maxsize=4096)
def _factor(text: str, unit: str) -> float | None:
    """How many ``unit`` one ``text`` is; None when they measure different things."""
    registry = _registry()
    try:
        return float(registry.Quantity(1.0, text).to(unit).magnitude)
    except Exception:  # pint lets errors of its tokenizer, its parser and Python's own through
        return None
