# SPDX-License-Identifier: Apache-2.0
"""Runs of a sweep on a Dask cluster: chunks out, records back, each run's record once.

Every worker of the cluster needs this version of simsparse. The store stays with the process that started the sweep:
what has come back is stored, whatever happens to the cluster, and the same command goes on from there.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import Any

from simsparse.errors import SimulationError, SpecError
from simsparse.store.schema import Record
from simsparse.sweep.chunks import SINGLE, Chunk, cut, records_of
from simsparse.sweep.code import code_sha256
from simsparse.sweep.inputs import packed_runs, unpacked_runs
from simsparse.sweep.point import PointRun

AHEAD = 3
"""Chunks per thread of the cluster that are under way at once."""
CONNECT_S = 30
"""Seconds that a scheduler may take to answer, after a restart too."""
RECONNECTS = 3
"""Times in a row that a scheduler may go without a record between."""


@dataclass
class ClusterWorkers:
    """The workers of the Dask scheduler at ``address``; used as Workers is.

    A run whose worker is killed again and again runs alone, and has failed when that kills workers too. A scheduler
    that goes away is waited for, and what it had is sent again. Raises SpecError without Dask, SimulationError when no
    scheduler answers, and when a worker has other sources of the package.
    """

    address: str
    _client: Any = field(default=None, repr=False)

    def prepare(self, runs: int) -> None:
        """Nothing: the cluster's processes run already."""

    def run(self, runs: Sequence[PointRun]) -> Iterator[Record]:
        """Records of ``runs`` in the order in which they end."""
        return chain.from_iterable(self.batches(runs))

    @property
    def jobs(self) -> int:
        """Processes that share the work, as chunks are cut for them."""
        threads: int = sum(self._connected().nthreads().values())
        return max(1, threads)

    def batches(self, runs: Sequence[PointRun]) -> Iterator[Sequence[Record]]:
        """Records of ``runs`` in the order in which they end, those together that came together."""
        return self.chunked(iter([cut(runs, SINGLE, 1)]))

    def chunked(self, slices: Iterator[list[Chunk]]) -> Iterator[Sequence[Record]]:
        """Records of the runs in the chunks of ``slices``, each of which ends before the next one is asked for."""
        for chunks in slices:
            yield from self._all(chunks[::-1])

    def _all(self, waiting: list[Chunk]) -> Iterator[Sequence[Record]]:
        lost = 0
        while waiting:
            under_way: dict[str, Chunk] = {}
            for records in self._pass(waiting, under_way):
                lost = 0
                yield records
            waiting += under_way.values()
            if under_way:
                lost += 1
                self._leave()
                if lost > RECONNECTS:
                    raise SimulationError(f"the scheduler at {self.address} went away; run the sweep again to go on")

    def _pass(self, waiting: list[Chunk], under_way: dict[str, Chunk]) -> Iterator[Sequence[Record]]:
        """Send chunks and take records until none is left, or the scheduler is gone with some ``under_way``."""
        from distributed import as_completed

        client = self._connected()
        threads = sum(client.nthreads().values()) or 1
        coming = as_completed(raise_errors=False, loop=client.loop)
        self._send(waiting, under_way, coming, AHEAD * threads)
        while under_way:
            try:
                future = next(coming)
            except StopIteration:
                return
            if future.key not in under_way:
                continue
            if future.status not in ("finished", "error"):
                return
            chunk = under_way.pop(future.key)
            yield (
                _records(future.result())
                if future.status == "finished"
                else _killed(chunk, future.exception(), waiting)
            )
            future.release()
            self._send(waiting, under_way, coming, AHEAD * threads)

    def _send(self, waiting: list[Chunk], under_way: dict[str, Chunk], coming: Any, most: int) -> None:
        while waiting and len(under_way) < most:
            chunk = waiting.pop()
            data = pickle.dumps(packed_runs(chunk))
            key = f"simsparse-{hashlib.sha256(data).hexdigest()[:24]}"
            under_way[key] = chunk
            coming.add(self._client.submit(run_chunk, data, key=key))

    def _connected(self) -> Any:
        if self._client is None:
            self._client = client_of(self.address)
        return self._client

    def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close(timeout=1)

    def __enter__(self) -> ClusterWorkers:
        self._connected()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()


def client_of(address: str) -> Any:
    """A client of the Dask scheduler at ``address``. Raises SpecError without Dask, SimulationError without answer."""
    try:
        from distributed import Client
    except ImportError:
        raise SpecError("--scheduler needs Dask; install simsparse[cluster]", key="--scheduler") from None
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SimulationError(f"no scheduler answers at {address}: {error}") from error


def run_chunk(data: bytes) -> tuple[str, list[Record]]:
    """On a worker: the hash of its sources, and the records of the runs in ``data``, in their order."""
    packed, inputs = pickle.loads(data)
    return code_sha256(), list(chain.from_iterable(records_of(unpacked_runs(packed, inputs))))


def _records(found: tuple[str, list[Record]]) -> list[Record]:
    code, records = found
    if code != code_sha256():
        raise SimulationError(
            "a worker of the cluster has other sources of the package; install the same version there"
        )
    return records


def _killed(chunk: Chunk, error: BaseException | None, waiting: list[Chunk]) -> list[Record]:
    """A chunk that killed its workers: its runs are sent again alone; one that was alone has failed."""
    from distributed import KilledWorker

    if not isinstance(error, KilledWorker):
        raise SimulationError(f"a worker of the cluster failed: {type(error).__name__}: {error}") from error
    if len(chunk) > 1:
        waiting += [[run] for run in reversed(chunk)]
        return []
    return [Record(chunk[0].key, None, "the workers that ran it were killed; memory may be short")]
