# SPDX-License-Identifier: Apache-2.0
"""Operators known by the bytes they move and the FLOPs they do: activations, additions, fused chains of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS, MovedKind
from simsparse.core.op import Op
from simsparse.core.tensor import DType


def elementwise(
    read_bytes: int, write_bytes: int, flops: int = 0, dtype: str | DType = "bf16", *, label: str = "elementwise",
    name: str = "elementwise", **fields: Any,
) -> Op:  # fmt: skip
    """An operator bound by the bytes it moves: norm, activation, addition, rotary embedding, gather."""
    dims = {"read_bytes": read_bytes, "write_bytes": write_bytes, "flops": flops}
    return Op(ELEMENTWISE.name, name, dims, DType.parse(dtype), label=label, **fields)


class ElementwiseKind(MovedKind):
    """Bytes read and written, and FLOPs; nothing else is known of the op."""

    name = "elementwise"
    dims = ("read_bytes", "write_bytes", "flops")
    batch_dims = ("read_bytes", "write_bytes", "flops")
    zero_dims = frozenset(dims)

    @property
    def factory(self) -> Callable[..., Op]:
        return elementwise

    def examples(self, dtype: str) -> list[Op]:
        make = self.factory
        return [make(1 << 20, 1 << 19, 1 << 20, dtype, name=self.name), make(0, 16, 0, dtype, name=f"{self.name}-fill")]


ELEMENTWISE = KINDS.register("elementwise")(ElementwiseKind())
