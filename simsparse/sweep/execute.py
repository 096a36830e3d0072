"""Running one point: load, prune, simulate, keep what the store wants."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from simsparse.config.hardware import System, load_system
from simsparse.config.quantity import Quantity
from simsparse.core import Result, Trace
from simsparse.core.result import OpResult
from simsparse.core.timeline import Span
from simsparse.errors import SimsparseError
from simsparse.sweep.point import PointRun
from simsparse.trace.file import load_trace


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a point came to: a result's summary as JSON, or the error that ended it.

    ``ops`` and ``timeline`` are zlib-compressed JSON, columns by name; None when not kept.
    """

    key: str
    result: str | None
    error: str | None = None
    ops: bytes | None = None
    timeline: bytes | None = None


@lru_cache(maxsize=16)
def _trace(path: str) -> Trace:
    return load_trace(path)


@lru_cache(maxsize=32)
def _pruned(path: str, sparsity: str, exclude: tuple[str, ...]) -> Trace:
    trace = _trace(path)
    return trace if sparsity == "dense" else trace.with_weight_sparsity(sparsity, exclude)


@lru_cache(maxsize=64)
def _base_system(name: str) -> System:
    return load_system(name)


@lru_cache(maxsize=64)
def _system(name: str, override: tuple[tuple[str, str], ...]) -> System:
    return _base_system(name).with_overrides(dict(override))


@lru_cache(maxsize=64)
def _assumed(name: str, overridden: tuple[str, ...]) -> tuple[str, ...]:
    """The assumed values of a system that are not among those overridden."""
    starts = tuple(f"{path} = " for path in overridden)
    return tuple(line for line in _base_system(name).assumed if not line.startswith(starts))


def simulate_job(job: PointRun) -> Result:
    """The Result of a job. Raises SimsparseError."""
    from simsparse._simulate import simulate

    trace = _pruned(job.trace, job.weight_sparsity, job.exclude)
    policy: Any = job.policy
    if job.policy_options:
        from simsparse.policies import POLICIES

        policy = POLICIES.get(job.policy)(**dict(job.policy_options))
    return simulate(trace, _system(job.system, job.override), policy=policy, seed=job.seed, level=job.level)


def run_job(job: PointRun) -> Outcome:
    """The outcome of a job; an error is part of it, so that one bad point does not end a sweep."""
    try:
        summary = _queue_summary(job)
        if summary is not None:
            return Outcome(job.key, _json(summary, job))
        result = simulate_job(job)
        return Outcome(
            job.key, _json(result.summary(), job),
            ops=_columns(OpResult, result.ops) if job.keep_ops else None,
            timeline=_columns(Span, result.timeline.spans) if job.keep_timeline else None,
        )  # fmt: skip
    except SimsparseError as error:
        return Outcome(job.key, None, str(error))
    except Exception as error:
        return Outcome(job.key, None, f"internal error: {type(error).__name__}: {error}")


def _queue_summary(job: PointRun) -> dict[str, Any] | None:
    """The summary by the short way, None where a job needs the whole simulation."""
    from simsparse.sweep.closed_form import POLICY, queue_summary

    if job.keep_ops or job.keep_timeline or job.level or job.policy != POLICY or job.policy_options:
        return None
    trace = _pruned(job.trace, job.weight_sparsity, job.exclude)
    assumed = _assumed(job.system, tuple(path for path, _ in job.override))
    return queue_summary(trace, _system(job.system, job.override), job.seed, assumed)


def _json(summary: dict[str, Any], job: PointRun) -> str:
    return json.dumps(summary | {"override_si": _override_si(job)}, allow_nan=False)


def _override_si(job: PointRun) -> dict[str, float]:
    """The numbers behind the overridden texts, in SI units, by path; words and lists of words have none."""
    parts = _system(job.system, job.override).parts() if job.override else {}
    found = {}
    for path, _ in job.override:
        owner, *keys = path.split(".")
        node: Any = parts[owner]
        for key in keys:
            node = node[key] if isinstance(node, Mapping) else getattr(node, key)
        if isinstance(node, Quantity):
            found[path] = node.si
    return found


def _columns(kind: type[OpResult] | type[Span], rows: Iterable[OpResult | Span]) -> bytes:
    columns = list(zip(*rows, strict=True)) or [()] * len(kind._fields)
    return zlib.compress(json.dumps(dict(zip(kind._fields, columns, strict=True))).encode(), level=1)
