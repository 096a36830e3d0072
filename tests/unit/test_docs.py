"""Every example in the README and in docs/ runs, and prints what the page says it prints."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)?[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(page: Path) -> list[tuple[str, str]]:
    return [(match[1] or "", match[2]) for match in FENCE.finditer(page.read_text(encoding="utf-8"))]


def _pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if any(kind == language for kind, _ in _blocks(page))]


def _title(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", _pages_with("python"), ids=_title)
def test_python_examples_print_what_the_page_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "example"}
    blocks = _blocks(page)
    for i, (kind, body) in enumerate(blocks):
        if kind != "python":
            continue
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(body, _title(page), "exec"), namespace)
        if i + 1 < len(blocks) and blocks[i + 1][0] == "text":
            assert printed.getvalue() == blocks[i + 1][1]


@pytest.mark.parametrize("page", _pages_with("console"), ids=_title)
def test_console_examples_succeed(page: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
    for kind, body in _blocks(page):
        if kind != "console":
            continue
        for line in body.splitlines():
            if line.startswith("$ simsparse "):
                done = subprocess.run(
                    shlex.split(line[2:]),
                    cwd=tmp_path,
                    env=env,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=120,
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
