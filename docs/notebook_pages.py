# SPDX-License-Identifier: Apache-2.0
"""Notebooks as pages of the documentation: a hook of MkDocs, which needs no Jupyter.

Each ``NAME.ipynb`` under docs/ becomes the page ``NAME.md``, its code cells with the outputs that the file holds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def page(notebook: dict[str, Any]) -> str:
    """The notebook as Markdown."""
    return "\n\n".join(part for cell in notebook["cells"] for part in _parts(cell)) + "\n"


def _parts(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        return [source]
    return [f"```python\n{source}\n```", *(_output(output) for output in cell["outputs"])]


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        return f"<div>{''.join(data['text/html'])}</div>"
    text = "".join(data.get("text/plain") or output.get("text", ""))
    return f"```text\n{text.rstrip()}\n```"


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each notebook; called by MkDocs."""
    from mkdocs.structure.files import File

    for path in sorted(Path(config.docs_dir).rglob("*.ipynb")):
        name = path.relative_to(config.docs_dir).with_suffix(".md").as_posix()
        files.append(File.generated(config, name, content=page(json.loads(path.read_text(encoding="utf-8")))))
    return files
