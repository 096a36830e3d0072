# SPDX-License-Identifier: Apache-2.0
"""Finished sweeps: the mark in a table that says of which sweep and of which files it is the outcome.

While the sweep and these files are as they were, a rerun has nothing to do but to read the table.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.errors import StoreError
from simsparse.store import SPEC_NAME, STORE_NAME, brief_table, read_mark, whole_table
from simsparse.store.schema import CSV_NAME

if TYPE_CHECKING:
    import pandas as pd

Mark = dict[str, Any]
"""Hash of a sweep, and size and time of change of the other files in its folder."""


def finished_mark(whole: bool, folder: Path, digest: str) -> Mark:
    """The mark of the table of the sweep ``digest``; empty where it is not ``whole``: a point failed, say."""
    return _mark(folder, digest) if whole else {}


def is_whole(frame: pd.DataFrame) -> bool:
    """Whether no point failed, and files keep the type of each column of ``frame``."""
    return bool((frame["error"] == "").all()) and "object" not in map(str, frame.dtypes)


def finished_table(folder: Path, digest: str, details: bool = True) -> pd.DataFrame | None:
    """The table of the finished sweep ``digest`` in ``folder``; None where there is none or a file has changed."""
    try:
        if (mark := read_mark(folder)) and mark == _mark(folder, digest):
            return whole_table(folder) if details else brief_table(folder)
    except (OSError, StoreError):
        pass
    return None


def _mark(folder: Path, digest: str) -> Mark:
    stats = {name: (folder / name).stat() for name in (STORE_NAME, CSV_NAME, SPEC_NAME)}
    return {"sweep": digest, "files": {name: [each.st_size, each.st_mtime_ns] for name, each in stats.items()}}
