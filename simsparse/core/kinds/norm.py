# SPDX-License-Identifier: Apache-2.0
"""Norms over the last dimension: RMS norm and layer norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS, VectorKind, bias_bytes, flag, positive
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of


def norm(
    rows: int,
    cols: int,
    dtype: str | DType = "bf16",
    *,
    centred: bool = False,
    affine: bool = True,
    name: str = "norm",
    **fields: Any,
) -> Op:
    """A norm of ``rows`` vectors of ``cols`` elements: RMS norm, or layer norm where ``centred``.

    ``affine``: each element is multiplied by a parameter; ``bias=True`` adds another. Raises SpecError on a bad dim or
    dtype.
    """
    dims = {**positive(rows=rows, cols=cols), "centred": flag("centred", centred), "affine": flag("affine", affine)}
    return Op(NORM.name, name, dims, DType.parse(dtype), **fields)


class NormKind(VectorKind):
    """``rows`` vectors of ``cols``, each divided by its root mean square, or by its deviation where ``centred``."""

    name = "norm"
    dims = ("rows", "cols", "centred", "affine")
    batch_dims = ("rows",)
    flags = frozenset({"centred", "affine"})

    @property
    def factory(self) -> Callable[..., Op]:
        return norm

    def examples(self, dtype: str) -> list[Op]:
        return [
            norm(1, 64, dtype, affine=False, name="norm-small"),
            norm(4096, 4096, dtype, name="rmsnorm"),
            norm(512, 768, dtype, centred=True, bias=True, name="layernorm"),
        ]

    def flops(self, op: Op) -> int:
        """Per element: square, sum, scale; subtract the mean and sum for it; multiply and add the parameters."""
        d = op.dims
        return d["rows"] * d["cols"] * (3 + 2 * d["centred"] + d["affine"] + op.bias)

    def weight_bytes(self, op: Op) -> int:
        return op.dims["affine"] * bytes_of(op.dims["cols"], op.w_dtype) + bias_bytes(op, op.dims["cols"])

    def input_bytes(self, op: Op) -> int:
        return bytes_of(op.dims["rows"] * op.dims["cols"], op.dtype)

    def output_bytes(self, op: Op) -> int:
        return self.input_bytes(op)


NORM = KINDS.register("norm")(NormKind())
