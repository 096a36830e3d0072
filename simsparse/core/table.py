# SPDX-License-Identifier: Apache-2.0
"""Tables: the rows of a pandas DataFrame as plain values, so that one can stand for a file, and operators as rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeGuard

from simsparse.core.op import Op
from simsparse.sparsity import DENSE, USUAL

if TYPE_CHECKING:
    import pandas as pd

TABLE = "table"
"""What errors call a table, which has no file; its rows count from 1."""

COUNTS = ("flops", "weight_bytes", "input_bytes", "output_bytes")
"""Columns that follow from the others; they are not read, but of kinds that have them as dims."""
FIELDS = (
    "name", "label", "module", "weight", "weight_format", "weight_dtype", "output_dtype", "weight_sparsity",
    "input_sparsity", "src", "dst", "routing", "group", "bias", "latent_kv",
)  # fmt: skip
"""Fields of an operator that a table holds beside dims, type and dependencies, where they are set."""
TEXTS = ("weight_dtype", "output_dtype", "weight_sparsity", "input_sparsity")
"""Those of them that a table holds as text."""


def is_frame(value: object) -> TypeGuard[pd.DataFrame]:
    """Whether ``value`` is a pandas DataFrame; does not import pandas."""
    return type(value).__name__ == "DataFrame" and type(value).__module__.partition(".")[0] == "pandas"


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of ``frame`` by column, numpy's numbers as Python's, without the cells that are missing.

    Whole numbers that pandas holds as floats, as it does beside missing cells, are integers again.
    """
    rows = frame.to_dict("records")
    return [{str(key): _plain(value) for key, value in row.items() if not _is_missing(value)} for row in rows]


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value  # noqa: PLR0124


def _plain(value: Any) -> Any:
    plain = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") and not value.ndim else value
    return int(plain) if isinstance(plain, float) and plain.is_integer() and abs(plain) < 2**53 else plain


def table_of_ops(ops: Iterable[Op]) -> pd.DataFrame:
    """One row per operator: kind, name, dims, types, sparsities, what it counts, and the names it depends on."""
    import pandas as pd

    return pd.DataFrame([_row(op) for op in ops])


def _row(op: Op) -> dict[str, Any]:
    fields = {key: value for key in FIELDS if (value := getattr(op, key)) not in (None, "", (), False, USUAL, DENSE)}
    plain = {key: str(value) if key in TEXTS else value for key, value in fields.items()}
    counts = {key: getattr(op, key) for key in COUNTS}
    return {"kind": op.kind, **plain, **op.dims, "dtype": str(op.dtype), **counts, "deps": list(op.deps)}
