"""The program of a worker process: chunks of jobs in, lists of outcomes out, over an inherited pipe."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from multiprocessing.connection import Connection

from simsparse.sweep.execute import Outcome, run_job
from simsparse.sweep.point import PointRun

FLUSH_S = 0.05
"""Outcomes are sent at least this often, so that little is lost when the run is killed."""


def serve(pipe: Connection) -> None:
    """Run chunks until the pipe closes."""
    while True:
        jobs: list[PointRun] = pipe.recv()
        outcomes: list[Outcome] = []
        sent = time.monotonic()
        for job in jobs:
            outcomes.append(run_job(job))
            if time.monotonic() - sent > FLUSH_S:
                pipe.send(outcomes)
                outcomes, sent = [], time.monotonic()
        if outcomes:
            pipe.send(outcomes)


def main() -> None:
    """Serve the pipe whose file number is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
