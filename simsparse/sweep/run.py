# SPDX-License-Identifier: Apache-2.0
"""Sweeps from a YAML file to a table: expand, sample, execute, store."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from simsparse.config.axes import ROWS, Choices
from simsparse.config.keys import Scalar
from simsparse.config.sweep import SweepSpec, load_sweep, resolved_text, table_document
from simsparse.config.yaml import Document
from simsparse.core.table import is_frame
from simsparse.errors import SpecError
from simsparse.store import SPEC_NAME, Store, to_frame, write_csv, write_parquet, write_text
from simsparse.store.schema import SCHEMA
from simsparse.sweep.answers import answer_of, by_fronts, with_front
from simsparse.sweep.check import Names, check_sweep
from simsparse.sweep.cluster import ClusterWorkers
from simsparse.sweep.code import code_sha256
from simsparse.sweep.finished import finished_mark, finished_table
from simsparse.sweep.point import Resolver, SweepPoint
from simsparse.sweep.sample import Answer, Draw, PointAnswers, sampler_for
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


def run_sweep(
    path: str | Path | pd.DataFrame, out: str | Path, jobs: int = 1, progress: OnProgress | None = None,
    scheduler: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Run the sweep in the YAML file ``path`` and store it in the folder ``out``.

    In place of a file, a table with one row per point and keys as columns (``workload.trace``, ``system``,
    ``weight_sparsity``, ``override.PATH``, ...); the rows of the result come in the same order.

    Points that ``out`` has already are not run again, so a rerun of a sweep that was interrupted
    goes on from there, and one of a finished sweep reads its table. ``jobs`` local processes run the points; the table
    does not depend on it. ``scheduler``: the address of a Dask scheduler, such as ``tcp://head:8786``, whose workers
    run the points in their stead.
    A point that fails gets its message in the column ``error``; a point that TPE or NSGA-II draws again
    has one row. See ``to_frame`` for the columns.

    Raises SpecError before anything is written when the spec has a fault, StoreError when ``out``
    is not this sweep's.
    """
    if scheduler is not None and jobs != 1:
        raise SpecError("jobs are local processes; with a scheduler leave them at 1", key="jobs")
    if jobs < 1:
        raise SpecError(f"{jobs} is not a number of processes; expected 1 or more", key="jobs")
    planned, folder = Planned.load(table_document(path) if is_frame(path) else str(path)), Path(out)
    with Store.open(folder, planned.spec.sweep.name, check=False) as store, _workers(jobs, scheduler) as workers:
        if (finished := finished_table(folder, planned.digest)) is not None:
            if progress:
                progress(planned.total, planned.total, 0)
            return finished
        store.check()
        write_text(folder / SPEC_NAME, planned.resolved_text())
        _SweepRun(planned, store, workers, progress).all()
        frame = with_front(to_frame(store.rows(), once=planned.spec.repeats), planned.spec)
    write_csv(frame, folder)
    write_parquet(frame, folder, finished_mark(frame, folder, planned.digest))
    return frame


def _workers(jobs: int, scheduler: str | None) -> Workers | ClusterWorkers:
    return Workers(jobs) if scheduler is None else ClusterWorkers(scheduler)


class _SweepRun:
    """One run of a sweep: what is finished, and how far it has come."""

    def __init__(
        self, planned: Planned, store: Store, workers: Workers | ClusterWorkers, progress: OnProgress | None
    ) -> None:
        self.planned, self.store, self.workers, self.progress = planned, store, workers, progress
        resolver = planned.resolver
        self.finished = store.finished(ops=resolver.keep_ops, timeline=resolver.keep_timeline)
        self.done = self.failed = 0

    def all(self) -> None:
        sampler, fidelity = sampler_for(self.planned.spec), self.planned.spec.sweep.sample.fidelity
        levels: tuple[int | None, ...] = fidelity.levels if fidelity else (None,)
        drawn: list[tuple[Draw, str]] = []
        while draws := sampler.ask():
            points = self._run(draws, len(drawn), levels[0])
            drawn += zip(draws, (point.run.key for point in points), strict=True)
            sampler.tell([self._answer(point) for point in points] if self.planned.spec.evolves else [])
        index = len(drawn)
        for level in levels[1:]:
            assert fidelity is not None
            draws = self._promising(drawn, fidelity.keep)
            points = self._run(draws, index, level)
            drawn = list(zip(draws, (point.run.key for point in points), strict=True))
            index += len(points)

    def _run(self, draws: Sequence[Draw], index: int, level: int | None) -> list[SweepPoint]:
        """Run points from the place ``index`` on; processes start while these are planned."""
        self.workers.prepare(len(draws) - len(self.finished))
        points = [self.planned.point(index + i, draw, level) for i, draw in enumerate(draws)]
        self.store.set_rows(((point.index, point.run.key, point.columns) for point in points), index)
        self._execute(points)
        return points

    def _promising(self, drawn: Sequence[tuple[Draw, str]], keep: float) -> list[Draw]:
        """The share ``keep`` of different points that have the fewest fronts before them, those within limits first."""
        found: dict[str, tuple[Draw, PointAnswers]] = {}
        for draw, key in drawn:
            if (answer := answer_of(self.store.summary(key), self.planned.spec)) is not None:
                found.setdefault(key, (draw, answer))
        count = math.ceil(keep * len(found))
        rows = list(found.values())
        inside = [i for i, (_, answer) in enumerate(rows) if max(answer.beyond, default=0.0) <= 0]
        ranked = by_fronts([rows[i][1].objectives for i in inside])
        outside = sorted(set(range(len(rows))) - set(inside), key=lambda i: max(rows[i][1].beyond))
        return [rows[i][0] for i in [*(inside[i] for i in ranked), *outside][:count]]

    def _execute(self, points: Sequence[SweepPoint]) -> None:
        missing = {p.run.key: p.run for p in points if p.run.key not in self.finished}
        self._advance(len(points) - len(missing))
        for records in self.workers.batches(list(missing.values())):
            self.store.put(*records)
            self.finished.update(record.key for record in records)
            for record in records:
                self._advance(1, failed=record.error is not None)

    def _advance(self, count: int, failed: bool = False) -> None:
        self.done, self.failed = self.done + count, self.failed + failed
        if self.progress:
            self.progress(self.done, self.planned.total, self.failed)

    def _answer(self, point: SweepPoint) -> Answer:
        return answer_of(self.store.summary(point.run.key), self.planned.spec)


def _total(spec: SweepSpec) -> int:
    """Points that a sweep runs at most, at all of its levels."""
    total = count = sampler_for(spec).total
    for _ in spec.sweep.sample.fidelity.levels[1:] if spec.sweep.sample.fidelity else ():
        count = math.ceil(spec.sweep.sample.fidelity.keep * count)  # type: ignore[union-attr]
        total += count
    return total
