# SPDX-License-Identifier: Apache-2.0
"""Sweeps: axes over an experiment, how to sample them, and what to make small."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import Field, WithJsonSchema, model_validator

from simsparse.config.axes import AXES_SCHEMA, ROWS, Axis, Choices, read_axis, read_rows
from simsparse.config.hardware import System
from simsparse.config.keys import KEYS, LevelNumber, Scalar, Seed, Text
from simsparse.config.quantity import Frozen, Part
from simsparse.config.ranges import Range
from simsparse.config.run_spec import RunSpec, load_document
from simsparse.config.validated import validate_document
from simsparse.config.yaml import PARTS_USED, Document
from simsparse.core.table import TABLE, records
from simsparse.errors import nearest
from simsparse.units import parse_quantity

if TYPE_CHECKING:
    import pandas as pd

OBJECTIVES = ("latency_s", "energy_j", "area_mm2", "power_w")
"""Columns of a result that a sampler can make small."""
CONSTRAINTS = {"latency_s": "s", "energy_j": "J", "area_mm2": "mm**2", "power_w": "W", "memory_bytes": "byte"}
"""What may have an upper limit, and the unit of a plain number."""

MAX_POINTS = 1_000_000


class SampleKind(StrEnum):
    """How points are chosen from the axes."""

    GRID = "grid"
    RANDOM = "random"
    SOBOL = "sobol"
    TPE = "tpe"
    NSGA2 = "nsga2"
    CMAES = "cmaes"


class Fidelity(Frozen):
    """A search that begins with cheap answers: all points at the first of ``levels``, promising ones at the next.

    ``keep`` is the share of a level's points, best first by how many fronts lie before them, that the next one runs.
    """

    levels: tuple[LevelNumber, ...] = (0, 1)
    keep: Annotated[float, Field(gt=0, le=1)] = 0.25

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        if len(self.levels) < 2 or list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"levels {list(self.levels)} must be two or more and ascend")
        return self


class Sample(Frozen):
    """Which points are run: all of the grid, or ``points`` of it drawn with ``seed``.

    ``population`` is the generation of NSGA-II and the batch of TPE: points of one batch are chosen
    before any of them is known, so that the choice does not depend on the number of processes.
    """

    kind: SampleKind = SampleKind.GRID
    points: Annotated[int, Field(strict=True, ge=1, le=MAX_POINTS)] | None = None
    seed: Seed = 0
    population: Annotated[int, Field(strict=True, ge=2, le=10_000)] | None = None
    fidelity: Fidelity | None = None


class Sweep(RunSpec):
    """An experiment with axes, or with ``rows``, points that are listed; either may set ``workload`` and ``system``.

    ``skip`` drops grid points: each item maps keys or axis names to a value or a list of values, and
    a point that matches all of an item is left out. ``keep_ops`` and
    ``keep_timelines`` store the per-op tables and the level-1 timelines whatever the number of points. Reports take
    ratios against the points at ``baseline``, a value by axis, of points that differ in that axis alone, and
    at equal area or power where ``normalise`` says so. ``constraints`` are upper limits of numbers of a result; points
    beyond one are no part of the front, and searches avoid them.
    """

    axes: Annotated[dict[str, Any], WithJsonSchema(AXES_SCHEMA)] = Field(default_factory=dict)
    rows: tuple[dict[str, Any], ...] = ()
    skip: tuple[dict[str, Any], ...] = ()
    sample: Sample = Sample()
    objectives: tuple[Text, ...] = ("latency_s", "energy_j")
    constraints: dict[str, Any] = Field(default_factory=dict)
    baseline: dict[str, Any] = Field(default_factory=dict)
    normalise: tuple[Literal["area", "power"], ...] = ()
    keep_ops: Annotated[bool, Field(strict=True)] = False
    keep_timelines: Annotated[bool, Field(strict=True)] = False


@dataclass(frozen=True)
class SweepSpec:
    """A sweep as read: the schema's fields, the axes, and the document for messages."""

    sweep: Sweep
    axes: tuple[Axis, ...]
    document: Document

    @property
    def base(self) -> dict[str, Scalar]:
        """What holds at every point that no axis changes, by key."""
        return self.sweep.values

    @property
    def lists_all(self) -> bool:
        """Whether the points can be listed: a grid, or a random draw from one."""
        kind = self.sweep.sample.kind
        listed = all(isinstance(axis, Choices) or (kind is SampleKind.GRID and axis.count) for axis in self.axes)
        return listed and kind in (SampleKind.GRID, SampleKind.RANDOM)

    @property
    def evolves(self) -> bool:
        """Whether later points depend on the answers to earlier ones."""
        return self.sweep.sample.kind in (SampleKind.TPE, SampleKind.NSGA2, SampleKind.CMAES)

    @property
    def repeats(self) -> bool:
        """Whether points may come out the same: those of a search, or where a range is not set everywhere."""
        return self.evolves or any(isinstance(axis, Range) and axis.when for axis in self.axes)

    @property
    def limits(self) -> dict[str, float]:
        """The constraints in SI units, areas in mm2."""
        return {name: _limit(self, name, value) for name, value in self.sweep.constraints.items()}


