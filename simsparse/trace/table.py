# SPDX-License-Identifier: Apache-2.0
"""Traces from tables: one row per operator, its kind and the arguments of the kind's factory as columns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from simsparse.core import KINDS, Op, Trace, TraceBuilder
from simsparse.core.table import COUNTS, TABLE, records
from simsparse.errors import SimsparseError, TraceError, nearest

if TYPE_CHECKING:
    import pandas as pd


def trace_of_table(frame: pd.DataFrame, name: str = TABLE) -> Trace:
    """The trace of the operators in ``frame``, in order.

    Columns are ``kind``; the arguments of the kind's factory in ``simsparse.ops``, or its dims as ``Trace.table``
    gives them; further fields of an Op such as ``module``; and ``deps``, names of earlier operators as a list or as a
    text with commas between them, without which an operator depends on the one before. Cells that a kind has no use
    for are left empty. Raises TraceError that names row and column.
    """
    builder = TraceBuilder(name)
    for line, row in enumerate(records(frame), start=1):
        deps = row.pop("deps", None)
        deps = [name.strip() for name in deps.split(",") if name.strip()] if isinstance(deps, str) else deps
        try:
            builder.add(_op(row), deps)
        except SimsparseError as error:
            raise TraceError(error.message, file=TABLE, line=line, key=error.key) from error
    if not len(frame):
        raise TraceError("has no rows", file=TABLE)
    return builder.build()


def _op(row: dict[str, Any]) -> Op:
    kind = str(row.pop("kind", ""))
    if kind not in KINDS:
        raise TraceError(f"{kind[:60]!r} is not an operator; {nearest(kind, KINDS)}", key="kind")
    known = KINDS.get(kind)
    given = {key: value for key, value in row.items() if key not in COUNTS or key in known.dims}
    if set(known.dims) <= given.keys():
        dims = {key: given.pop(key) for key in (*known.dims, *known.optional_dims) if key in given}
        return _made(kind, lambda **fields: Op(kind, fields.pop("name", kind), dims, **fields), given).checked()
    return _made(kind, known.factory, given)


def _made(kind: str, make: Callable[..., Op], given: Mapping[str, Any]) -> Op:
    """``make`` of ``given``. Raises TraceError on what is no argument or is missing."""
    allowed = [name for name in inspect.signature(make).parameters if name != "fields"]
    allowed += [name for name in Op.__dataclass_fields__ if name not in ("kind", "dims", "definition", *allowed)]
    if unknown := next((key for key in given if key not in allowed), None):
        raise TraceError(f"is nothing that {kind} has; {nearest(unknown, allowed)}", key=unknown)
    try:
        return make(**given)
    except TypeError as error:
        raise TraceError(str(error).replace("()", ""), key=kind) from None
