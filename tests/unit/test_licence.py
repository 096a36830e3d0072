# SPDX-License-Identifier: Apache-2.0
"""Every source file names its licence."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADER = "# SPDX-License-Identifier: Apache-2.0\n"


def test_every_python_file_begins_with_its_licence() -> None:
    folders = ("simsparse", "tests", "docs")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 400
    assert [str(path) for path in paths if not path.read_text(encoding="utf-8").startswith(HEADER)] == []
