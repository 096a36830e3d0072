# SPDX-License-Identifier: Apache-2.0
"""Notebooks of the documentation, with what their cells print now; needs no Jupyter.

``python tests/unit/doc_pages.py`` runs the cells of all notebooks under docs/ and writes their outputs: what a cell
prints, then its last expression as text and, where it has one, as HTML. A cell may not use magics.
"""

from __future__ import annotations

import ast
import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from doc_pages import DATA, ROOT
from doc_pages import in_folder as examples_in

NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))


def current(text: str, folder: Path) -> str:
    """The notebook ``text`` with the outputs that its cells have now; they run in ``folder``, in one namespace."""
    for name in DATA:
        (folder / name).symlink_to(ROOT / name)
    notebook = json.loads(text)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with examples_in(folder):
        for number, cell in enumerate((each for each in notebook["cells"] if each["cell_type"] == "code"), start=1):
            cell["outputs"] = _outputs("".join(cell["source"]), namespace, number)
            cell["execution_count"] = number
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _outputs(source: str, namespace: dict[str, Any], number: int) -> list[dict[str, Any]]:
    tree, last, value = ast.parse(source), None, None
    if tree.body and isinstance(end := tree.body[-1], ast.Expr):
        last = ast.Expression(end.value)
        tree.body.pop()
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(tree, f"cell {number}", "exec"), namespace)
        if last is not None:
            value = eval(compile(last, f"cell {number}", "eval"), namespace)
    found: list[dict[str, Any]] = []
    if out.getvalue():
        found.append({"name": "stdout", "output_type": "stream", "text": _lines(out.getvalue())})
    if value is not None:
        found.append(
            {"data": _shown(value), "execution_count": number, "metadata": {}, "output_type": "execute_result"}
        )
    return found


def _shown(value: Any) -> dict[str, list[str]]:
    html = value._repr_html_() if hasattr(value, "_repr_html_") else None
    return {**({"text/html": _lines(html)} if html else {}), "text/plain": _lines(repr(value))}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)
