# SPDX-License-Identifier: Apache-2.0
"""The README and docs/: every example runs and prints what the page shows, and references are complete."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import notebooks
import pytest
from doc_pages import PAGES, ROOT, current, files, needs_torch, prose, title
from doc_tables import COUNTS
from notebooks import NOTEBOOKS

from simsparse.config.schema import SCHEMAS


def _parameters() -> list[Any]:
    return [pytest.param(page, id=title(page), marks=_marks(page)) for page in PAGES]


def _marks(page: Path) -> list[pytest.MarkDecorator]:
    text = page.read_text(encoding="utf-8")
    groups = {"references": "<!-- generated: validation -->", "dram": "dram_stream"}
    return [
        *([pytest.mark.torch] if needs_torch(page) else []),
        *(pytest.mark.xdist_group(name) for name, word in groups.items() if word in text),
    ]


@pytest.mark.parametrize("page", _parameters())
def test_examples_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    if needs_torch(page):
        pytest.importorskip("torch")
        pytest.importorskip("transformers")
    shown = page.read_text(encoding="utf-8")
    assert current(shown, tmp_path) == shown, "python tests/unit/doc_pages.py brings the pages up to date"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(name.startswith("test_") for name in files(page))], ids=title
)
def test_tests_on_the_page_pass(page: Path, tmp_path: Path) -> None:
    for name, body in files(page).items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    path = os.pathsep.join(map(str, (tmp_path, ROOT / "tests/unit", *filter(None, sys.path))))
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith(("https://", "mailto:")) or (page.parent / target).exists(), target


@pytest.mark.parametrize("path", NOTEBOOKS, ids=title)
class TestNotebooks:
    def test_cells_print_what_the_notebook_shows(self, path: Path, tmp_path: Path) -> None:
        shown = path.read_text(encoding="utf-8")
        assert notebooks.current(shown, tmp_path) == shown, "python tests/unit/doc_pages.py brings notebooks up to date"

    def test_the_site_shows_cells_and_outputs(self, path: Path) -> None:
        """The page that MkDocs gets has every cell, in order, and a table for each result that has one."""
        spec = spec_from_file_location("notebook_pages", ROOT / "docs/notebook_pages.py")
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        notebook = json.loads(path.read_text(encoding="utf-8"))
        text = module.page(notebook)
        places = [text.index("".join(cell["source"])) for cell in notebook["cells"]]
        assert places == sorted(places) and len(places) > 5
        outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
        assert outputs and text.count("<table") == sum("text/html" in output.get("data", {}) for output in outputs)

    def test_a_notebook_has_what_its_format_asks_for(self, path: Path) -> None:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
        kinds = {"code": {"outputs", "execution_count"}, "markdown": set()}
        usual = {"cell_type", "id", "metadata", "source"}
        assert all(cell.keys() == usual | kinds[cell["cell_type"]] for cell in notebook["cells"])


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_counts_of_what_ships_are_generated(page: Path) -> None:
    typed = re.findall(rf"\b[1-9]\d+ (?:\w+ )?(?:{'|'.join(COUNTS)})\b", prose(page))
    assert typed == [], "put the number between <!-- count: NAME --> and <!-- end -->"


def test_entry_points_that_a_page_shows_are_read() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "simsparse").rglob("*.py"))
    groups = {f"simsparse.{role.replace(' ', '_')}" for role in re.findall(r"Registry\(\s*\"([a-z ]+)\"", sources)}
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = set(re.findall(r'project\.entry-points\."([^"]+)"', pages))
    assert "simsparse.device" in shown
    assert shown <= groups


@pytest.mark.torch
def test_members_that_a_reference_shows_exist() -> None:
    pytest.importorskip("torch")
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    shown = re.findall(r"^::: (\S+)\n    options:\n      members: \[([^\]]*)\]", text, re.M)
    assert len(shown) > 10
    missing = [f"{module}.{name}" for module, names in shown for name in names.split(", ")
               if not hasattr(import_module(module), name)]  # fmt: skip
    assert missing == []


def test_the_readme_maps_every_package() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    packages = [path.parent.name for path in (ROOT / "simsparse").glob("*/__init__.py")]
    assert packages
    assert [name for name in packages if f"`simsparse/{name}/`" not in text] == []


@pytest.mark.parametrize("name", ["experiment", "sweep", "study", "serving"])
def test_every_key_of_a_spec_is_described(name: str) -> None:
    text = (ROOT / "docs/reference/specs.md").read_text(encoding="utf-8")
    assert [key for key in _keys(SCHEMAS[name]()) if f"`{key}`" not in text] == []


def _keys(schema: Any) -> Iterator[str]:
    """Names of all fields in a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(fields := schema.get("properties"), dict):
            yield from fields
        for value in schema.values():
            yield from _keys(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _keys(value)
