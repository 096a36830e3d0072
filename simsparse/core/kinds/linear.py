# SPDX-License-Identifier: Apache-2.0
"""Linear layers: activations by one weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import (
    KINDS,
    Kind,
    Unit,
    activation_bytes,
    bias_bytes,
    optional_dtype,
    positive,
    stored_bytes,
)
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of
from simsparse.sparsity.drawn import Operand
from simsparse.sparsity.statement import Sparsity

SPARSITIES = ("dense", "2:4", "1:8", "unstructured:0.1", "block32:0.25", "bank16:0.25")


def linear(
    m: int,
    n: int,
    k: int,
    dtype: str | DType = "bf16",
    *,
    weight_sparsity: str | Sparsity = "dense",
    input_sparsity: str | Sparsity = "dense",
    weight_dtype: str | DType | None = None,
    name: str = "linear",
    **fields: Any,
) -> Op:
    """``y[m, n] = x[m, k] @ w[n, k].T``. Raises SpecError on a bad dim, dtype or sparsity."""
    return Op(
        LINEAR.name, name, positive(m=m, n=n, k=k), DType.parse(dtype), weight_dtype=optional_dtype(weight_dtype),
        weight_sparsity=Sparsity.parse(weight_sparsity), input_sparsity=Sparsity.parse(input_sparsity), **fields,
    )  # fmt: skip


class LinearKind(Kind):
    """``y[m, n] = x[m, k] @ w[n, k].T``: m tokens, n outputs, k inputs."""

    name = "linear"
    dims = ("m", "n", "k")
    unit = Unit.MATRIX
    prunable = True
    masked = (Operand.WEIGHT, Operand.INPUT)

    @property
    def factory(self) -> Callable[..., Op]:
        return linear

    def examples(self, dtype: str) -> list[Op]:
        return [
            *(linear(m, 1024, 4096, dtype, weight_sparsity=text, name=f"linear{m}-{text}")
              for m in (1, 16, 1000) for text in SPARSITIES),
            linear(3, 5, 7, dtype, name="tiny"),
            linear(1, 4096, 11007, dtype, weight_sparsity="2:4", name="ragged"),
        ]  # fmt: skip

    def gemms(self, op: Op) -> tuple[tuple[int, int, int, int], ...]:
        return ((1, op.dims["m"], op.dims["n"], op.dims["k"]),)

    def weight_bytes(self, op: Op) -> int:
        return stored_bytes(op, op.dims["n"], op.dims["k"]) + bias_bytes(op, op.dims["n"])

    def input_bytes(self, op: Op) -> int:
        return activation_bytes(op, op.dims["m"] * op.dims["k"])

    def output_bytes(self, op: Op) -> int:
        return bytes_of(op.dims["m"] * op.dims["n"], op.dtype)


LINEAR = KINDS.register("linear")(LinearKind())
