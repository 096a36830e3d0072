# SPDX-License-Identifier: Apache-2.0
"""Local processes that run points: records stream back as they come, whatever order they end in."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import TracebackType

from simsparse.errors import SimulationError
from simsparse.store.schema import Record
from simsparse.sweep.execute import run_point
from simsparse.sweep.point import PointRun

MAX_CHUNK = 64


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection
    outstanding: int = 0


@dataclass
class Workers:
    """``count`` processes, started on first use; with one, the work is done in this process.

    A worker is a fresh interpreter that imports nothing of the caller's main module. It ends when
    its pipe closes, so none outlives a killed parent.
    """

    count: int
    _workers: list[_Worker] = field(default_factory=list)

    def run(self, runs: Sequence[PointRun]) -> Iterator[Record]:
        """Records of ``runs`` in the order in which they end. Raises SimulationError when a process dies."""
        if self.count <= 1 or len(runs) <= 1:
            yield from map(run_point, runs)
            return
        while len(self._workers) < min(self.count, len(runs)):
            self._workers.append(_start())
        size = max(1, min(MAX_CHUNK, len(runs) // (4 * len(self._workers))))
        chunks = [list(runs[i : i + size]) for i in range(0, len(runs), size)][::-1]
        for worker in self._workers:
            _feed(worker, chunks)
        while busy := {worker.pipe: worker for worker in self._workers if worker.outstanding}:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                records = _receive(busy[pipe])
                _feed(busy[pipe], chunks)
                yield from records

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.wait()


def _start() -> _Worker:
    ours, theirs = Pipe()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "simsparse.sweep.worker", str(theirs.fileno())]
    process = subprocess.Popen(
        command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, env=environment, process_group=0
    )
    theirs.close()
    return _Worker(process, ours)


def _feed(worker: _Worker, chunks: list[list[PointRun]]) -> None:
    """Send the next chunk to an idle worker."""
    if worker.outstanding or not chunks:
        return
    chunk = chunks.pop()
    with contextlib.suppress(OSError):
        worker.pipe.send(chunk)
    worker.outstanding = len(chunk)


def _receive(worker: _Worker) -> list[Record]:
    try:
        records: list[Record] = worker.pipe.recv()
    except (EOFError, OSError):
        status = worker.process.wait()
        raise SimulationError(
            f"a worker process ended with status {status}; the points so far are stored, "
            "the same command goes on from there"
        ) from None
    worker.outstanding -= len(records)
    return records
