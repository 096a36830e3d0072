# SPDX-License-Identifier: Apache-2.0
"""The pages of the documentation, with what their examples print now.

``python tests/unit/doc_pages.py [PAGE ...]`` runs the examples of all pages and notebooks, or of those given, and
writes what they print into the pages.

Fences, in the order of the page and in one folder, which has the checkout's data folders:

* ``title="FILE"``, of any language: written to FILE.
* ``python``: run in one namespace a page; a ``text`` fence right after it shows what it printed.
* ``console``: each line ``$ simsparse ...`` is run; the lines below it, if any, show what it printed on stdout,
  then on stderr. Other lines that start with ``$`` are not run.

A line ``...`` in shown output stands for any number of lines. A part between ``<!-- generated: NAME -->`` and
``<!-- end -->`` is what doc_tables.GENERATED[NAME] returns, a number between ``<!-- count: NAME -->`` and
``<!-- end -->`` what doc_tables.COUNTS[NAME] does.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from doc_tables import COUNTS, GENERATED

from simsparse.cli import main as simsparse
from simsparse.config.hardware import PARTS
from simsparse.core import KINDS
from simsparse.dataflow import DATAFLOWS
from simsparse.dataflow.sparse_engine import ENGINES
from simsparse.devices.base import DEVICES
from simsparse.devices.gpu_op_kernels import OP_KERNELS
from simsparse.policies import POLICIES
from simsparse.registry import Registry
from simsparse.sparsity.formats import FORMATS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DATA = ("configs", "hw_models", "tests", "traces")
ELIDED = "..."
_FENCE = re.compile(r"^(```(\w+)(?: title=\"([^\"\n]+)\")?[^\n]*\n)(.*?)(^```$)", re.MULTILINE | re.DOTALL)
_GENERATED = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

_COUNTED = re.compile(r"(<!-- count: (\w+) -->)(\d*)(<!-- end -->)")


def title(page: Path) -> str:
    """The page's path in the checkout."""
    return str(page.relative_to(ROOT))


def files(page: Path) -> dict[str, str]:
    """The files that the page gives, by name."""
    return {fence[3]: fence[4] for fence in _FENCE.finditer(page.read_text(encoding="utf-8")) if fence[3]}


def needs_torch(page: Path) -> bool:
    """Whether an example of the page uses torch."""
    text = page.read_text(encoding="utf-8")
    return any("import torch" in fence[4] or "simsparse trace --model" in fence[4] for fence in _FENCE.finditer(text))


def prose(page: Path) -> str:
    """The page without its examples and without what is generated."""
    text = _GENERATED.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    return _COUNTED.sub("", text)


def current(text: str, folder: Path) -> str:
    """The page ``text`` with what its examples print now; they run in ``folder``.

    Raises AssertionError when a command fails, and whatever an example raises.
    """
    for name in DATA:
        (folder / name).symlink_to(ROOT / name)
    text = _COUNTED.sub(lambda part: f"{part[1]}{COUNTS[part[2]]()}{part[4]}", text)
    with in_folder(folder):
        return "".join(_run(_GENERATED.sub(lambda part: part[1] + GENERATED[part[2]]() + part[4], text)))


@contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """Examples run within it: in ``folder``, which they can import from; nothing of them lasts."""
    with chdir(folder), _forgotten():
        sys.path.insert(0, str(folder))
        yield


@contextmanager
def _forgotten() -> Iterator[None]:
    """What an example imports or registers within it is gone afterwards."""
    path, modules = list(sys.path), set(sys.modules)
    registries: tuple[Registry[Any], ...] = (DATAFLOWS, DEVICES, ENGINES, FORMATS, KINDS, OP_KERNELS, PARTS, POLICIES)
    registered = [(registry, {name: registry.get(name) for name in registry}) for registry in registries]
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if Path(str(getattr(sys.modules[name], "__file__", ""))).parent == Path.cwd():
                del sys.modules[name]
        for registry, items in registered:
            registry._items = dict(items)


def _run(text: str) -> Iterator[str]:
    namespace: dict[str, Any] = {"__name__": "example"}
    printed: str | None = None
    position = 0
    for fence in _FENCE.finditer(text):
        head, kind, file, body, end = fence.groups()
        yield text[position : fence.start()]
        position = fence.end()
        shown, printed = printed, None
        if file:
            Path(file).write_text(body, encoding="utf-8")
        elif kind == "python":
            printed = _printed(body, namespace)
        elif kind == "console":
            body = "".join(_commands(body))
        elif kind == "text" and shown is not None:
            body = _fitted(body, shown)
        yield head + body + end
    yield text[position:]


def _printed(code: str, namespace: dict[str, Any]) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, "example", "exec"), namespace)
    return out.getvalue()


def _commands(body: str) -> Iterator[str]:
    """The lines of a console fence, the shown output of each command as it is now."""
    for part in re.split(r"^(?=\$ )", body, flags=re.MULTILINE):
        line, _, shown = part.partition("\n")
        if line.startswith("$ simsparse "):
            output = _output(line[2:])
            yield f"{line}\n{_fitted(shown, output) if shown.strip() else shown}"
        else:
            yield part


def _output(line: str) -> str:
    """What a command prints on stdout, then on stderr, without blank lines at the ends."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            simsparse(shlex.split(line)[1:])
        except SystemExit as ended:
            code = ended.code
    text = f"{out.getvalue().rstrip()}\n{err.getvalue()}"
    assert code == 0, f"{line}\n{text}"
    lines = [row.rstrip() for row in text.splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def _fitted(shown: str, printed: str) -> str:
    """``printed``, cut where ``shown`` is."""
    rows, now = shown.splitlines(), printed.splitlines()
    if ELIDED not in rows:
        return printed
    head = rows.index(ELIDED)
    tail = len(rows) - head - 1
    return "\n".join([*now[:head], ELIDED, *now[len(now) - tail :]]) + "\n"


def main() -> None:
    """Bring the pages up to date."""
    import notebooks

    os.environ.setdefault("MPLBACKEND", "agg")
    for page in [Path(name).resolve() for name in sys.argv[1:]] or [*PAGES, *notebooks.NOTEBOOKS]:
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            now = (notebooks if page.suffix == ".ipynb" else sys.modules[__name__]).current(text, Path(folder))
        if now != text:
            page.write_text(now, encoding="utf-8")
            print(f"{title(page)} changed")


if __name__ == "__main__":
    main()
