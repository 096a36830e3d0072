# SPDX-License-Identifier: Apache-2.0
"""Comparisons of like with like: pairs of points that differ in one axis and in nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simsparse.config.keys import label_of
from simsparse.errors import SpecError, nearest
from simsparse.report.results import NAMED_BY_PATH, Results, StoredPoint, short_names, unique
from simsparse.report.si import short_value

SPARSITY, DENSE = "weight_sparsity", "dense"
NORMALISATIONS = ("area", "power")
"""What ratios may be taken per: silicon area, or power as stated for the devices."""


@dataclass(frozen=True)
class Baseline:
    """The value of an axis that ratios are taken against; ``name`` is the value in few characters, where it has one."""

    axis: str
    value: str
    name: str = ""

    @property
    def text(self) -> str:
        """``dense weights``, or ``h100-pcie5 (system)``."""
        if self.axis == SPARSITY:
            return f"{self.value} weights"
        return f"{self.name or short_value(self.value)} ({label_of(self.axis)})"


def baselines_of(results: Results, asked: Mapping[str, str] | None = None) -> tuple[Baseline, ...]:
    """The baselines that a user names, else dense weights where sparsity is an axis that has them; maybe none.

    Raises SpecError when a name is no axis of the sweep, or a value none of its values.
    """
    if not asked:
        values = _values(results).get(SPARSITY, [])
        return (Baseline(SPARSITY, DENSE),) if DENSE in values and len(values) > 1 else ()
    return tuple(_checked(results, axis, str(value)) for axis, value in asked.items())


def _checked(results: Results, axis: str, value: str) -> Baseline:
    values = _values(results)
    if axis not in values:
        raise SpecError(f"{axis!r} is no axis of the sweep; {nearest(axis, values)}", key="baseline")
    names = short_names(values[axis]) if axis in NAMED_BY_PATH else {}
    found = next((text for text in values[axis] if value in (text, names.get(text))), None)
    if found is None:
        raise SpecError(f"{value!r} is no value of it; {nearest(value, values[axis])}", key=f"baseline.{axis}")
    return Baseline(axis, found, names.get(found, ""))


def _values(results: Results) -> dict[str, list[str]]:
    names = unique(name for point in results.points for name in point.place)
    return {name: unique(point.place[name] for point in results.points if name in point.place) for name in names}


Partners = Mapping[tuple[str, ...], StoredPoint]


def partners(results: Results, baseline: Baseline) -> dict[tuple[str, ...], StoredPoint]:
    """By identity of a point, the point at the baseline from which it differs in that axis alone.

    Points that have no such partner, or that are at the baseline themselves, are left out.
    """
    at = {
        _others(point, baseline.axis): point
        for point in results.done
        if point.place.get(baseline.axis) == baseline.value
    }
    return {
        point.identity: at[others]
        for point in results.done
        if point.place.get(baseline.axis) not in (None, baseline.value)
        and (others := _others(point, baseline.axis)) in at
    }


def _others(point: StoredPoint, axis: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in point.place.items() if name != axis))


def span(values: Sequence[float]) -> tuple[float, float] | None:
    """Least and largest of some ratios; None without any."""
    return (min(values), max(values)) if values else None
