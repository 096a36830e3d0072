# SPDX-License-Identifier: Apache-2.0
"""A checked sweep, and its points: what each of them runs, and which of them differ in overrides alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from simsparse.config.axes import ROWS, Axis, Choices
from simsparse.config.keys import OVERRIDE, Scalar
from simsparse.config.sweep import SweepSpec, load_sweep, resolved_text
from simsparse.config.yaml import Document
from simsparse.store.schema import SCHEMA
from simsparse.sweep.alike import AlikePoint, AlikeSet
from simsparse.sweep.check import Names, check_sweep
from simsparse.sweep.code import code_sha256
from simsparse.sweep.point import Resolver, SweepPoint
from simsparse.sweep.sample import Draw, sampler_for

KEEP_OPS_POINTS = 500
KEEP_TIMELINE_POINTS = 64
FEW_ALIKE = 64
"""Points of a sweep below which each is planned and run alone."""


@dataclass(frozen=True)
class Planned:
    """A checked sweep, ready to run."""

    spec: SweepSpec
    names: Names
    resolver: Resolver
    total: int

    @classmethod
    def load(cls, path: str | Document) -> Planned:
        """Read and check the sweep ``path``, or in a document, and everything it names. Raises SpecError."""
        spec = load_sweep(path)
        names = check_sweep(spec)
        total = _total(spec)
        if not total:
            raise spec.document.error(("skip",), "leaves no point")
        ops = spec.sweep.keep_ops or total <= KEEP_OPS_POINTS
        timelines = spec.sweep.keep_timelines or total <= KEEP_TIMELINE_POINTS
        resolver = Resolver(spec.sweep.exclude, names.files, names.systems, ops, timelines)
        return cls(spec, names, resolver, total)

    def resolved_text(self) -> str:
        """The sweep and every number of the systems that it runs on, as YAML."""
        return resolved_text(self.spec, {name: each.system for name, each in self.names.systems.items()})

    @cached_property
    def digest(self) -> str:
        """Hash of all that the points and their answers depend on: the spec, the files that it names, the code."""
        files, systems = self.names.files, self.names.systems
        traces = {name: self.resolver.trace(path).digest for name, path in files.items()}
        parts = {name: (each.name, each.digest) for name, each in systems.items()}
        kept = self.resolver.keep_ops, self.resolver.keep_timeline
        identity = SCHEMA, code_sha256(), self.spec.document.data, traces, parts, kept
        return hashlib.sha256(json.dumps(identity, default=str).encode()).hexdigest()

    def point(self, index: int, draw: Draw, level: int | None = None) -> SweepPoint:
        """The point at place ``index`` that a sampler drew, at a level of its own where one is given."""
        values: dict[str, Scalar] = dict(self.spec.base)
        columns: dict[str, Scalar] = {}
        for axis, entry in zip(self.spec.axes, draw, strict=True):
            if isinstance(axis, Choices):
                values.update(axis.items[int(entry)])
                columns[axis.name] = axis.labels[int(entry)]
        for axis, entry in zip(self.spec.axes, draw, strict=True):
            if not isinstance(axis, Choices):
                applies = axis.applies(columns)
                columns[axis.name] = axis.value(entry) if applies else ""
                values |= {axis.name: columns[axis.name]} if applies else {}
        columns = {axis.name: columns[axis.name] for axis in self.spec.axes if axis.name != ROWS}
        values |= {} if level is None else {"level": level}
        return SweepPoint(index, {**columns, **values}, self.resolver.run(values))

    @cached_property
    def _families(self) -> _AlikeSets:
        return _AlikeSets(self)

    def points(self, index: int, draws: Sequence[Draw], level: int | None = None) -> list[SweepPoint | AlikePoint]:
        """The points at the places from ``index`` on; those that only differ in overrides as such."""
        together = not self.resolver.keep_ops and not self.resolver.keep_timeline and len(draws) >= FEW_ALIKE
        if not together or not self._families.varies:
            return [self.point(index + i, draw, level) for i, draw in enumerate(draws)]
        return [self._families.point(index + i, draw, level) for i, draw in enumerate(draws)]


class _AlikeSets:
    """The families of a sweep: one per choice of what is no override, and of the axes that are set."""

    def __init__(self, planned: Planned) -> None:
        self._planned, self._known = planned, dict[tuple[object, ...], AlikeSet | None]()
        self._axes = planned.spec.axes
        self.varies = any(map(_overrides, self._axes)) and all(map(_can_vary, self._axes))
        self._items = [_items(axis) if isinstance(axis, Choices) else [] for axis in self._axes]

    def point(self, index: int, draw: Draw, level: int | None) -> SweepPoint | AlikePoint:
        """The point that a sampler drew."""
        said: dict[str, Scalar] = {}
        chosen: list[object] = [level]
        for axis, items, entry in zip(self._axes, self._items, draw, strict=True):
            if isinstance(axis, Choices):
                other, own = items[int(entry)]
                chosen.append(other)
                said.update(own)
            else:
                said[axis.name] = axis.value(entry)
        key = (*chosen, *said)
        if key not in self._known:
            self._known[key] = self._family(self._planned.point(index, draw, level), tuple(said))
        family = self._known[key]
        if family is None:
            return self._planned.point(index, draw, level)
        values = tuple(said.values())
        texts = tuple(str(said[OVERRIDE + path]) for path in family.paths)
        return AlikePoint(index, family.key(texts), family, values, texts)

    def _family(self, point: SweepPoint, names: tuple[str, ...]) -> AlikeSet | None:
        """The family of a point; None where it is run alone."""
        return AlikeSet(point, names) if int(dict(point.run.values)["level"]) == 0 else None


def _overrides(axis: Axis) -> bool:
    """Whether an axis sets an override."""
    return any(key.startswith(OVERRIDE) for key in axis.keys)


def _can_vary(axis: Axis) -> bool:
    """Whether points that differ in an axis can be of one family, or of few: not in a range of something else."""
    return isinstance(axis, Choices) or (_overrides(axis) and not axis.when)


def _items(axis: Choices) -> list[tuple[object, dict[str, Scalar]]]:
    """For each item of an axis: what members of a family share, and what it says else, in the order of columns."""
    found: list[tuple[object, dict[str, Scalar]]] = []
    for i, (item, label) in enumerate(zip(axis.items, axis.labels, strict=True)):
        own = {key: value for key, value in item.items() if key.startswith(OVERRIDE)}
        if not own:
            found.append((i if axis.name != ROWS else tuple(item.items()), {}))
            continue
        shared = tuple((key, None if key in own else value) for key, value in item.items())
        found.append((shared, {**({} if axis.name == ROWS else {axis.name: label}), **own}))
    return found


def _total(spec: SweepSpec) -> int:
    """Points that a sweep runs at most, at all of its levels."""
    total = count = sampler_for(spec).total
    for _ in spec.sweep.sample.fidelity.levels[1:] if spec.sweep.sample.fidelity else ():
        count = math.ceil(spec.sweep.sample.fidelity.keep * count)  # type: ignore[union-attr]
        total += count
    return total
