# SPDX-License-Identifier: Apache-2.0
"""Sweeps from a YAML file to a table: expand, sample, execute, store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.config.axes import Choices
from simsparse.config.keys import Scalar
from simsparse.config.sweep import SweepSpec, load_sweep, resolved_text
from simsparse.errors import SpecError
from simsparse.store import SPEC_NAME, Store, to_frame, write_csv, write_parquet, write_text
from simsparse.store.schema import SCHEMA
from simsparse.sweep.check import Names, check_sweep
from simsparse.sweep.code import code_sha256
from simsparse.sweep.finished import finished_mark, finished_table
from simsparse.sweep.point import Resolver, SweepPoint
from simsparse.sweep.sample import Draw, Objectives, sampler_for
from simsparse.sweep.workers import Workers

if TYPE_CHECKING:
    import pandas as pd

KEEP_OPS_POINTS = 500
KEEP_TIMELINE_POINTS = 64

OnProgress = Callable[[int, int, int], None]
"""Called with points done, points in all, points failed."""


@dataclass(frozen=True)
class Planned:
    """A checked sweep, ready to run."""

    spec: SweepSpec
    names: Names
    resolver: Resolver
    total: int

    @classmethod
    def load(cls, path: str) -> Planned:
        """Read and check the sweep ``path`` and everything it names. Raises SpecError."""
        spec = load_sweep(path)
        names = check_sweep(spec)
        total = sampler_for(spec).total
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

    def point(self, index: int, draw: Draw) -> SweepPoint:
        """The point at place ``index`` that a sampler drew."""
        values: dict[str, Scalar] = dict(self.spec.base)
        columns: dict[str, Scalar] = {}
        for axis, entry in zip(self.spec.axes, draw, strict=True):
            if isinstance(axis, Choices):
                values.update(axis.items[int(entry)])
                columns[axis.name] = axis.labels[int(entry)]
            else:
                columns[axis.name] = values[axis.name] = axis.text(entry)
        return SweepPoint(index, {**columns, **values}, self.resolver.run(values))


def run_sweep(path: str | Path, out: str | Path, jobs: int = 1, progress: OnProgress | None = None) -> pd.DataFrame:
    """Run the sweep in the YAML file ``path`` and store it in the folder ``out``.

    Points that ``out`` has already are not run again, so a rerun of a sweep that was interrupted
    goes on from there, and one of a finished sweep reads its table. ``jobs`` local processes run the points; the table
    does not depend on it.
    A point that fails gets its message in the column ``error``; a point that TPE or NSGA-II draws again
    has one row. See ``to_frame`` for the columns.

    Raises SpecError before anything is written when the spec has a fault, StoreError when ``out``
    is not this sweep's.
    """
    if jobs < 1:
        raise SpecError(f"{jobs} is not a number of processes; expected 1 or more", key="jobs")
    planned, folder = Planned.load(str(path)), Path(out)
    with Store.open(folder, planned.spec.sweep.name, check=False) as store, Workers(jobs) as workers:
        if (finished := finished_table(folder, planned.digest)) is not None:
            if progress:
                progress(planned.total, planned.total, 0)
            return finished
        store.check()
        write_text(folder / SPEC_NAME, planned.resolved_text())
        _SweepRun(planned, store, workers, progress).all()
        frame = to_frame(store.rows(), once=planned.spec.evolves)
    write_csv(frame, folder)
    write_parquet(frame, folder, finished_mark(frame, folder, planned.digest))
    return frame


class _SweepRun:
    """One run of a sweep: what is finished, and how far it has come."""

    def __init__(self, planned: Planned, store: Store, workers: Workers, progress: OnProgress | None) -> None:
        self.planned, self.store, self.workers, self.progress = planned, store, workers, progress
        resolver = planned.resolver
        self.finished = store.finished(ops=resolver.keep_ops, timeline=resolver.keep_timeline)
        self.done = self.failed = 0

    def all(self) -> None:
        sampler, index = sampler_for(self.planned.spec), 0
        while draws := sampler.ask():
            points = [self.planned.point(index + i, draw) for i, draw in enumerate(draws)]
            self.store.set_rows(((point.index, point.run.key, point.columns) for point in points), index)
            self._execute(points)
            index += len(points)
            sampler.tell(self._answers(points))

    def _execute(self, points: Sequence[SweepPoint]) -> None:
        missing = {p.run.key: p.run for p in points if p.run.key not in self.finished}
        self._advance(len(points) - len(missing))
        for record in self.workers.run(list(missing.values())):
            self.store.put(record)
            self.finished.add(record.key)
            self._advance(1, failed=record.error is not None)

    def _advance(self, count: int, failed: bool = False) -> None:
        self.done, self.failed = self.done + count, self.failed + failed
        if self.progress:
            self.progress(self.done, self.planned.total, self.failed)

    def _answers(self, points: Sequence[SweepPoint]) -> list[Objectives]:
        if not self.planned.spec.evolves:
            return []
        return [self._objectives(self.store.summary(point.run.key)) for point in points]

    def _objectives(self, summary: Mapping[str, Any] | None) -> Objectives:
        values = [(summary or {}).get(name) for name in self.planned.spec.sweep.objectives]
        return None if any(value is None for value in values) else tuple(float(value) for value in values)  # type: ignore[arg-type]
