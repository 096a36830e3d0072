# SPDX-License-Identifier: Apache-2.0
"""Local processes that run points: records stream back as they come, whatever order they end in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from multiprocessing.connection import Connection, wait
from types import TracebackType

from simsparse.store.schema import Record
from simsparse.sweep.chunks import SHARE, SINGLE, Chunk, cut, records_of
from simsparse.sweep.execute import run_point
from simsparse.sweep.point import PointRun
from simsparse.sweep.process import Died, Worker, status_text


@dataclass
class Workers:
    """``count`` processes, started on first use; with one, the work is done in this process.

    A worker is a fresh interpreter that imports nothing of the caller's main module. It ends when
    its pipe closes, so none outlives a killed parent.
    """

    count: int
    _workers: list[Worker] = field(default_factory=list)
    _fresh: list[Worker] = field(default_factory=list)

    def run(self, runs: Sequence[PointRun]) -> Iterator[Record]:
        """Records of ``runs`` in the order in which they end; see ``batches``."""
        return chain.from_iterable(self.batches(runs))

    def prepare(self, runs: int) -> None:
        """Start the processes that so many runs will need, without waiting for them. Raises SimulationError."""
        more = min(self.count, runs) - len(self._workers) - len(self._fresh)
        if self.count > 1 and runs > 1:
            self._fresh += [Worker.start() for _ in range(more)]

    @property
    def jobs(self) -> int:
        """Processes that share the work."""
        return self.count

    def batches(self, runs: Sequence[PointRun]) -> Iterator[Sequence[Record]]:
        """Records of ``runs`` in the order in which they end, those together that came together; see ``chunked``."""
        if self.count <= 1 or len(runs) <= 1:
            yield from ([run_point(run)] for run in runs)
            return
        yield from self.chunked(iter([cut(runs, SINGLE, SHARE * min(self.count, len(runs)))]))

    def chunked(self, slices: Iterator[list[Chunk]]) -> Iterator[Sequence[Record]]:
        """Records of the runs in the chunks of ``slices``, the next of which is asked for while those before run.

        A run whose process is killed, such as by a system that is out of memory, is run again alone, and has failed
        when that process is killed too. Raises SimulationError when a process can't be started.
        """
        waiting, again, more = deque[Chunk](), set[str](), True
        while True:
            for worker in self._workers:
                if waiting and not worker.outstanding:
                    worker.feed(waiting.popleft())
            busy = {worker.pipe: worker for worker in self._workers if worker.outstanding}
            if more and len(waiting) <= len(busy):
                added = next(slices, None)
                more = added is not None
                waiting.extend(added or ())
                if waiting and not self._start_for(sum(map(len, waiting))):
                    yield from chain.from_iterable(map(records_of, waiting))
                    waiting.clear()
            elif busy:
                for pipe in wait(list(busy)):
                    assert isinstance(pipe, Connection)
                    yield self._received(busy[pipe], waiting, again)
            elif not waiting:
                return

    def _start_for(self, runs: int) -> bool:
        """Start what processes so many runs need beside those that there are; whether runs go to processes at all."""
        if self.count <= 1 or (runs <= 1 and not self._workers):
            return False
        if (count := min(self.count, runs)) > len(self._workers):
            self._start(count)
        return True

    def _start(self, count: int) -> None:
        self.prepare(count)
        fresh, self._fresh = self._fresh, []
        self._workers += fresh
        for worker in fresh:
            worker.greet()

    def _received(self, worker: Worker, waiting: deque[Chunk], again: set[str]) -> list[Record]:
        """The next records of a worker; one that died is replaced, and what it had is run again or has failed."""
        try:
            return worker.receive()
        except Died as died:
            self._workers.remove(worker)
            worker.end()
            self._start(len(self._workers) + 1)
            failed = [_failed(run, died.status) for run in died.lost if run.key in again]
            waiting.extendleft([run] for run in reversed(died.lost) if run.key not in again)
            again.update(run.key for run in died.lost)
            return failed

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        started = [*self._workers, *self._fresh]
        for worker in started:
            worker.end()
        for worker in started:
            worker.process.wait()


def _failed(run: PointRun, status: int) -> Record:
    return Record(
        run.key, None,
        f"its process ended with {status_text(status)}; where memory is short, the system ends the largest process: "
        "run fewer jobs, or points that keep less",
    )  # fmt: skip
