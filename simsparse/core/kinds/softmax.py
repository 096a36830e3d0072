# SPDX-License-Identifier: Apache-2.0
"""Softmax over the last dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS, VectorKind, positive
from simsparse.core.kinds.attention import SOFTMAX_FLOPS
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of


def softmax(rows: int, cols: int, dtype: str | DType = "bf16", *, name: str = "softmax", **fields: Any) -> Op:
    """A softmax of ``rows`` vectors of ``cols`` elements. Raises SpecError on a bad dim or dtype."""
    return Op(SOFTMAX.name, name, positive(rows=rows, cols=cols), DType.parse(dtype), **fields)


class SoftmaxKind(VectorKind):
    """``rows`` vectors of ``cols``, each exponentiated and divided by its sum."""

    name = "softmax"
    dims = ("rows", "cols")
    batch_dims = ("rows",)

    @property
    def factory(self) -> Callable[..., Op]:
        return softmax

    def examples(self, dtype: str) -> list[Op]:
        return [softmax(1, 10, dtype, name="softmax-small"), softmax(4096, 2048, dtype)]

    def flops(self, op: Op) -> int:
        return SOFTMAX_FLOPS * op.dims["rows"] * op.dims["cols"]

    def input_bytes(self, op: Op) -> int:
        return bytes_of(op.dims["rows"] * op.dims["cols"], op.dtype)

    def output_bytes(self, op: Op) -> int:
        return self.input_bytes(op)


SOFTMAX = KINDS.register("softmax")(SoftmaxKind())
