# SPDX-License-Identifier: Apache-2.0
"""Samplers: which points of the axes are run, batch by batch.

A draw holds one entry an axis: the index of an item of a Choices, the value of a Range. The batches
depend on the sweep alone, and TPE's and NSGA-II's also on the answers to earlier batches, never on
the number of processes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, Protocol

from simsparse.config.axes import Axis, Choices, Range
from simsparse.config.keys import Scalar
from simsparse.config.sweep import SampleKind, SweepSpec

Draw = tuple[int | float, ...]
Objectives = tuple[float, ...] | None

NSGA2_POPULATION = 50
TPE_BATCH = 10


class Sampler(Protocol):
    """Asks for points until ``ask`` gives none; ``tell`` answers a batch, None for a failed point."""

    total: int

    def ask(self) -> list[Draw]: ...

    def tell(self, answers: Sequence[Objectives]) -> None: ...


def sampler_for(spec: SweepSpec) -> Sampler:
    """The sampler that a sweep asks for. Raises SpecError when it asks for more points than there are."""
    kind = spec.sweep.sample.kind
    if spec.lists_all:
        draws = _grid(spec) if kind is SampleKind.GRID else _subset(spec)
        return Listed(len(draws), lambda: draws)
    if kind in (SampleKind.RANDOM, SampleKind.SOBOL):
        return Listed(points(spec), lambda: _random(spec) if kind is SampleKind.RANDOM else _sobol(spec))
    return Evolved(spec)


class Listed:
    """``total`` points that do not depend on answers; ``draw`` gives them when they are asked for."""

    def __init__(self, total: int, draw: Callable[[], list[Draw]]) -> None:
        self.total, self._draw, self._asked = total, draw, False

    def ask(self) -> list[Draw]:
        if self._asked:
            return []
        self._asked = True
        return self._draw()

    def tell(self, answers: Sequence[Objectives]) -> None:
        """Nothing to learn."""


class Evolved:
    """Optuna's TPE on the first objective, or NSGA-II on all of them, in fixed batches.

    Sources: Bergstra et al., NeurIPS 2011 (TPE); Deb et al., IEEE TEC 6(2) 2002 (NSGA-II).
    """

    def __init__(self, spec: SweepSpec) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sample = spec.sweep.sample
        self.total, self._left = points(spec), points(spec)
        many = sample.kind is SampleKind.NSGA2
        self._batch = sample.population or (min(NSGA2_POPULATION, self.total) if many else TPE_BATCH)
        self._kept = len(spec.sweep.objectives) if many else 1
        seed = sample.seed % 2**32
        sampler = (
            optuna.samplers.NSGAIISampler(population_size=max(2, self._batch), seed=seed)
            if many
            else optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, self.total))
        )
        self._study = optuna.create_study(directions=["minimize"] * self._kept, sampler=sampler)
        self._space = {str(i): _distribution(axis) for i, axis in enumerate(spec.axes)}
        self._trials: list[Any] = []

    def ask(self) -> list[Draw]:
        count = min(self._batch, self._left)
        self._left -= count
        self._trials = [self._study.ask(self._space) for _ in range(count)]
        return [tuple(trial.params[name] for name in self._space) for trial in self._trials]

    def tell(self, answers: Sequence[Objectives]) -> None:
        import optuna

        for trial, values in zip(self._trials, answers, strict=True):
            if values is None:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(trial, list(values[: self._kept]))


def _distribution(axis: Axis) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(axis, Range):
        return FloatDistribution(axis.low, axis.high, log=axis.log)
    return CategoricalDistribution(tuple(range(len(axis.items))))


def points(spec: SweepSpec) -> int:
    """The number of points that a sampled sweep asks for."""
    count = spec.sweep.sample.points
    assert count is not None, "load_sweep checks this"
    return count


def _grid(spec: SweepSpec) -> list[Draw]:
    choices = [axis for axis in spec.axes if isinstance(axis, Choices)]
    draws: list[Draw] = list(product(*(range(len(axis.items)) for axis in choices)))
    rules = [_matchers(choices, spec.base, rule) for rule in spec.sweep.skip]
    return [draw for draw in draws if not any(_matches(rule, draw) for rule in rules)]


def _matchers(
    choices: list[Choices], base: Mapping[str, Scalar], rule: Mapping[str, Any]
) -> list[tuple[int, set[int]]]:
    """A rule as (axis, items that match) pairs: a point is skipped when every pair holds."""
    found = []
    for key, value in rule.items():
        wanted = {str(one) for one in (value if isinstance(value, list) else [value])}
        for i, axis in enumerate(choices):
            if axis.name == key:
                found.append((i, {j for j, label in enumerate(axis.labels) if str(label) in wanted}))
            elif key in axis.keys:
                values = [str(item.get(key, base.get(key))) for item in axis.items]
                found.append((i, {j for j, text in enumerate(values) if text in wanted}))
    return found


def _matches(rule: list[tuple[int, set[int]]], draw: Draw) -> bool:
    return all(draw[axis] in items for axis, items in rule)


def _subset(spec: SweepSpec) -> list[Draw]:
    grid, count = _grid(spec), points(spec)
    if count > len(grid):
        raise spec.document.error(("sample", "points"), f"{count} points of a grid of {len(grid)}")
    chosen = random.Random(spec.sweep.sample.seed).sample(range(len(grid)), count)
    return [grid[i] for i in sorted(chosen)]


def _random(spec: SweepSpec) -> list[Draw]:
    source = random.Random(spec.sweep.sample.seed)
    return [tuple(_at(axis, source.random()) for axis in spec.axes) for _ in range(points(spec))]


def _sobol(spec: SweepSpec) -> list[Draw]:
    """Scrambled Sobol points (Owen 1998, as in scipy.stats.qmc), the first ``points`` of a power of two."""
    from scipy.stats import qmc

    count = points(spec)
    engine = qmc.Sobol(len(spec.axes), scramble=True, seed=spec.sweep.sample.seed)
    unit = engine.random_base2(max(0, math.ceil(math.log2(count))))[:count]
    return [tuple(_at(axis, u) for axis, u in zip(spec.axes, row, strict=True)) for row in unit.tolist()]


def _at(axis: Axis, u: float) -> int | float:
    """The entry of ``axis`` at ``u`` in [0, 1)."""
    if isinstance(axis, Choices):
        return min(int(u * len(axis.items)), len(axis.items) - 1)
    if axis.log:
        return axis.low * math.exp(u * math.log(axis.high / axis.low))
    return axis.low + (axis.high - axis.low) * u
