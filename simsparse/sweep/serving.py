# SPDX-License-Identifier: Apache-2.0
"""Sweeps of serving: a run of requests per point, in this process, in local ones, or on a Dask cluster.

Each run is stored when it ends. A sweep that was interrupted, or whose workers were killed, goes on from there with the
same call. Runs are known by all that their answer depends on: the experiment, the machine, the engine, files of
requests and of traces, and the sources of the package. A file that an experiment names must be on every worker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from simsparse._serve import serve_spec
from simsparse.config.hardware import system_of
from simsparse.config.serving import ServeSpec, load_serving, serving_points
from simsparse.config.validated import validate_document
from simsparse.config.yaml import Document
from simsparse.errors import SimsparseError, SimulationError, SpecError
from simsparse.paths import find_file
from simsparse.serving.engine import Engine
from simsparse.serving.summary import summary
from simsparse.store.served import ServedStore
from simsparse.store.table import to_csv
from simsparse.sweep.cluster import client_of
from simsparse.sweep.code import code_sha256

if TYPE_CHECKING:
    import pandas as pd

POINTS_NAME = "points.csv"
_ONE = Lock()
"""Held by the thread of a worker that serves: what runs of a process remember is not made for several threads."""
ServedPoint = tuple[str, dict[str, Any] | None, str | None]
"""Key of a run, what it came to, and why it failed."""


@dataclass(frozen=True)
class ServingRun:
    """A point: its values by axis, the experiment as data, the file that it comes from, and its key."""

    values: Mapping[str, Any]
    data: Mapping[str, Any]
    file: str
    key: str


def run_serving_sweep(
    path: str | Path, out: str | Path, jobs: int = 1, scheduler: str | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Serve the experiment in the YAML file ``path`` at all points of its ``axes``; a row per point.

    ``out`` gets served.sqlite and points.csv; points that are in it already are not run again. ``jobs``: local
    processes; ``scheduler``: the address of a Dask scheduler in their stead. ``progress`` is called with points done,
    all points, and failed ones. A point that fails has its message in the column ``error``.

    Raises SpecError when an axis is wrong, before anything runs; SimulationError when workers die; StoreError.
    """
    if scheduler is not None and jobs != 1:
        raise SpecError("jobs are local processes; with a scheduler leave them at 1", key="jobs")
    runs, folder = _runs(str(path)), Path(out)
    with ServedStore(folder) as store:
        done = store.runs()
        missing = list({run.key: run for run in runs if run.key not in done}.values())
        finished = sum(run.key in done for run in runs)
        failed = 0
        for key, found, error in _outcomes(missing, jobs, scheduler):
            store.put(key, found, error)
            finished, failed = finished + 1, failed + (error is not None)
            if progress is not None:
                progress(finished, len(runs), failed)
        frame = _frame(runs, store.runs())
    to_csv(frame, folder / POINTS_NAME)
    return frame


def _runs(path: str) -> list[ServingRun]:
    spec, document = load_serving(path)
    if not spec.axes:
        raise document.error((), "has no axes to sweep")
    points = serving_points(spec, document)
    return [ServingRun(point.values, point.data, document.file, _key(point.data, document)) for point in points]


def _key(data: Mapping[str, Any], document: Document) -> str:
    """Hash of what the answer depends on. Raises SpecError where a name is not known."""
    spec: ServeSpec = validate_document(document, ServeSpec, data)
    total = hashlib.sha256(code_sha256().encode())
    total.update(json.dumps(spec.model_dump(exclude={"name", "description"}), sort_keys=True, default=str).encode())
    total.update(system_of(spec.system).with_overrides(spec.override).fingerprint.encode())
    total.update(repr(Engine.named(spec.engine)).encode())
    named = [spec.requests.file, spec.model if spec.model.endswith(".trace") else None]
    for name in filter(None, named):
        total.update(find_file(name, Path(document.file).parent).read_bytes())
    return total.hexdigest()


def serve_point(run: ServingRun) -> ServedPoint:
    """One point, wherever it runs."""
    document = Document(run.file, dict(run.data), {})
    try:
        spec: ServeSpec = validate_document(document, ServeSpec, run.data)
        return run.key, summary(serve_spec(spec, document), spec), None
    except SimsparseError as error:
        return run.key, None, str(error)


def _outcomes(runs: Sequence[ServingRun], jobs: int, scheduler: str | None) -> Iterator[ServedPoint]:
    if scheduler is not None:
        return _on_cluster(runs, scheduler)
    return _in_processes(runs, jobs) if jobs > 1 and len(runs) > 1 else map(serve_point, runs)


def _in_processes(runs: Sequence[ServingRun], jobs: int) -> Iterator[ServedPoint]:
    with ProcessPoolExecutor(min(jobs, len(runs)), get_context("spawn")) as pool:
        try:
            for future in as_completed([pool.submit(serve_point, run) for run in runs]):
                yield future.result()
        except BrokenProcessPool:
            raise SimulationError("a process that served was killed; run the sweep again to go on") from None


def _on_cluster(runs: Sequence[ServingRun], address: str) -> Iterator[ServedPoint]:
    """Runs of a cluster, which gives those of workers that die to others."""
    from distributed import as_completed as completed

    client = client_of(address)
    try:
        own = {f"served-{run.key}": run for run in runs}
        futures = [client.submit(_checked_point, code_sha256(), run, key=name) for name, run in own.items()]
        for future in completed(futures, loop=client.loop, raise_errors=False):
            if future.status == "finished":
                yield future.result()
            else:
                yield own[future.key].key, None, f"the workers that ran it failed: {future.exception()}"
    finally:
        client.close(timeout=1)


def _checked_point(code: str, run: ServingRun) -> ServedPoint:
    if code != code_sha256():
        raise SimulationError("a worker of the cluster has other sources of the package; install the same version")
    with _ONE:
        return serve_point(run)


def _frame(runs: Sequence[ServingRun], found: Mapping[str, tuple[dict[str, Any] | None, str | None]]) -> pd.DataFrame:
    import pandas as pd

    said = pd.json_normalize([found[run.key][0] or {} for run in runs])
    lists = [name for name in said.columns if name in ("assumed", "notes")]
    values = pd.DataFrame([
        {f"axis.{name}": value if isinstance(value, int | float | str) else json.dumps(value)
         for name, value in run.values.items()} for run in runs
    ])  # fmt: skip
    errors = pd.Series([found[run.key][1] or "" for run in runs], name="error")
    return pd.concat([values, said.drop(columns=lists), errors], axis=1)
