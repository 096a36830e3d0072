# SPDX-License-Identifier: Apache-2.0
"""Linear layers: activations by one weight."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from simsparse.core.kind import (
    KINDS,
    Gemm,
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
    output_dtype: str | DType | None = None,
    groups: int = 1,
    held: int = 0,
    held_k: int = 0,
    name: str = "linear",
    **fields: Any,
) -> Op:
    """``y[m, n] = x[m, k] @ w[n, k].T``, or ``groups`` of them, each with inputs and a weight of its own.

    ``held``: weights in memory, where these are more than run; ``held_k``: inputs of a weight in memory, where these
    are more than are read. Raises SpecError on a bad dim, dtype or sparsity.
    """
    return Op(
        LINEAR.name, name, {**positive(m=m, n=n, k=k, groups=groups), "held": held, "held_k": held_k},
        DType.parse(dtype),
        weight_dtype=optional_dtype(weight_dtype), output_dtype=optional_dtype(output_dtype),
        weight_sparsity=Sparsity.parse(weight_sparsity), input_sparsity=Sparsity.parse(input_sparsity), **fields,
    )  # fmt: skip


class LinearKind(Kind):
    """``y[m, n] = x[m, k] @ w[n, k].T``: m tokens, n outputs, k inputs; ``groups`` of them run as one batch."""

    name = "linear"
    dims = ("m", "n", "k")
    batch_dims = ("m",)
    optional_dims = MappingProxyType({"groups": 1, "held": 0, "held_k": 0})
    zero_dims = frozenset({"held", "held_k"})
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
            linear(8, 64, 96, dtype, groups=4, name="grouped"),
            linear(3, 5, 7, dtype, name="tiny"),
            linear(1, 4096, 11007, dtype, weight_sparsity="2:4", name="ragged"),
        ]  # fmt: skip

    def gemms(self, op: Op) -> tuple[tuple[int, int, int, int], ...]:
        dims = op.dims
        return ((dims.get("groups", 1), dims["m"], dims["n"], dims["k"]),)

    def products(self, op: Op) -> tuple[Gemm, ...]:
        ((count, m, n, k),) = self.gemms(op)
        return (Gemm(count, m, n, k, None, m * k * op.dtype.bits / 8, m * n * op.out_dtype.bits / 8),)

    def weight_bytes(self, op: Op) -> int:
        n = op.dims["n"]
        return self._groups(op) * (stored_bytes(op, n, op.dims["k"]) + bias_bytes(op, n))

    def resident_bytes(self, op: Op) -> int:
        """Weights of the groups that run, or of all that are held, with all of their inputs."""
        groups, n, inputs = self._groups(op), op.dims["n"], max(op.dims["k"], op.dims.get("held_k", 0))
        one = stored_bytes(op, n, inputs) + bias_bytes(op, n)
        return one * max(groups, op.dims.get("held", 0))

    def input_bytes(self, op: Op) -> int:
        return activation_bytes(op, self._groups(op) * op.dims["m"], op.dims["k"])

    def output_bytes(self, op: Op) -> int:
        return bytes_of(self._groups(op) * op.dims["m"] * op.dims["n"], op.out_dtype)

    def _groups(self, op: Op) -> int:
        return op.dims.get("groups", 1)


LINEAR = KINDS.register("linear")(LinearKind())
