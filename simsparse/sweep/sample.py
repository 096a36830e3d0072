# SPDX-License-Identifier: Apache-2.0
"""Samplers: which points of the axes are run, batch by batch.

A draw holds one entry an axis: the index of an item of a Choices, the value of a Range. The batches
depend on the sweep alone, and TPE's and NSGA-II's also on the answers to earlier batches, never on
the number of processes.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from itertools import product
from typing import Any, NamedTuple, Protocol

from simsparse.config.axes import Axis, Choices
from simsparse.config.keys import Scalar
from simsparse.config.ranges import Range
from simsparse.config.sweep import SampleKind, SweepSpec

Draw = tuple[int | float, ...]


class PointAnswers(NamedTuple):
    """What a point came to: its objectives, and by how much it is beyond each constraint, over the limit, less one."""

    objectives: tuple[float, ...]
    beyond: tuple[float, ...] = ()


Answer = PointAnswers | None
BEYOND = "beyond"

NSGA2_POPULATION = 50
TPE_BATCH = 10


class Sampler(Protocol):
    """Asks for points until ``ask`` gives none; ``tell`` answers a batch, None for a failed point."""

    total: int

    def ask(self) -> list[Draw]: ...

    def tell(self, answers: Sequence[Answer]) -> None: ...


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

    def tell(self, answers: Sequence[Answer]) -> None:
        """Nothing to learn."""


class Evolved:
    """Optuna's TPE or NSGA-II on all objectives, or CMA-ES on the first, in fixed batches.

    TPE and NSGA-II prefer points within the constraints; CMA-ES, which moves ranges alone and draws listed values
    evenly, takes a point beyond one for failed. Sources: Bergstra et al., NeurIPS 2011 (TPE); Deb et al., IEEE TEC
    6(2) 2002 (NSGA-II); Hansen and Ostermeier, Evol. Comput. 9(2) 2001 (CMA-ES).
    """

    def __init__(self, spec: SweepSpec) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sample, self._limited = spec.sweep.sample, bool(spec.sweep.constraints)
        self.total, self._left = points(spec), points(spec)
        self._kind = sample.kind
        generation = min(NSGA2_POPULATION, self.total) if sample.kind is SampleKind.NSGA2 else TPE_BATCH
        self._batch = sample.population or generation
        self._kept = 1 if sample.kind is SampleKind.CMAES else len(spec.sweep.objectives)
        sampler = self._sampler(spec, sample.seed % 2**32)
        self._study = optuna.create_study(directions=["minimize"] * self._kept, sampler=sampler)
        self._axes, self._trials = spec.axes, list[Any]()
        self._space = {str(i): _distribution(axis) for i, axis in enumerate(spec.axes)}

    def _sampler(self, spec: SweepSpec, seed: int) -> Any:
        from optuna import samplers

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._kind is SampleKind.CMAES:
                if find_spec("cmaes") is None:
                    message = "cmaes needs the package cmaes; install simsparse[search]"
                    raise spec.document.error(("sample", "kind"), message)
                return samplers.CmaEsSampler(seed=seed, popsize=max(2, self._batch), warn_independent_sampling=False)
            beyond = _violations if self._limited else None
            if self._kind is SampleKind.NSGA2:
                return samplers.NSGAIISampler(population_size=max(2, self._batch), seed=seed, constraints_func=beyond)
            return samplers.TPESampler(seed=seed, n_startup_trials=min(10, self.total), constraints_func=beyond)

    def ask(self) -> list[Draw]:
        count = min(self._batch, self._left)
        self._left -= count
        self._trials = [self._study.ask(self._space) for _ in range(count)]
        return [
            tuple(_entry(axis, trial.params[name]) for name, axis in zip(self._space, self._axes, strict=True))
            for trial in self._trials
        ]

    def tell(self, answers: Sequence[Answer]) -> None:
        import optuna

        for trial, answer in zip(self._trials, answers, strict=True):
            trial.set_user_attr(BEYOND, [0.0] if answer is None else list(answer.beyond) or [0.0])
            late = answer is not None and self._kind is SampleKind.CMAES and max(answer.beyond, default=0.0) > 0
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if answer is None or late:
                    self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
                else:
                    self._study.tell(trial, list(answer.objectives[: self._kept]))


def _violations(trial: Any) -> Sequence[float]:
    found: Sequence[float] = trial.user_attrs[BEYOND]
    return found


def _distribution(axis: Axis) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(axis, Range):
        return CategoricalDistribution(tuple(range(len(axis.items))))
    if axis.powers:
        return IntDistribution(*axis.exponents)
    if axis.step and axis.log and axis.step == 1:
        return IntDistribution(int(axis.low), int(axis.high), log=True)
    if axis.step:
        return FloatDistribution(axis.low, axis.nth(axis.count - 1), step=axis.step)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _entry(axis: Axis, parameter: float) -> int | float:
    """The entry of a draw behind a parameter of Optuna's."""
    return 2.0**parameter if isinstance(axis, Range) and axis.powers else parameter


def points(spec: SweepSpec) -> int:
    """The number of points that a sampled sweep asks for."""
    count = spec.sweep.sample.points
    assert count is not None, "load_sweep checks this"
    return count


def _grid(spec: SweepSpec) -> list[Draw]:
    entries = [range(len(axis.items)) if isinstance(axis, Choices) else axis.values for axis in spec.axes]
    draws: list[Draw] = list(product(*entries))
    rules = [_matchers(spec.axes, spec.base, rule) for rule in spec.sweep.skip]
    return [draw for draw in draws if not any(_matches(rule, draw) for rule in rules)]


def _matchers(axes: Sequence[Axis], base: Mapping[str, Scalar], rule: Mapping[str, Any]) -> list[tuple[int, set[int]]]:
    """A rule as (axis, items that match) pairs: a point is skipped when every pair holds."""
    found = []
    for key, value in rule.items():
        wanted = {str(one) for one in (value if isinstance(value, list) else [value])}
        for i, axis in enumerate(axes):
            if isinstance(axis, Range):
                continue
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
    return axis.at(u)
