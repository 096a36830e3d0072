# SPDX-License-Identifier: Apache-2.0
"""What points came to, as searches rank them: objectives, limits, fronts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from simsparse.config.sweep import SweepSpec
from simsparse.core.pareto import pareto_front
from simsparse.sweep.sample import Answer, PointAnswers

if TYPE_CHECKING:
    import pandas as pd


def numbers_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What objectives and constraints name, of a result's summary: its own numbers, and the fullest memory's bytes."""
    memory = max((sum(own.values()) for own in summary.get("memory", {}).values()), default=0)
    return {**summary, "memory_bytes": memory}


def answer_of(summary: Mapping[str, Any] | None, spec: SweepSpec) -> Answer:
    """The objectives of a result and how far it is beyond each limit; None where an objective is not known."""
    known = numbers_of(summary or {})
    values = [known.get(name) for name in spec.sweep.objectives]
    if any(value is None for value in values) or not summary:
        return None
    beyond = tuple(
        (float("inf") if known.get(name) is None else known[name]) / limit - 1 for name, limit in spec.limits.items()
    )
    return PointAnswers(tuple(float(value) for value in values if value is not None), beyond)


def by_fronts(costs: Sequence[tuple[float, ...]]) -> list[int]:
    """Indexes of ``costs``, those of the Pareto front first, then of the front without these, and so on."""
    left, ranked = list(range(len(costs))), list[int]()
    while left:
        chosen = [left[i] for i in pareto_front([costs[i] for i in left])]
        ranked += chosen
        left = [i for i in left if i not in set(chosen)]
    return ranked


@lru_cache(maxsize=1024)
def _peak(text: object) -> int:
    """Bytes of the fullest memory that a JSON text states."""
    memory = json.loads(text) if isinstance(text, str) and text else {}
    return max((sum(own.values()) for own in memory.values()), default=0)


def front_needs(spec: SweepSpec) -> list[str]:
    """Columns of the table that ``fronts`` reads."""
    named = [*spec.sweep.objectives, *spec.limits]
    needed = ["workload.trace", "level", "error", *("memory" if name == "memory_bytes" else name for name in named)]
    return list(dict.fromkeys(needed))


def fronts(frame: pd.DataFrame, spec: SweepSpec) -> dict[str, pd.Series[bool]]:
    """Columns to add to a table: ``feasible``, whether a point is within all constraints if there are any; ``front``.

    ``front``: no point of the same workload and level beats it in all objectives, among feasible ones whose objectives
    are all known; of a search over levels at the last level.
    """
    import pandas as pd

    named = [*spec.sweep.objectives, *spec.limits]
    numbers = frame.assign(memory_bytes=list(map(_peak, frame["memory"]))) if "memory_bytes" in named else frame
    done = frame["error"] == ""
    feasible = done & pd.concat([numbers[n] <= limit for n, limit in spec.limits.items()] or [done], axis=1).all(axis=1)
    objectives = list(spec.sweep.objectives)
    ranked = feasible & numbers[objectives].notna().all(axis=1)
    if spec.sweep.sample.fidelity:
        ranked &= frame["level"] == spec.sweep.sample.fidelity.levels[-1]
    front = pd.Series(False, index=frame.index)
    for _, own in numbers[ranked].groupby(["workload.trace", "level"]):
        costs = [tuple(row) for row in own[objectives].itertuples(index=False)]
        front[own.index[pareto_front(costs)]] = True
    return {**({"feasible": feasible} if spec.limits else {}), "front": front}


def with_front(frame: pd.DataFrame, spec: SweepSpec) -> pd.DataFrame:
    """The table with the columns of ``fronts`` before that of errors."""
    for name, values in (fronts(frame, spec) if len(frame) else {}).items():
        frame.insert(list(frame.columns).index("error"), name, values)
    return frame