def load_sweep(name: str | Document) -> SweepSpec:
    """The sweep in the YAML file ``name``, or in a document. Raises SpecError that names file, line, key and value."""
    document = load_document(name) if isinstance(name, str) else name
    sweep: Sweep = validate_document(document, Sweep, document.data)
    spec = SweepSpec(sweep, _read_axes(document, sweep), document)
    _check_keys(spec)
    _check_skip(spec)
    _check_sample(spec)
    _check_baseline(spec)
    _check_when(spec)
    _check_fidelity(spec)
    assert spec.limits is not None
    return spec


def _read_axes(document: Document, sweep: Sweep) -> tuple[Axis, ...]:
    if sweep.axes and sweep.rows:
        raise document.error((ROWS,), "stand in place of axes; expected one of the two")
    if sweep.rows:
        return (read_rows(document, sweep.rows),)
    if not sweep.axes:
        raise document.error(("axes",), "a sweep needs at least one axis, or rows")
    return tuple(read_axis(document, key, value) for key, value in sweep.axes.items())


def table_document(frame: pd.DataFrame) -> Document:
    """A sweep over the rows of ``frame``, whose columns are keys; cells of keys that a point does not set are empty."""
    return Document(TABLE, {"name": TABLE, ROWS: records(frame)}, {})


def _limit(spec: SweepSpec, name: str, value: Any) -> float:
    path = ("constraints", name)
    if name not in CONSTRAINTS:
        raise spec.document.error(path, f"can't be limited; {nearest(name, CONSTRAINTS)}")
    if not isinstance(value, (str, int, float)):
        raise spec.document.error(path, f"{value!r} is neither a number nor a quantity such as 50 ms or 30 mm**2")
    try:
        limit = parse_quantity(value, CONSTRAINTS[name]) if isinstance(value, str) else float(value)
    except ValueError as error:
        raise spec.document.error(path, f"{value!r}: {error}") from None
    if isinstance(value, bool) or not limit > 0:
        raise spec.document.error(path, f"{value!r} is not a number above 0")
    return limit


def _check_when(spec: SweepSpec) -> None:
    labels = {axis.name: [str(label) for label in axis.labels] for axis in spec.axes if isinstance(axis, Choices)}
    for axis in spec.axes:
        for name, values in axis.when if isinstance(axis, Range) else ():
            path = ("axes", axis.name, "when", name)
            if name not in labels:
                raise spec.document.error(path, f"is no axis of listed values; {nearest(name, labels)}")
            if wrong := next((value for value in values if value not in labels[name]), None):
                raise spec.document.error(path, f"{wrong!r} is no value of it; {nearest(wrong, labels[name])}")


def _check_fidelity(spec: SweepSpec) -> None:
    if spec.sweep.sample.fidelity and any("level" in axis.keys for axis in spec.axes):
        raise spec.document.error(("sample", "fidelity"), "sets the level, which an axis sets too")


def _check_keys(spec: SweepSpec) -> None:
    owner: dict[str, str] = {}
    for axis in spec.axes:
        for key in sorted(axis.keys):
            if (other := owner.setdefault(key, axis.name)) != axis.name:
                raise spec.document.error(("axes", axis.name), f"sets {key}, which the axis {other} sets too")
    for key in (key.name for key in KEYS.values() if key.required):
        if key not in spec.base and not any(_sets(axis, key) for axis in spec.axes):
            raise spec.document.error((), f"{key} is missing: give it at the top or at every item of one axis")


