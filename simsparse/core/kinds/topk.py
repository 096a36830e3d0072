# SPDX-License-Identifier: Apache-2.0
"""The largest elements of each row: routers, sampling, selection of cached blocks; a sort where all are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS, VectorKind, positive
from simsparse.core.kinds.gather import INDEX_BYTES
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of
from simsparse.errors import SpecError


def topk(rows: int, cols: int, kept: int, dtype: str | DType = "fp32", *, name: str = "topk", **fields: Any) -> Op:
    """The ``kept`` largest of ``cols`` elements in each of ``rows``, with their indexes, in descending order.

    ``kept`` equal to ``cols`` is a sort. Raises SpecError on a bad dim or dtype, and when ``kept`` exceeds ``cols``.
    """
    return Op(TOPK.name, name, positive(rows=rows, cols=cols, kept=kept), DType.parse(dtype), **fields).checked()


class TopkKind(VectorKind):
    """The ``kept`` largest of ``cols`` elements in each of ``rows``, and their indexes, sorted."""

    name = "topk"
    dims = ("rows", "cols", "kept")
    batch_dims = ("rows",)

    @property
    def factory(self) -> Callable[..., Op]:
        return topk

    def examples(self, dtype: str) -> list[Op]:
        return [
            topk(4, 8, 2, dtype, name="router"), topk(1, 128_000, 50, dtype), topk(64, 1024, 1024, dtype, name="sort"),
        ]  # fmt: skip

    def check(self, op: Op) -> None:
        super().check(op)
        if op.dims["kept"] > op.dims["cols"]:
            raise SpecError(f"{op.dims['kept']} exceeds cols {op.dims['cols']}", key="kept")

    def flops(self, op: Op) -> int:
        """Comparisons: each element against the kept ones, by binary search. Source: derived; a lower bound."""
        d = op.dims
        return d["rows"] * d["cols"] * max(1, d["kept"].bit_length())

    def input_bytes(self, op: Op) -> int:
        return bytes_of(op.dims["rows"] * op.dims["cols"], op.dtype)

    def output_bytes(self, op: Op) -> int:
        kept = op.dims["rows"] * op.dims["kept"]
        return bytes_of(kept, op.dtype) + kept * INDEX_BYTES


TOPK = KINDS.register("topk")(TopkKind())
