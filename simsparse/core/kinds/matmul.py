# SPDX-License-Identifier: Apache-2.0
"""Batched products of two activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS, Gemm, Kind, Unit, activation_bytes, optional_dtype, positive
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of


def matmul(
    batch: int, m: int, n: int, k: int, dtype: str | DType = "bf16", *, output_dtype: str | DType | None = None,
    name: str = "matmul", **fields: Any,
) -> Op:  # fmt: skip
    """``batch`` products of two activations, (m, k) by (k, n). Raises SpecError on a bad dim or dtype."""
    dims, made = positive(batch=batch, m=m, n=n, k=k), optional_dtype(output_dtype)
    return Op(MATMUL.name, name, dims, DType.parse(dtype), output_dtype=made, **fields)


class MatmulKind(Kind):
    """``batch`` products (m, k) by (k, n), none of them with a weight."""

    name = "matmul"
    dims = ("batch", "m", "n", "k")
    batch_dims = ("batch",)
    unit = Unit.MATRIX

    @property
    def factory(self) -> Callable[..., Op]:
        return matmul

    def examples(self, dtype: str) -> list[Op]:
        return [matmul(4, 64, 48, 96, dtype)]

    def gemms(self, op: Op) -> tuple[tuple[int, int, int, int], ...]:
        d = op.dims
        return ((d["batch"], d["m"], d["n"], d["k"]),)

    def products(self, op: Op) -> tuple[Gemm, ...]:
        ((count, m, n, k),) = self.gemms(op)
        size = op.dtype.bits / 8
        return (Gemm(count, m, n, k, n * k * size, m * k * size, m * n * op.out_dtype.bits / 8),)

    def input_bytes(self, op: Op) -> int:
        d = op.dims
        return activation_bytes(op, d["batch"] * (d["m"] + d["n"]), d["k"])

    def output_bytes(self, op: Op) -> int:
        d = op.dims
        return bytes_of(d["batch"] * d["m"] * d["n"], op.out_dtype)


MATMUL = KINDS.register("matmul")(MatmulKind())
