# SPDX-License-Identifier: Apache-2.0
"""Points: one resolved simulation each, and the key under which its answer is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from simsparse.config.keys import KEYS, OPTION, OVERRIDE, Scalar
from simsparse.store.schema import SCHEMA
from simsparse.sweep.code import code_sha256
from simsparse.sweep.inputs import SystemInput, TraceInput
from simsparse.trace.routing import process_digest

_OWN = tuple(key.name for key in KEYS.values() if not key.required)


@dataclass(frozen=True, slots=True)
class PointRun:
    """What one simulation needs, in values that travel to another process.

    ``trace`` and ``system`` are as they were read; ``values`` are those of the other keys by name, ``policy_options``
    and ``override`` those of the keys with a free name. ``keep_ops`` and ``keep_timeline`` say what is kept besides
    the summary; with ``keep_reads`` the summary says under ``reads`` which numbers of the system the run read, as part
    and path. ``routing_digest`` is the hash of the file that the process of the routing reads, empty where none is.
    """

    key: str
    trace: TraceInput
    system: SystemInput
    values: tuple[tuple[str, Scalar], ...]
    policy_options: tuple[tuple[str, Scalar], ...]
    override: tuple[tuple[str, str], ...]
    exclude: tuple[str, ...]
    keep_ops: bool = False
    keep_timeline: bool = False
    routing_digest: str = ""
    keep_reads: bool = False

    def value(self, name: str) -> Scalar:
        """The value of the key ``name``."""
        return dict(self.values)[name]


def identity_of(run: PointRun) -> tuple[Any, ...]:
    """All that the answer of a run depends on, of which its key is the hash."""
    return (
        SCHEMA, code_sha256(), run.trace.digest, run.system.name, run.system.digest, run.values, run.policy_options,
        run.override, run.exclude, run.routing_digest,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """A point of a sweep: its place, its columns (the axes first, then every other key), and its run."""

    index: int
    columns: Mapping[str, Scalar]
    run: PointRun

    @property
    def key(self) -> str:
        """The key of its run."""
        return self.run.key


@dataclass(frozen=True)
class Resolver:
    """Turns values by key into runs; ``exclude`` holds for all. Trace files are read once each.

    ``files`` maps the names that the spec uses to trace files, ``systems`` to systems.
    """

    exclude: tuple[str, ...]
    files: Mapping[str, str]
    systems: Mapping[str, SystemInput]
    keep_ops: bool = False
    keep_timeline: bool = False
    _traces: dict[str, TraceInput] = field(default_factory=dict)

    def run(self, values: Mapping[str, Scalar]) -> PointRun:
        """The run of a point. Raises TraceError when a trace file can't be read."""
        trace, system = self.trace(self.files[str(values["workload.trace"])]), self.systems[str(values["system"])]
        options, own = _under(OPTION, values), tuple((name, values[name]) for name in _OWN)
        override = tuple((path, str(value)) for path, value in _under(OVERRIDE, values))
        routing = process_digest(str(values["routing"]))
        timeline = self.keep_timeline and int(values["level"]) > 0
        run = PointRun("", trace, system, own, options, override, self.exclude, self.keep_ops, timeline, routing)
        return replace(run, key=hashlib.sha256(json.dumps(identity_of(run)).encode()).hexdigest())

    def trace(self, path: str) -> TraceInput:
        """The trace file ``path``, read once. Raises TraceError."""
        if path not in self._traces:
            self._traces[path] = TraceInput.read(path)
        return self._traces[path]


def _under(prefix: str, values: Mapping[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
    return tuple(sorted((key.removeprefix(prefix), value) for key, value in values.items() if key.startswith(prefix)))
