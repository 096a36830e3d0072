# SPDX-License-Identifier: Apache-2.0
"""Results of runs by key, kept in a store where there is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simsparse.config.study import ClaimMetric
from simsparse.lowering.footprint import WEIGHTS
from simsparse.store.schema import Record
from simsparse.store.writer import Store
from simsparse.sweep.answers import numbers_of

READS = "reads"
"""Key of a result under which the numbers stand that its run read, as part and path."""
STORE_FOLDER = ".runs"
"""Folder under ``out`` that keeps what has run, so that a rerun does only what is missing."""


def _needed(result: dict[str, Any]) -> dict[str, Any]:
    """Of a simulation's summary the metrics alone; of anything else all."""
    if ClaimMetric.LATENCY not in result:
        return result
    known = {**numbers_of(result), ClaimMetric.WEIGHTS: _weight_bytes(result), ClaimMetric.HIT_RATE: _hit_rate(result)}
    return {metric: known[metric] for metric in ClaimMetric} | {key: result[key] for key in (READS,) if key in result}


def _weight_bytes(summary: dict[str, Any]) -> int:
    return sum(own.get(WEIGHTS, 0) for own in summary["memory"].values())


def _hit_rate(summary: dict[str, Any]) -> float:
    """Hits among reads of weights that rest elsewhere; 1 where none does."""
    uses = summary.get("cache", {}).values()
    hits, misses = (sum(use[key] for use in uses) for key in ("hits", "misses"))
    return float(hits / (hits + misses)) if hits + misses else 1.0


class Answers:
    """Results by key: those of this run, and those that a store has from before."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._results: dict[str, Any] = {}
        self._errors: dict[str, str] = {}
        self._stored = store.finished() if store is not None else set()

    def put(self, record: Record) -> None:
        """Keep a record, in the store too when it is a result."""
        if record.result is None:
            self._errors[record.key] = record.error or "no result"
            return
        result = self._results[record.key] = _needed(json.loads(record.result))
        if self._store is not None:
            self._store.put(Record(record.key, json.dumps(result)))

    def has(self, key: str) -> bool:
        """Whether ``key`` has a result."""
        return key in self._results or key in self._stored

    def result(self, key: str) -> Any:
        """The result under ``key`` as plain data, None when its run failed."""
        if key not in self._results and key in self._stored and self._store is not None:
            self._results[key] = self._store.summary(key)
        return self._results.get(key)

    def error(self, key: str) -> str:
        """Why the run under ``key`` has no result, empty when it has one."""
        return self._errors.get(key, "")


@contextmanager
def answers_in(out: Path | None) -> Iterator[Answers]:
    """Answers kept under the folder ``out``, or only in memory. Raises StoreError when it can't be used."""
    if out is None:
        yield Answers()
        return
    with Store.open(out / STORE_FOLDER, "studies") as store:
        yield Answers(store)
