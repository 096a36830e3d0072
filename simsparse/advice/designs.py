# SPDX-License-Identifier: Apache-2.0
"""Which array, buffers and N:M weights are best for some models under an area and a power? What does sparsity gain at
equal area? Answered on an accelerator whose area and energy follow its sizes (simsparse.config.floorplan).

The array has as many rows as columns, all buffers one size, and skips the zeros of one pattern. Every weight of every
model has the pattern; what that costs in accuracy is another question. The power is the mean over a model's run, with
what its DRAM accesses take; it is that of the model with the highest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from simsparse._simulate import simulate
from simsparse.config.hardware import System, load_hardware
from simsparse.config.parts.accel import AccelPart, AccelSparsity
from simsparse.config.quantity import Basis, Quantity
from simsparse.core import Trace
from simsparse.core.pareto import pareto_front
from simsparse.errors import SpecError

DENSE = "dense"
OnDone = Callable[[int, int, int], None]


@dataclass(frozen=True)
class DesignPoint:
    """One design, and what it takes: seconds and joules by model, its area, and its highest mean power.

    ``score``: the geometric mean over models of seconds by joules, times the area.
    """

    pattern: str
    side: int
    buffer_kib: int
    area_mm2: float
    latency_s: dict[str, float]
    energy_j: dict[str, float]

    @property
    def power_w(self) -> float:
        return max(self.energy_j[name] / seconds for name, seconds in self.latency_s.items())

    @property
    def edp(self) -> float:
        """Geometric mean over models of seconds by joules."""
        logs = [math.log(seconds * self.energy_j[name]) for name, seconds in self.latency_s.items()]
        return math.exp(sum(logs) / len(logs))

    @property
    def score(self) -> float:
        return self.edp * self.area_mm2

    def to_dict(self) -> dict[str, object]:
        """All of it as JSON-able values."""
        return {**self.__dict__, "power_w": self.power_w, "edp": self.edp, "score": self.score}


@dataclass(frozen=True)
class DesignAnswer:
    """``best``: the feasible design of the least score, None where none is; ``front``: feasible designs that no other
    beats in seconds by joules and in area. ``sensitivity``: what one step of each choice does to the best design, as
    (choice, value, score over the best one's, area, power). ``given_up``: score of the best design over that of the
    best without each limit, by limit.
    """

    points: tuple[DesignPoint, ...]
    best: DesignPoint | None
    front: tuple[DesignPoint, ...]
    sensitivity: tuple[tuple[str, str, float, float, float], ...]
    given_up: dict[str, float]


def best_design(
    traces: Sequence[Trace], hw: str, patterns: Sequence[str], sides: Sequence[int], buffers_kib: Sequence[int],
    area_mm2: float = math.inf, power_w: float = math.inf, progress: OnDone | None = None,
) -> DesignAnswer:  # fmt: skip
    """The design of least energy-delay-area product for ``traces`` among all combinations, within the limits.

    Raises SpecError when ``hw`` has no section silicon, MappingError when it does not run a trace.
    """
    choices = list(product(patterns, sides, buffers_kib))
    pruned = {pattern: [trace.with_weight_sparsity(pattern) for trace in traces] for pattern in patterns}
    points = []
    for done, (pattern, side, buffer) in enumerate(choices, 1):
        points.append(_point(pruned[pattern], hw, pattern, side, buffer))
        if progress is not None:
            progress(done, len(choices), 0)
    feasible = [each for each in points if each.area_mm2 <= area_mm2 and each.power_w <= power_w]
    best = min(feasible, key=lambda each: each.score, default=None)
    front = [feasible[i] for i in pareto_front([(each.edp, each.area_mm2) for each in feasible])]
    if best is None:
        return DesignAnswer(tuple(points), None, (), (), {})
    without = {
        "area": [each for each in points if each.power_w <= power_w],
        "power": [each for each in points if each.area_mm2 <= area_mm2], "both": points,
    }  # fmt: skip
    given_up = {name: best.score / min(each.score for each in kept) for name, kept in without.items()}
    return DesignAnswer(tuple(points), best, tuple(front), _sensitivity(points, best), given_up)


def _sensitivity(points: Sequence[DesignPoint], best: DesignPoint) -> tuple[tuple[str, str, float, float, float], ...]:
    """Every other pattern, and the next smaller and larger side and buffer."""
    found = []
    for name in ("pattern", "side", "buffer_kib"):
        same = {getattr(each, name): each for each in points if _differ_in(each, best) <= {name}}
        values = list(same) if name == "pattern" else _beside(sorted(same), getattr(best, name))
        for value in values:
            if value != getattr(best, name):
                other = same[value]
                found.append((name, str(value), other.score / best.score, other.area_mm2, other.power_w))
    return tuple(found)


def _differ_in(one: DesignPoint, other: DesignPoint) -> set[str]:
    return {name for name in ("pattern", "side", "buffer_kib") if getattr(one, name) != getattr(other, name)}


def _beside(values: Sequence[int], chosen: int) -> list[int]:
    at = values.index(chosen)
    return list(values[max(0, at - 1) : at + 2])


@dataclass(frozen=True)
class SparsityGain:
    """A pattern against dense weights: with as many PEs, and with the rows that fit the dense design's area.

    Gains are dense over sparse, of seconds and of joules. ``rows``: of the design of equal area.
    """

    trace: str
    pattern: str
    dense_area_mm2: float
    sparse_area_mm2: float
    rows: int
    speed_same_array: float
    energy_same_array: float
    speed_same_area: float
    energy_same_area: float


def gain_at_equal_area(trace: Trace, hw: str, pattern: str, side: int, buffer_kib: int) -> SparsityGain:
    """What weights of ``pattern`` gain over dense ones on an array of ``side`` x ``side``, and at equal area.

    Raises SpecError when ``hw`` has no section silicon or not even one row fits.
    """
    pruned = trace.with_weight_sparsity(pattern)
    dense = _run(trace.with_weight_sparsity(DENSE), _design(hw, DENSE, side, side, buffer_kib))
    same = _run(pruned, _design(hw, pattern, side, side, buffer_kib))
    fitting = [rows for rows in range(1, side + 1) if _area(_design(hw, pattern, rows, side, buffer_kib)) <= dense[2]]
    if not fitting:
        raise SpecError(f"no array with {pattern} fits the area of the dense one", key="--side")
    equal = _run(pruned, _design(hw, pattern, fitting[-1], side, buffer_kib))
    return SparsityGain(
        trace.name, pattern, dense[2], same[2], fitting[-1], dense[0] / same[0], dense[1] / same[1],
        dense[0] / equal[0], dense[1] / equal[1],
    )  # fmt: skip


def _point(traces: Sequence[Trace], hw: str, pattern: str, side: int, buffer_kib: int) -> DesignPoint:
    part = _design(hw, pattern, side, side, buffer_kib)
    runs = {trace.name: _run(trace, part) for trace in traces}
    return DesignPoint(
        pattern, side, buffer_kib, _area(part), {name: run[0] for name, run in runs.items()},
        {name: run[1] for name, run in runs.items()},
    )  # fmt: skip


def _run(trace: Trace, part: AccelPart) -> tuple[float, float, float]:
    """(seconds, joules, mm2) of a trace by closed forms."""
    result = simulate(trace, System(part.name, part.description, {"accel0": part}), level=0, keep="summary")
    return result.latency_s, result.energy_j, _area(part)


def _area(part: AccelPart) -> float:
    found = part.counted_area
    assert found is not None
    return found.si


def _design(hw: str, pattern: str, rows: int, cols: int, buffer_kib: int) -> AccelPart:
    """The part with another array, buffers of one size, and the selection of one pattern or none."""
    given = load_hardware(hw)
    if not isinstance(given, AccelPart) or given.silicon is None or given.area is not None:
        raise SpecError(f"{given.name} has an area of its own, or no section silicon to derive it from", key="--hw")
    sizes = dict.fromkeys(("input", "weight", "output"), _number(buffer_kib * 1024, "byte"))
    decode = given.sparsity.decode if given.sparsity else _number(1, "")
    changed = {
        "array": given.array.model_copy(update={"rows": _number(rows, ""), "cols": _number(cols, "")}),
        "buffers": given.buffers.model_copy(update=sizes),
        "sparsity": None if pattern == DENSE else AccelSparsity(patterns=(pattern,), decode=decode),
        "overridden": (*given.overridden, "array.rows", "array.cols", "buffers", "sparsity"),
    }  # fmt: skip
    return AccelPart.model_validate({**{key: getattr(given, key) for key in type(given).model_fields}, **changed})


def _number(value: float, unit: str) -> Quantity:
    return Quantity(si=value, text=f"{value:g} {unit}".strip(), unit=unit, source=None, basis=Basis.OVERRIDE)


def renamed(traces: Sequence[Trace]) -> list[Trace]:
    """Traces whose names differ, numbered where some are equal."""
    names = [trace.name for trace in traces]
    return [
        replace(trace, name=f"{trace.name} {i}") if names.count(trace.name) > 1 else trace
        for i, trace in enumerate(traces, 1)
    ]
