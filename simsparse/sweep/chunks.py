# SPDX-License-Identifier: Apache-2.0
"""Chunks: runs that one process does after another, or together where they differ in overrides alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simsparse.store.schema import Record
from simsparse.sweep.alike import Alike, AlikePoint, AlikeSet
from simsparse.sweep.execute import one_by_one
from simsparse.sweep.point import PointRun, SweepPoint
from simsparse.sweep.together import run_alike

Chunk = Sequence[PointRun]
SINGLE, TOGETHER = 64, 4096
"""Runs of a chunk at most: of those that are done one after another, and of those that are done together."""
SHARE = 4
"""Chunks per process at least, so that all processes end at about the same time; of runs done together, one."""


def chunks_of(points: Sequence[SweepPoint | AlikePoint], jobs: int) -> list[Chunk]:
    """The runs of ``points`` for ``jobs`` processes."""
    families: dict[AlikeSet | None, list[AlikePoint]] = {}
    single: list[PointRun] = []
    for point in points:
        if isinstance(point, AlikePoint):
            families.setdefault(point.family, []).append(point)
        else:
            single.append(point.run)
    found: list[Chunk] = cut(single, SINGLE, SHARE * jobs)
    for family, own in families.items():
        assert family is not None
        runs = Alike(family.point.run, family.paths, [each.key for each in own], [each.texts for each in own])
        found += cut(runs, TOGETHER, jobs)
    return found


def cut(runs: Chunk, most: int, pieces: int) -> list[Chunk]:
    """``runs`` in chunks of at most ``most``, ``pieces`` of them where there are enough runs."""
    size = max(1, min(most, len(runs) // max(1, pieces)))
    return [runs[i : i + size] for i in range(0, len(runs), size)]


def records_of(chunk: Chunk) -> Iterator[list[Record]]:
    """The records of a chunk, those together that came together; of single runs in their order."""
    return run_alike(chunk) if isinstance(chunk, Alike) else one_by_one(chunk)
