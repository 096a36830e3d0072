# SPDX-License-Identifier: Apache-2.0
"""What a terminal shows of work that takes long: a bar over what is counted, else a spinner with the time."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE_S = 2.0
"""Seconds of silence after which a command shows that it is at work."""


class _Waiting:
    """A spinner on stderr with the seconds gone, while the command has been silent for ``PATIENCE_S``."""

    def __init__(self, what: str) -> None:
        self._what, self._began = what, time.monotonic()
        self._lock = threading.Lock()
        self._shown: Any = None
        self._timer: threading.Timer | None = None

    def hide(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
            if self._shown is not None:
                self._shown.stop()
            self._shown = None

    def rearm(self) -> None:
        self.hide()
        self._timer = threading.Timer(PATIENCE_S, self._show)
        self._timer.daemon = True
        self._timer.start()

    def _show(self) -> None:
        from rich.console import Console
        from rich.status import Status

        with self._lock:
            if self._timer is threading.current_thread():
                self._shown = Status(self._text(), console=Console(file=sys.stderr), spinner="line")
                self._shown.start()
        while (shown := self._shown) is not None and self._timer is threading.current_thread():
            shown.update(self._text())
            time.sleep(0.5)

    def _text(self) -> str:
        return f"{self._what}: {time.monotonic() - self._began:.0f} s"


_waiting: _Waiting | None = None


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show ``what`` with the seconds gone whenever the body is silent for long; nothing when stderr is no terminal."""
    global _waiting  # noqa: PLW0603
    if not sys.stderr.isatty():
        yield
        return
    _waiting = _Waiting(what)
    try:
        _waiting.rearm()
        yield
    finally:
        _waiting.hide()
        _waiting = None


def make_way(*, stay: bool = False) -> None:
    """Hide what ``waiting`` shows, before something prints; it comes back after more silence unless ``stay``."""
    if _waiting is not None:
        (_waiting.hide if stay else _waiting.rearm)()


class ProgressBar:
    """A progress bar on stderr with rate and time left; nothing when stderr is no terminal.

    While it stands, an interrupt that was lost (Python drops one that comes within a callback of its own, as imports
    have them) is raised again at the next step.
    """

    def __init__(self, things: str = "points") -> None:
        self.things = things
        self.done = self.total = 0
        self._bar: Any = None
        self._task: Any = None
        self._interrupted = False
        self._before: Any = None

    def __call__(self, done: int, total: int, failed: int) -> None:
        self.done, self.total = done, total
        if self._interrupted:
            raise KeyboardInterrupt
        if self._bar is not None:
            text = f"{self.things}, {failed} failed" if failed else self.things
            self._bar.update(self._task, completed=done, total=total, description=text)

    def _interrupt(self, *_: object) -> None:
        self._interrupted = True
        raise KeyboardInterrupt

    def __enter__(self) -> Callable[[int, int, int], None]:
        make_way(stay=True)
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeRemainingColumn,
            )

            shown = (SpinnerColumn("line"), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            console = Console(file=sys.stderr)
            self._bar = Progress(*shown, _rate_column(), TimeRemainingColumn(), console=console, transient=True)
            self._task = self._bar.add_task(self.things, total=None)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if self._bar is not None:
            self._bar.stop()
        make_way()


def _rate_column() -> Any:
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.0f}/s" if task.speed else "", style="cyan")

    return Rate()
