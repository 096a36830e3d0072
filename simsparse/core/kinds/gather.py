# SPDX-License-Identifier: Apache-2.0
"""Rows copied by index: embeddings, tokens sorted by expert, pages of a cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS, VectorKind, positive
from simsparse.core.op import Op
from simsparse.core.tensor import DType

INDEX_BYTES = 8
"""Bytes of an index. Source: torch indexes with int64."""


def gather(
    rows: int,
    row_bytes: int,
    dtype: str | DType = "bf16",
    *,
    table_rows: int = 0,
    name: str = "gather",
    **fields: Any,
) -> Op:
    """A copy of ``rows`` rows of ``row_bytes`` that an index names.

    ``table_rows``: rows of the parameter that they come from (an embedding); 0 where they come from activations.
    Raises SpecError on a bad dim or dtype.
    """
    dims = {**positive(rows=rows, row_bytes=row_bytes), "table_rows": table_rows}
    return Op(GATHER.name, name, dims, DType.parse(dtype), **fields).checked()


class GatherKind(VectorKind):
    """``rows`` rows of ``row_bytes``, read where an index points and written side by side."""

    name = "gather"
    dims = ("rows", "row_bytes", "table_rows")
    batch_dims = ("rows",)
    zero_dims = frozenset({"table_rows"})

    @property
    def factory(self) -> Callable[..., Op]:
        return gather

    def examples(self, dtype: str) -> list[Op]:
        return [
            gather(1, 64, dtype, name="gather-small"),
            gather(4096, 8192, dtype),
            gather(512, 8192, dtype, table_rows=128_000, name="embedding"),
        ]

    def flops(self, op: Op) -> int:
        del op
        return 0

    def weight_bytes(self, op: Op) -> int:
        """Rows of the parameter that are read, each once at most."""
        return min(op.dims["rows"], op.dims["table_rows"]) * op.dims["row_bytes"]

    def resident_bytes(self, op: Op) -> int:
        return op.dims["table_rows"] * op.dims["row_bytes"]

    def input_bytes(self, op: Op) -> int:
        """The indexes, and the rows where they are activations."""
        d = op.dims
        return d["rows"] * (INDEX_BYTES + (0 if d["table_rows"] else d["row_bytes"]))

    def output_bytes(self, op: Op) -> int:
        return op.dims["rows"] * op.dims["row_bytes"]


GATHER = KINDS.register("gather")(GatherKind())
