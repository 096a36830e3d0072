# SPDX-License-Identifier: Apache-2.0
"""What ``simsparse trace`` does with other tools' files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simsparse.cli.console import note
from simsparse.errors import SpecError

if TYPE_CHECKING:
    from simsparse.core import Trace


def import_file(
    path: Path,
    format: str | None,
    dtype: str | None,
    ranks: int | None,
    dims: Sequence[str],
    out: Path | None,
    limits: Sequence[str] = (),
) -> Trace:
    """The trace in another tool's file, saved to ``out``; what was assumed goes to stderr. Raises SimsparseError."""
    from simsparse.core import DType
    from simsparse.limits import Limits
    from simsparse.trace.file import save_trace
    from simsparse.trace.interchange import ImportOptions, dims_of, import_trace

    if out is None:
        raise SpecError("--import needs --out, the trace file to write")
    options = ImportOptions(DType.parse(dtype) if dtype else None, ranks, dims_of(dims), Limits.parse(limits))
    found = import_trace(path, format, options)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_trace(found.trace, out)
    for line in (*found.notes, f"written to {out}"):
        note(line)
    return found.trace


def export_file(trace: Trace, path: Path, format: str | None) -> None:
    """Write ``trace`` for another tool; what its format can't carry goes to stderr. Raises SimsparseError."""
    from simsparse.trace.interchange import export_trace

    path.parent.mkdir(parents=True, exist_ok=True)
    for line in (*export_trace(trace, path, format), f"written to {path}"):
        note(line)
