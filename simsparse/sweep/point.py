# SPDX-License-Identifier: Apache-2.0
"""Points: one resolved simulation each, and the key under which its answer is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from simsparse.config.hardware import load_system
from simsparse.config.keys import KEYS, OPTION, OVERRIDE, Scalar
from simsparse.errors import TraceError
from simsparse.store.schema import SCHEMA

_OWN = tuple(key.name for key in KEYS.values() if not key.required)
_NOT_COMPUTING = ("cli/", "report/", "validate/", "probe/")


@dataclass(frozen=True, slots=True)
class PointRun:
    """What one simulation needs, in plain values that travel to another process.

    ``trace`` is a file, ``system`` a name or file; ``values`` are those of the other keys by name, ``policy_options``
    and ``override`` those of the keys with a free name. ``keep_ops`` and ``keep_timeline`` say what is kept besides
    the summary.
    """

    key: str
    trace: str
    system: str
    values: tuple[tuple[str, Scalar], ...]
    policy_options: tuple[tuple[str, Scalar], ...]
    override: tuple[tuple[str, str], ...]
    exclude: tuple[str, ...]
    keep_ops: bool = False
    keep_timeline: bool = False

    def value(self, name: str) -> Scalar:
        """The value of the key ``name``."""
        return dict(self.values)[name]


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """A point of a sweep: its place, its columns (the axes first, then every other key), and its run."""

    index: int
    columns: Mapping[str, Scalar]
    run: PointRun


@dataclass(frozen=True)
class Resolver:
    """Turns values by key into runs; ``exclude`` holds for all. Files are hashed once each.

    ``files`` and ``systems`` map the names that the spec uses to files and loadable names.
    """

    exclude: tuple[str, ...]
    files: Mapping[str, str]
    systems: Mapping[str, str]
    keep_ops: bool = False
    keep_timeline: bool = False
    _fingerprints: dict[str, str] = field(default_factory=dict)

    def run(self, values: Mapping[str, Scalar]) -> PointRun:
        """The run of a point. Raises TraceError or SpecError when a file is gone."""
        trace, system = self.files[str(values["workload.trace"])], self.systems[str(values["system"])]
        options, own = _under(OPTION, values), tuple((name, values[name]) for name in _OWN)
        override = tuple((path, str(value)) for path, value in _under(OVERRIDE, values))
        identity = (
            SCHEMA, code_sha256(), self._hash("trace", trace), self._hash("system", system), own, options, override,
            self.exclude,
        )  # fmt: skip
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        timeline = self.keep_timeline and int(values["level"]) > 0
        return PointRun(key, trace, system, own, options, override, self.exclude, self.keep_ops, timeline)

    def _hash(self, kind: str, name: str) -> str:
        if name not in self._fingerprints:
            self._fingerprints[name] = file_sha256(name) if kind == "trace" else load_system(name).fingerprint
        return self._fingerprints[name]


def _under(prefix: str, values: Mapping[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
    return tuple(sorted((key.removeprefix(prefix), value) for key, value in values.items() if key.startswith(prefix)))


def file_sha256(path: str) -> str:
    """Hash of a file's content. Raises TraceError when it can't be read."""
    try:
        return _file_sha256(path, Path(path).stat().st_mtime_ns)
    except OSError as error:
        raise TraceError(f"can't be read: {error.strerror}", file=path) from error


@lru_cache(maxsize=256)
def _file_sha256(path: str, mtime_ns: int) -> str:
    del mtime_ns
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@cache
def code_sha256() -> str:
    """Hash of the package's sources that an answer can depend on, so that none outlives a change of a model."""
    package = Path(__file__).resolve().parent.parent
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if not name.startswith(_NOT_COMPUTING):
            total.update(f"{name}\0".encode() + path.read_bytes())
    return total.hexdigest()
