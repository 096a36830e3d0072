# SPDX-License-Identifier: Apache-2.0
"""The program of a worker process: chunks of runs in, lists of records out, over an inherited pipe."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from simsparse.store.schema import Record
from simsparse.sweep.code import code_sha256
from simsparse.sweep.execute import run_point
from simsparse.sweep.inputs import Input, unpacked_runs
from simsparse.sweep.point import PointRun

FLUSH_S = 0.05
"""Records are sent at least this often, so that little is lost when the run is killed."""


def serve(pipe: Connection) -> None:
    """Name the code that runs here, then run chunks until the pipe closes.

    A message is a dict of inputs by name, which later messages refer to, and the bytes of a chunk of runs.
    """
    pipe.send(code_sha256())
    inputs: dict[str, Input] = {}
    while True:
        added, data = pipe.recv()
        inputs.update(added)
        _run(unpacked_runs(data, inputs), pipe)


def _run(runs: Sequence[PointRun], pipe: Connection) -> None:
    records: list[Record] = []
    sent = time.monotonic()
    for run in runs:
        records.append(run_point(run))
        if time.monotonic() - sent > FLUSH_S:
            pipe.send(records)
            records, sent = [], time.monotonic()
    if records:
        pipe.send(records)


def main(file_number: int) -> None:
    """Serve the pipe that the parent opened under ``file_number``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        serve(Connection(file_number))
