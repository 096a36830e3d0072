# SPDX-License-Identifier: Apache-2.0
"""What figures show of a point, with name and unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from simsparse.report.pairs import Baseline, partners
from simsparse.report.results import Results, StoredPoint
from simsparse.report.si import digits, si

LOG_FROM_RATIO = 25.0
"""An axis is logarithmic when its values span more than this ratio."""


@dataclass(frozen=True)
class Metric:
    """A number of a point: ``of`` gives it in SI, nan when the point does not have it."""

    name: str
    unit: str
    of: Callable[[StoredPoint], float]
    smaller_is_better: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether its unit takes no prefix: areas, and numbers per something."""
        return self.unit == "mm²" or self.unit.startswith("1/")

    def text(self, value: float) -> str:
        """``value`` for people; ratios as ``1.23×``."""
        if self.unit == "×":
            return f"{value:.2f}×" if value < 100 else f"{value:.0f}×"
        return f"{digits(value)} {self.unit}" if self.is_plain else si(value, self.unit)

    def rank(self, point: StoredPoint) -> tuple[float, float, float]:
        """Sort key, best first; what agrees in three digits is ranked by energy, then by latency."""
        value = float(f"{self.of(point):.3g}")
        energy = point.energy_j if math.isfinite(point.energy_j) else math.inf
        return (value if self.smaller_is_better else -value), energy, point.latency_s

    def cost(self, point: StoredPoint) -> float:
        """The number of a point with its sign such that smaller is better."""
        value = self.of(point)
        return value if self.smaller_is_better else -value

    def values(self, points: Iterable[StoredPoint]) -> list[float]:
        """The positive numbers of ``points``."""
        return [value for point in points if math.isfinite(value := self.of(point)) and value > 0]


LATENCY = Metric("Latency", "s", lambda point: point.latency_s)
ENERGY = Metric("Energy", "J", lambda point: point.energy_j)
AREA = Metric("Area", "mm²", lambda point: math.nan if point.area_mm2 is None else point.area_mm2)
PER_AREA = Metric(
    "Rate per area", "1/s/mm²",
    lambda point: 1 / (point.latency_s * point.area_mm2) if point.latency_s > 0 and point.area_mm2 else math.nan,
    smaller_is_better=False,
)  # fmt: skip
PER_JOULE = Metric(
    "Passes per joule", "1/J", lambda point: 1 / point.energy_j if point.energy_j > 0 else math.nan,
    smaller_is_better=False,
)  # fmt: skip


POWER = Metric("Stated power", "W", lambda point: math.nan if point.power_w is None else point.power_w)
OBJECTIVES = {"latency_s": LATENCY, "energy_j": ENERGY, "area_mm2": AREA, "power_w": POWER}
"""What a sweep can make small, by column."""
_PER = {"": lambda _: 1.0, "area": AREA.of, "power": POWER.of}


def speed_up_over(results: Results, baseline: Baseline, per: str = "") -> Metric:
    """How many times shorter a pass takes than that of the point from which it differs in the baseline's axis alone.

    ``per`` area or power: at equal silicon area or stated power, as if work spread over copies of the machine
    without loss; nan where it is not known of both.
    """
    known, weight = partners(results, baseline), _PER[per]

    def gain(point: StoredPoint) -> float:
        base = known.get(point.identity)
        if base is None or not point.latency_s > 0:
            return math.nan
        return base.latency_s * weight(base) / (point.latency_s * weight(point))

    suffix = f" at equal {per}" if per else ""
    return Metric(f"Speed-up over {baseline.text}{suffix}", "×", gain, smaller_is_better=False)


def spans_decades(values: Iterable[float]) -> bool:
    """Whether ``values`` (positive) need a logarithmic axis."""
    known = list(values)
    return bool(known) and max(known) / min(known) > LOG_FROM_RATIO
