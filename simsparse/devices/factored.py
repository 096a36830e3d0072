# SPDX-License-Identifier: Apache-2.0
"""Linear layers whose weight is a product or a sum of matrices, as the products that a device runs in turn."""

from __future__ import annotations

from simsparse.core import Op, OpKind
from simsparse.sparsity import DENSE, USUAL, Factor


def parts_of(op: Op) -> tuple[Op, ...]:
    """The products of the factors of ``op``'s weight; the op itself where its kind or its format has no factors.

    Blocks on a diagonal are a batch of matrix products, another factor is a linear layer of its own. Each product
    reads its inputs and writes its results. Left out: the bias, and fusion of the products.
    """
    if op.kind != OpKind.LINEAR or not op.weight_sparsity.is_factored or op.weight_format == "dense":
        return (op,)
    factors = op.weight_sparsity.factors(op.dims["n"], op.dims["k"])
    return tuple(_product(op, factor, f"{op.name}.factor{i}") for i, factor in enumerate(factors))


def _product(op: Op, factor: Factor, name: str) -> Op:
    dims, groups = {"m": op.dims["m"], "n": factor.rows, "k": factor.cols}, op.dims.get("groups", 1)
    if factor.count > 1:
        return Op(OpKind.MATMUL, name, {"batch": groups * factor.count, **dims}, op.dtype, op.weight_dtype)
    dims["groups"] = groups
    inputs = op.input_sparsity if factor.cols == op.dims["k"] else DENSE
    storage = USUAL if factor.sparsity.is_dense else op.weight_format
    return Op(OpKind.LINEAR, name, dims, op.dtype, op.weight_dtype, factor.sparsity, inputs, storage)