def _sets(axis: Axis, key: str) -> bool:
    return isinstance(axis, Choices) and all(key in item for item in axis.items)


def _check_skip(spec: SweepSpec) -> None:
    if spec.sweep.skip and not spec.lists_all:
        raise spec.document.error(("skip",), "works with a grid, or with random points of listed values")
    allowed = _labels(spec)
    for i, item in enumerate(spec.sweep.skip):
        for key, value in item.items():
            path = ("skip", i, key)
            if key not in allowed:
                raise spec.document.error(path, f"is neither an axis nor set by one; {nearest(key, allowed)}")
            for one in value if isinstance(value, list) else [value]:
                if str(one) not in allowed[key]:
                    raise spec.document.error(path, f"{one!r} is no value of it; {nearest(str(one), allowed[key])}")


def _check_baseline(spec: SweepSpec) -> None:
    axes = {axis.name: axis for axis in spec.axes}
    for name, value in spec.sweep.baseline.items():
        path = ("baseline", name)
        if name not in axes:
            raise spec.document.error(path, f"is no axis; {nearest(name, axes)}")
        axis = axes[name]
        labels = [str(label) for label in axis.labels] if isinstance(axis, Choices) else []
        if not labels:
            raise spec.document.error(path, "is a range; a baseline needs an axis of listed values")
        if str(value) not in labels:
            raise spec.document.error(path, f"{value!r} is no value of it; {nearest(str(value), labels)}")


def _labels(spec: SweepSpec) -> dict[str, set[str]]:
    """What every axis and every key that an axis sets can be, as text."""
    found: dict[str, set[str]] = {}
    for axis in spec.axes:
        if isinstance(axis, Choices):
            found.setdefault(axis.name, set()).update(str(label) for label in axis.labels)
            for item in axis.items:
                for key, value in item.items():
                    found.setdefault(key, {str(spec.base[key])} if key in spec.base else set()).add(str(value))
    return found


def _check_sample(spec: SweepSpec) -> None:
    sample, document = spec.sweep.sample, spec.document
    for i, objective in enumerate(spec.sweep.objectives):
        if objective not in OBJECTIVES:
            raise document.error(("objectives", i), f"{objective!r} is no objective; {nearest(objective, OBJECTIVES)}")
    if not spec.sweep.objectives:
        raise document.error(("objectives",), "needs at least one objective")
    count = len(spec.sweep.objectives) if "objectives" in spec.sweep.model_fields_set else 1
    if sample.kind is SampleKind.CMAES and count > 1:
        one = "give one, or take tpe or nsga2 as sample.kind, which make several small"
        raise document.error(("objectives",), f"cmaes takes one objective, and there are {count}; {one}")
    if sample.kind is SampleKind.GRID:
        _check_grid(spec)
    elif sample.points is None:
        raise document.error(("sample",), f"points is missing; {sample.kind} needs the number of points")


def _check_grid(spec: SweepSpec) -> None:
    document = spec.document
    if spec.sweep.sample.points is not None:
        raise document.error(("sample", "points"), "a grid runs all its points; expected no points")
    if span := next((axis for axis in spec.axes if isinstance(axis, Range) and not axis.count), None):
        raise document.error(("axes", span.name), "a grid needs a list of values; ranges need another sample.kind")
    counts = (len(axis.items) if isinstance(axis, Choices) else axis.count for axis in spec.axes)
    if (size := math.prod(counts)) > MAX_POINTS:
        raise document.error(("axes",), f"{_large(size)} points; a sweep may have at most {MAX_POINTS}")


def _large(number: int) -> str:
    """``number``, by its power of ten where it is too long to read."""
    digits = int(number.bit_length() * math.log10(2))
    return str(number) if digits < 30 else f"about 1e{digits}"


def resolved_text(spec: SweepSpec, systems: Mapping[str, System]) -> str:
    """The sweep and every system it uses, value by value, as YAML; ``systems`` are by the names in the spec."""
    parts = {
        name: {part: _part_values(values) for part, values in system.parts().items()}
        for name, system in sorted(systems.items())
    }
    content = {**spec.document.data, PARTS_USED: parts}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _part_values(part: Part) -> dict[str, Any]:
    values = {
        path: {"value": quantity.text, "source": quantity.source, "basis": str(quantity.basis)}
        for path, quantity in part.quantities()
    }
    return {"part": part.name, "values": values}
