# SPDX-License-Identifier: Apache-2.0
"""What commands print: tables for people, JSON for programs, and files that are whole or absent."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from simsparse.errors import StoreError
from simsparse.paths import temporary_prefix

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write to; nothing is written elsewhere.")]
CellRow = Sequence[object]

WIDTH = 160
"""Columns of a table that goes to a file or pipe."""


def emit_json(data: Any) -> None:
    """Print ``data`` as JSON on stdout."""
    sys.stdout.write(json.dumps(data, indent=1, default=str) + "\n")


def printable(text: str) -> str:
    """``text`` with control characters, which a terminal would obey, as escapes; line ends and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def table(title: str, columns: Sequence[str], rows: Sequence[CellRow], right: Sequence[str] = ()) -> None:
    """Print a table on stdout; the columns in ``right`` are flush right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(printable(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    wide = None if sys.stdout.isatty() else WIDTH
    console = Console(file=sys.stdout, width=wide, highlight=False)
    console.print(Text(printable(title), style="bold"))
    console.print(drawn)


def note(message: str) -> None:
    """Print a line for people on stderr."""
    sys.stderr.write(printable(message) + "\n")


def si(value: float | None, unit: str) -> str:
    """``value`` with three to four digits and a prefix: ``1.23 ms``."""
    if value is None or value != value:  # noqa: PLR0124
        return "unknown"
    if value == 0:
        return f"0 {unit}"
    scales = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))
    scale, prefix = next(((s, p) for s, p in scales if abs(value) >= s), (1e-12, "p"))
    return f"{value / scale:.4g} {prefix}{unit}"


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to write in that becomes ``out`` when all is written, or whose files move into it.

    Nothing is left when the body raises. Raises StoreError when ``out`` can't be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=out.parent, prefix=temporary_prefix(out)))
    except OSError as error:
        raise StoreError(f"can't be written: {error.strerror}", file=str(out)) from error
    try:
        yield part
        part.chmod(0o755)
        _move(part, out)
    except OSError as error:
        raise StoreError(f"can't be written: {error.strerror or error}", file=str(out)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(part: Path, out: Path) -> None:
    if not out.exists():
        part.rename(out)
        return
    for file in part.iterdir():
        file.replace(out / file.name)


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
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            text = TextColumn("{task.description}")
            columns = (text, BarColumn(), MofNCompleteColumn(), _rate_column(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
            self._task = self._bar.add_task(self.things, total=None)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if self._bar is not None:
            self._bar.stop()


def _rate_column() -> Any:
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.0f}/s" if task.speed else "", style="cyan")

    return Rate()
