"""The result of a sweep as a table and files, each written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

Record = tuple[str, dict[str, Any], dict[str, Any] | None, str | None]

NUMBERS = ("latency_s", "energy_j", "area_mm2", "power_w")
MEASURES = (*NUMBERS, "bound")
DETAILS = ("seconds_by_bound", "energy_by_component", "assumed", "unvalidated", "overrides")


def to_frame(records: Iterable[Record], once: bool = False) -> pd.DataFrame:
    """One row a point, in order; with ``once`` only the first of points of equal key.

    Columns: the axes (a named one shows its labels), then all other keys (``workload.trace``,
    ``system``, ``policy``, ..., ``override.PATH`` as text and ``si.PATH`` in SI units); ``trace``, the trace's name;
    ``latency_s``, ``energy_j``, ``area_mm2``, ``power_w`` (as stated of the devices; the simulated mean is
    ``energy_j / latency_s``), ``bound``; as JSON text ``seconds_by_bound``,
    ``energy_by_component``, ``assumed``, ``unvalidated``, ``overrides``; ``error``, empty when the
    point has a result; ``key``, under which the store keeps it.
    """
    import pandas as pd

    frame = pd.DataFrame([_row(*record) for record in records])
    if once:
        frame = frame.drop_duplicates("key", ignore_index=True)
    last = [name for name in (*MEASURES, *DETAILS, "error", "key") if name in frame]
    frame = frame[[name for name in frame.columns if name not in last] + last]
    numbers = [name for name in NUMBERS if name in frame]
    frame[numbers] = frame[numbers].astype("float64")
    return frame


def _row(key: str, axes: dict[str, Any], result: dict[str, Any] | None, error: str | None) -> dict[str, Any]:
    summary = result or {}
    row = dict(axes)
    row |= {f"si.{path}": value for path, value in summary.get("override_si", {}).items()}
    row["trace"] = summary.get("trace", "")
    row |= {name: summary.get(name) for name in MEASURES}
    row |= {name: json.dumps(summary[name]) if name in summary else "" for name in DETAILS}
    return row | {"error": error or "", "key": key}


def write_tables(frame: pd.DataFrame, out: Path) -> None:
    """Write results.csv and results.parquet. Raises StoreError when the folder can't be written."""
    write_whole(out / "results.csv", lambda path: frame.to_csv(path, index=False))
    texts = {name: "string" for name in frame.columns if frame[name].dtype == object}
    write_whole(out / "results.parquet", lambda path: frame.astype(texts).to_parquet(path, index=False))


def write_text(path: Path, text: str) -> None:
    """Write a text file whole. Raises StoreError."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path`` and rename it when it is complete. Raises StoreError."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        part = Path(name)
        try:
            write(part)
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"can't be written: {error.strerror or error}", file=str(path)) from error
