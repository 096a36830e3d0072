# SPDX-License-Identifier: Apache-2.0
"""Sweeps from a YAML file to a table: expand, sample, execute, store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simsparse.config.sweep import table_document
from simsparse.core.table import is_frame
from simsparse.errors import SpecError
from simsparse.store import (
    SPEC_NAME,
    STORE_NAME,
    Reader,
    Store,
    StreamedTable,
    brief_table,
    to_frame,
    whole_table,
    write_csv,
    write_parquet,
    write_text,
)
from simsparse.store.schema import DETAILS
from simsparse.store.writer import PointRow
from simsparse.sweep.alike import AlikePoint
from simsparse.sweep.answers import answer_of, by_fronts, front_needs, fronts, with_front
from simsparse.sweep.chunks import Chunk, chunks_of
from simsparse.sweep.cluster import ClusterWorkers
from simsparse.sweep.finished import finished_mark, finished_table, is_whole
from simsparse.sweep.planned import Planned
from simsparse.sweep.point import SweepPoint
from simsparse.sweep.sample import Answer, Draw, PointAnswers, sampler_for
from simsparse.sweep.workers import Workers

if TYPE_CHECKING:
    import pandas as pd

SLICE = 32_768
"""Points that are planned at a time, while those before them run."""
HELD = 50_000
"""Points of a sweep beyond which its table is written some rows after others."""
OnProgress = Callable[[int, int, int], None]
"""Called with points done, points in all, points failed."""


def run_sweep(
    path: str | Path | pd.DataFrame, out: str | Path, jobs: int = 1, progress: OnProgress | None = None,
    scheduler: str | None = None, details: bool = True,
) -> pd.DataFrame:  # fmt: skip
    """Run the sweep in the YAML file ``path`` and store it in the folder ``out``.

    In place of a file, a table with one row per point and keys as columns (``workload.trace``, ``system``,
    ``weight_sparsity``, ``override.PATH``, ...); the rows of the result come in the same order.

    Points that ``out`` has already are not run again, so a rerun of a sweep that was interrupted
    goes on from there, and one of a finished sweep reads its table. ``jobs`` local processes run the points; the table
    does not depend on it. ``scheduler``: the address of a Dask scheduler, such as ``tcp://head:8786``, whose workers
    run the points in their stead.
    A point that fails gets its message in the column ``error``; a point that TPE or NSGA-II draws again
    has one row. See ``to_frame`` for the columns. Without ``details`` those of JSON text are left out of what is
    returned, so that a sweep of a million points need not be held; the files in ``out`` have all columns.

    Raises SpecError before anything is written when the spec has a fault, StoreError when ``out``
    is not this sweep's.
    """
    if scheduler is not None and jobs != 1:
        raise SpecError("jobs are local processes; with a scheduler leave them at 1", key="jobs")
    if jobs < 1:
        raise SpecError(f"{jobs} is not a number of processes; expected 1 or more", key="jobs")
    planned, folder = Planned.load(table_document(path) if is_frame(path) else str(path)), Path(out)
    with Store.open(folder, planned.spec.sweep.name, check=False) as store, _workers(jobs, scheduler) as workers:
        if (finished := finished_table(folder, planned.digest, details)) is not None:
            if progress:
                progress(planned.total, planned.total, 0)
            return finished
        store.check()
        write_text(folder / SPEC_NAME, planned.resolved_text())
        _SweepRun(planned, store, workers, progress).all()
    large = planned.total > HELD and not planned.spec.repeats
    return (_streamed if large else _held)(planned, folder, details)


def _held(planned: Planned, folder: Path, details: bool) -> pd.DataFrame:
    """Write the tables of a finished sweep, and return the whole one or that without details."""
    frame = with_front(to_frame(Reader(folder / STORE_NAME), once=planned.spec.repeats), planned.spec)
    write_csv(frame, folder)
    write_parquet(frame, folder, finished_mark(is_whole(frame), folder, planned.digest))
    return frame if details else frame.drop(columns=list(DETAILS))


def _streamed(planned: Planned, folder: Path, details: bool) -> pd.DataFrame:
    """The same for a table that is too large to be held."""
    table = StreamedTable(Reader(folder / STORE_NAME), front_needs(planned.spec))
    whole = table.keeps_types and bool((table.known["error"] == "").all())
    added = {name: values.tolist() for name, values in fronts(table.known, planned.spec).items()}
    table.write(folder, added, lambda: finished_mark(whole, folder, planned.digest))
    return whole_table(folder) if details else brief_table(folder)


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
        index = 0
        while draws := sampler.ask():
            keys = self._run(draws, index, levels[0])
            index += len(draws)
            drawn += zip(draws, keys, strict=True) if fidelity else ()
            sampler.tell([self._answer(key) for key in keys] if self.planned.spec.evolves else [])
        for level in levels[1:]:
            assert fidelity is not None
            draws = self._promising(drawn, fidelity.keep)
            drawn = list(zip(draws, self._run(draws, index, level), strict=True))
            index += len(draws)

    def _run(self, draws: Sequence[Draw], index: int, level: int | None) -> list[str]:
        """Run points from the place ``index`` on, and return their keys; processes start while these are planned."""
        self.workers.prepare(len(draws) - len(self.finished))
        keys: list[str] = []
        for records in self.workers.chunked(self._slices(draws, index, level, keys)):
            self.store.put(*records)
            for record in records:
                self._advance(1, int(record.error is not None))
        return keys

    def _slices(self, draws: Sequence[Draw], index: int, level: int | None, keys: list[str]) -> Iterator[list[Chunk]]:
        """The chunks of some points after others, once their rows are written; ``keys`` gets the keys of all points."""
        for start in range(0, len(draws), SLICE):
            points = self.planned.points(index + start, draws[start : start + SLICE], level)
            self.store.set_rows(map(_row, points), index + start)
            missing = {point.key: point for point in points if point.key not in self.finished}
            keys += [point.key for point in points]
            self.finished.update(missing)
            self._advance(len(points) - len(missing))
            yield chunks_of(list(missing.values()), self.workers.jobs)

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

    def _advance(self, count: int, failed: int = 0) -> None:
        self.done, self.failed = self.done + count, self.failed + failed
        if self.progress:
            self.progress(self.done, self.planned.total, self.failed)

    def _answer(self, key: str) -> Answer:
        return answer_of(self.store.summary(key), self.planned.spec)


def _row(point: SweepPoint | AlikePoint) -> PointRow:
    if isinstance(point, AlikePoint):
        return PointRow(point.index, point.key, [point.values[i] for i in point.family.order], point.family.form)
    return PointRow(point.index, point.key, point.columns)
