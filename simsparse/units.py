"""Units: the one place where text becomes SI numbers and seconds become engine ticks.

Time in the engine is an integer number of femtoseconds (1 s = 10**15 fs), so that events keep a
total order and results repeat to the last bit.
"""

from __future__ import annotations

import math
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


def cycles_to_fs(cycles: int, frequency_hz: float) -> int:
    """Femtoseconds that cover ``cycles`` of a clock of ``frequency_hz``, rounded up."""
    return math.ceil(cycles * FS_PER_SECOND / frequency_hz)


@cache
def _registry() -> UnitRegistry[Any]:
    from pint import UnitRegistry

    registry: UnitRegistry[Any] = UnitRegistry(cache_folder=None)
    for line in ("flop = [flop]", "mac = [mac]", "FLOPS = flop / second", "transfer = [transfer]",
                 "T = transfer"):  # fmt: skip
        name = line.split(" =")[0]
        if name not in ("T",):
            registry.define(line)
    return registry


@lru_cache(maxsize=65536)
def parse_quantity(text: str, unit: str) -> float:
    """The SI value of ``text`` such as ``"3.35 TB/s"``, which must have the dimension of ``unit``.

    GB is 10**9 bytes and GiB 2**30. Raises ValueError when the text is not a quantity of that
    dimension.
    """
    registry = _registry()
    try:
        quantity = registry.Quantity(text)
        return float(quantity.to(unit).magnitude)
    except Exception as error:
        raise ValueError(f"{text!r} is not a quantity in {unit}") from error
