# SPDX-License-Identifier: Apache-2.0
"""Experiments and sweeps written to a folder, for tests that read them."""

from __future__ import annotations

from pathlib import Path


def write(folder: Path, text: str, name: str = "x.yaml") -> str:
    """The path of a file of ``folder`` that holds ``text``."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)
