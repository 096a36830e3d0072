# SPDX-License-Identifier: Apache-2.0
"""Running one point: load, prune, simulate, keep what the store wants."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from simsparse.config.hardware import System
from simsparse.config.keys import KEYS, Scalar
from simsparse.config.quantity import Quantity
from simsparse.config.watch import SystemReads
from simsparse.core import Keep, OpResult, Result, Span, Trace
from simsparse.errors import SimsparseError, TraceError
from simsparse.store.columns import packed
from simsparse.store.schema import Record
from simsparse.sweep.inputs import SystemInput, TraceInput
from simsparse.sweep.point import PointRun
from simsparse.trace.file import trace_in
from simsparse.trace.routing import process_digest

FLUSH_S = 0.05
"""Records of runs that are done one after another are given at least this often, so that a kill loses little."""
KeyValues = tuple[tuple[str, Scalar], ...]
_ON_TRACE = {key.name: key for key in KEYS.values() if key.on_trace}
_ARGUMENTS = frozenset(key.name for key in KEYS.values() if key.argument)


@lru_cache(maxsize=16)
def _trace(file: TraceInput) -> Trace:
    return trace_in(file.content, file.path)


@lru_cache(maxsize=32)
def _changed(file: TraceInput, changes: KeyValues, exclude: tuple[str, ...]) -> Trace:
    trace = _trace(file)
    for name, value in changes:
        change = _ON_TRACE[name].on_trace
        trace = change(trace, value, exclude) if change else trace
    return trace


def trace_of(run: PointRun) -> Trace:
    """The trace of a run, as its keys change it. Raises SimsparseError."""
    changes = tuple((name, value) for name, value in run.values if _differs(name, value))
    return _changed(run.trace, changes, run.exclude)


def _differs(name: str, value: Scalar) -> bool:
    return name in _ON_TRACE and value != _ON_TRACE[name].default


def system_of(run: PointRun) -> System:
    """The system of a run with its overrides. Raises SpecError."""
    return _overridden(run.system, run.override)


@lru_cache(maxsize=64)
def _overridden(loaded: SystemInput, override: tuple[tuple[str, str], ...]) -> System:
    return loaded.system.with_overrides(dict(override))


def simulate_point(run: PointRun, keep: Keep = Keep.TIMELINE, system: System | None = None) -> Result:
    """The Result of a run with what is to be kept of it, on ``system`` in place of its own. Raises SimsparseError."""
    from simsparse._simulate import simulate

    arguments: dict[str, Any] = {name: value for name, value in run.values if name in _ARGUMENTS}
    if run.policy_options:
        from simsparse.policies import policy_of

        arguments["policy"] = policy_of(arguments["policy"], dict(run.policy_options))
    if process_digest(routing := str(run.value("routing"))) != run.routing_digest:
        raise TraceError("the file of the routing changed while the sweep ran; run it again", key=routing)
    return simulate(trace_of(run), system or system_of(run), keep=keep, **arguments)


def run_point(run: PointRun) -> Record:
    """The record of a run; an error is part of it, so that one bad point does not end a sweep."""
    keep = Keep.TIMELINE if run.keep_timeline else Keep.ROWS if run.keep_ops else Keep.SUMMARY
    try:
        reads = SystemReads(system_of(run)) if run.keep_reads else None
        result = simulate_point(run, keep, reads.system if reads else None)
        read = {"reads": sorted(reads.seen)} if reads else {}
        return Record(
            run.key, _json(result.summary() | read, run),
            ops=packed(OpResult, result.ops) if run.keep_ops else None,
            timeline=packed(Span, result.timeline.spans) if run.keep_timeline else None,
        )  # fmt: skip
    except SimsparseError as error:
        return Record(run.key, None, str(error))
    except Exception as error:
        return Record(run.key, None, f"internal error: {type(error).__name__}: {error}")


def one_by_one(runs: Iterable[PointRun]) -> Iterator[list[Record]]:
    """The records of ``runs`` in their order, those together that came within FLUSH_S."""
    records: list[Record] = []
    given = time.monotonic()
    for run in runs:
        records.append(run_point(run))
        if time.monotonic() - given > FLUSH_S:
            yield records
            records, given = [], time.monotonic()
    if records:
        yield records


def _json(summary: dict[str, Any], run: PointRun) -> str:
    return json.dumps(summary | {"override_si": _override_si(run)}, allow_nan=False)


def _override_si(run: PointRun) -> dict[str, float]:
    """The numbers behind the overridden texts, in SI units, by path; words and lists of words have none."""
    numbers = ((path, number_at(system_of(run), path)) for path, _ in run.override)
    return {path: number.si for path, number in numbers if number is not None}


def number_at(system: System, path: str) -> Quantity | None:
    """The number at the path of an override; None where a word, a list of words or nothing stands there."""
    owner, *keys = path.split(".")
    node: Any = system.parts()[owner]
    for key in keys:
        node = node[key] if isinstance(node, Mapping) else getattr(node, key)
    return node if isinstance(node, Quantity) else None
