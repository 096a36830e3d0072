# SPDX-License-Identifier: Apache-2.0
"""The program of a worker process: chunks of runs in, lists of records out, over an inherited pipe."""

from __future__ import annotations

import contextlib
import signal
from multiprocessing.connection import Connection

from simsparse.sweep.chunks import records_of
from simsparse.sweep.code import code_sha256
from simsparse.sweep.inputs import Input, unpacked_runs


def serve(pipe: Connection) -> None:
    """Name the code that runs here, then run chunks until the pipe closes.

    A message is a dict of inputs by name, which later messages refer to, and the bytes of a chunk of runs.
    """
    pipe.send(code_sha256())
    inputs: dict[str, Input] = {}
    while True:
        added, data = pipe.recv()
        inputs.update(added)
        for records in records_of(unpacked_runs(data, inputs)):
            pipe.send(records)


def main(file_number: int) -> None:
    """Serve the pipe that the parent opened under ``file_number``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        serve(Connection(file_number))
