# SPDX-License-Identifier: Apache-2.0
"""Which of several ways to run something is best on a machine, and what of the machine to buy next.

The ways are the points of a sweep that lists them all. The best is then run again with each number of its machine
doubled that can be bought: bandwidths, capacities, arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from simsparse.config.keys import Scalar
from simsparse.config.quantity import Part, Quantity
from simsparse.config.sweep import SweepSpec
from simsparse.config.yaml import Document
from simsparse.core import Keep, Result
from simsparse.errors import SimsparseError
from simsparse.sweep.answers import numbers_of
from simsparse.sweep.execute import simulate_point, system_of
from simsparse.sweep.planned import Planned
from simsparse.sweep.point import PointRun
from simsparse.sweep.run import OnProgress
from simsparse.sweep.sample import sampler_for

MAX_WAYS = 1000
BOUGHT = ("bandwidth", "capacity")
"""Last words of the numbers that are tried at twice their value."""
ARITHMETIC = "flop/second"


@dataclass(frozen=True)
class Way:
    """One way: what its axes say, its run, and the answer, or why there is none."""

    columns: Mapping[str, Scalar]
    run: PointRun
    result: Result | None
    refused: str = ""

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens that all sequences of the trace decode in a second; None where the trace is no decode step."""
        meta = self.result.meta if self.result else {}
        if self.result is None or meta.get("phase") != "decode" or not self.result.latency_s:
            return None
        return int(meta.get("batch", 1)) * int(meta.get("steps", 1)) / self.result.latency_s

    @property
    def joules_per_token(self) -> float | None:
        """Joules of one of these tokens."""
        rate = self.tokens_per_s
        return self.result.energy_j / self.result.latency_s / rate if rate and self.result else None


@dataclass(frozen=True)
class Purchase:
    """The best way on a machine with the numbers at ``paths`` doubled, and its time in place of ``before_s``."""

    paths: tuple[str, ...]
    latency_s: float
    before_s: float

    @property
    def gain(self) -> float:
        """How many times faster."""
        return self.before_s / self.latency_s


def ways(document: Document, progress: OnProgress | None = None) -> list[Way]:
    """Every point of the sweep in ``document``, the best by its first objective first, then those without an answer.

    A way beyond a constraint, and one whose objective or limited number is not known, has no answer.
    Raises SpecError when the spec has a fault, does not list its points, or lists more than MAX_WAYS.
    """
    planned = Planned.load(document)
    spec = planned.spec
    if not spec.lists_all or planned.total > MAX_WAYS:
        raise spec.document.error(("axes",), f"a choice lists its points, {MAX_WAYS} at most; use simsparse sweep")
    axes = [axis.name for axis in spec.axes]
    found: list[Way] = []
    for index, draw in enumerate(sampler_for(spec).ask()):
        point = planned.point(index, draw)
        result, refused = _answer(point.run, Keep.SUMMARY)
        if result is not None and (refused := _unfit(result, spec)):
            result = None
        found.append(Way({name: point.columns[name] for name in axes}, point.run, result, refused))
        if progress:
            progress(len(found), planned.total, sum(way.result is None for way in found))
    objective = spec.sweep.objectives[0]
    return sorted(found, key=lambda way: float("inf") if way.result is None else way.result.summary()[objective])


def purchases(run: PointRun, before_s: float) -> list[Purchase]:
    """A run with each number of its machine doubled that can be bought, the most useful first."""
    found = []
    for name, part in system_of(run).parts().items():
        for paths, doubled in _doubled(name, part):
            result, _ = _answer(replace(run, override=tuple(sorted({**dict(run.override), **doubled}.items()))),
                                Keep.SUMMARY)  # fmt: skip
            if result is not None:
                found.append(Purchase(paths, result.latency_s, before_s))
    return sorted(found, key=lambda each: each.latency_s)


def _answer(run: PointRun, keep: Keep) -> tuple[Result | None, str]:
    try:
        return simulate_point(run, keep), ""
    except SimsparseError as error:
        return None, str(error)


def _unfit(result: Result, spec: SweepSpec) -> str:
    """Why a result can't be ranked, in words; empty where it can."""
    known, objective, limits = numbers_of(result.summary()), spec.sweep.objectives[0], spec.limits
    if unknown := next((name for name in (objective, *limits) if known.get(name) is None), ""):
        return f"its {unknown} is not known"
    beyond = next((name for name, limit in limits.items() if known[name] > limit), "")
    return f"its {beyond} is {known[beyond]:.4g}, more than the constraint of {limits[beyond]:.4g}" if beyond else ""


def _doubled(name: str, part: Part) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """Numbers of a part that can be bought, each at twice its value; its rates of arithmetic all at once."""
    rates: dict[str, str] = {}
    for path, number in part.quantities():
        if path.startswith("kernels."):
            continue
        if path.rpartition(".")[2] in BOUGHT:
            yield (f"{name}.{path}",), {f"{name}.{path}": _twice(number)}
        elif path.startswith("compute.") and number.unit == ARITHMETIC:
            rates[f"{name}.{path}"] = _twice(number)
    if rates:
        yield tuple(rates), rates


def _twice(number: Quantity) -> str:
    return f"{2 * number.si!r} {number.unit}"
