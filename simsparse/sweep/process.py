# SPDX-License-Identifier: Apache-2.0
"""One worker process: a fresh interpreter that runs the very code of this one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import simsparse
from simsparse.errors import SimulationError
from simsparse.store.schema import Record
from simsparse.sweep.alike import Alike
from simsparse.sweep.code import code_sha256
from simsparse.sweep.inputs import packed_runs
from simsparse.sweep.point import PointRun

_PROGRAM = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
number, package, *path = sys.argv[1:]
sys.path[:] = path
spec = spec_from_file_location("simsparse", package + "/__init__.py", submodule_search_locations=[package])
sys.modules["simsparse"] = module = module_from_spec(spec)
spec.loader.exec_module(module)
from simsparse.sweep.worker import main
main(int(number))
"""
"""Takes the package from where the parent has it; of the folders on the path, none is the current one."""


class Died(Exception):
    """A worker's process ended; ``lost`` are the runs that it had and sent no record of."""

    def __init__(self, lost: Sequence[PointRun], status: int) -> None:
        super().__init__(status)
        self.lost, self.status = lost, status


@dataclass
class Worker:
    """A process, the chunk that it has been sent, and the keys of its runs that it has not answered."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    chunk: Sequence[PointRun] = ()
    outstanding: set[str] = field(default_factory=set)
    _sent: set[str] = field(default_factory=set)

    @classmethod
    def start(cls) -> Worker:
        """A new process. ``greet`` it before it is sent anything."""
        ours, theirs = Pipe()
        number, package = str(theirs.fileno()), str(Path(simsparse.__file__).resolve().parent)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, number, package, *_import_folders()],
            pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, env=_environment(), process_group=0,
        )  # fmt: skip
        theirs.close()
        return cls(process, ours)

    def greet(self) -> None:
        """Wait until it runs. Raises SimulationError when it ends before, or when its code is not this process's."""
        try:
            code = self.pipe.recv()
        except (EOFError, OSError):
            raise SimulationError(f"a worker process ended with {self._status()} before its first point") from None
        if code != code_sha256():
            raise SimulationError(
                "a worker process has other sources of the package than this process, which began before they were "
                "changed; start again"
            )

    def feed(self, runs: Sequence[PointRun]) -> None:
        """Send runs, and the inputs that it has not got."""
        data, inputs = packed_runs(runs)
        added = {name: each for name, each in inputs.items() if name not in self._sent}
        self._sent.update(added)
        keys = runs.keys if isinstance(runs, Alike) else [run.key for run in runs]
        self.chunk, self.outstanding = runs, set(keys)
        with contextlib.suppress(OSError):
            self.pipe.send((added, data))

    def receive(self) -> list[Record]:
        """The next records, of runs that are outstanding. Raises Died when the process has ended."""
        try:
            records: list[Record] = self.pipe.recv()
        except (EOFError, OSError):
            lost = [run for run in self.chunk if run.key in self.outstanding]
            raise Died(lost, self.process.wait()) from None
        self.outstanding.difference_update(record.key for record in records)
        return records

    def end(self) -> None:
        """Close the pipe, at which the process ends."""
        self.pipe.close()
        self.process.terminate()

    def _status(self) -> str:
        return status_text(self.process.wait())


def status_text(status: int) -> str:
    """An exit status as a message names it."""
    return signal.Signals(-status).name if -status in set(signal.Signals) else f"status {status}"


def _import_folders() -> list[str]:
    """Where this process looks for modules, except the current folder."""
    here = os.path.realpath(".")
    return [path for path in map(os.path.abspath, filter(None, sys.path)) if os.path.realpath(path) != here]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
