# SPDX-License-Identifier: Apache-2.0
"""Reductions of the last dimension: sums, means, maxima."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS, VectorKind, positive
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of


def reduce(
    rows: int, cols: int, dtype: str | DType = "bf16", *, function: str = "sum", name: str = "reduce", **fields: Any
) -> Op:
    """The sum, mean, max or min of each of ``rows`` vectors of ``cols`` elements.

    Raises SpecError on a bad dim, dtype or function.
    """
    dims = positive(rows=rows, cols=cols)
    return Op(REDUCE.name, name, dims, DType.parse(dtype), label=function, **fields).checked()


class ReduceKind(VectorKind):
    """``rows`` vectors of ``cols`` elements, of each of which one element is left; the label names the function."""

    name = "reduce"
    dims = ("rows", "cols")
    batch_dims = ("rows",)
    label_matters = True
    labels = ("sum", "mean", "max", "min")

    @property
    def factory(self) -> Callable[..., Op]:
        return reduce

    def examples(self, dtype: str) -> list[Op]:
        return [reduce(1, 100, dtype, name="reduce-small"), reduce(4096, 4096, dtype, function="max")]

    def flops(self, op: Op) -> int:
        return op.dims["rows"] * op.dims["cols"]

    def input_bytes(self, op: Op) -> int:
        return bytes_of(op.dims["rows"] * op.dims["cols"], op.dtype)

    def output_bytes(self, op: Op) -> int:
        return bytes_of(op.dims["rows"], op.dtype)


REDUCE = KINDS.register("reduce")(ReduceKind())
