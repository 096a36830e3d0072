# SPDX-License-Identifier: Apache-2.0
"""The program of a worker process: chunks of runs in, lists of records out, over an inherited pipe."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from multiprocessing.connection import Connection

from simsparse.store.schema import Record
from simsparse.sweep.execute import run_point
from simsparse.sweep.point import PointRun

FLUSH_S = 0.05
"""Records are sent at least this often, so that little is lost when the run is killed."""


def serve(pipe: Connection) -> None:
    """Run chunks until the pipe closes."""
    while True:
        runs: list[PointRun] = pipe.recv()
        records: list[Record] = []
        sent = time.monotonic()
        for run in runs:
            records.append(run_point(run))
            if time.monotonic() - sent > FLUSH_S:
                pipe.send(records)
                records, sent = [], time.monotonic()
        if records:
            pipe.send(records)


def main() -> None:
    """Serve the pipe whose file number is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
