# SPDX-License-Identifier: Apache-2.0
"""Operators that a capture or an import did not understand, kept with their bytes and FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS
from simsparse.core.kinds.elementwise import ElementwiseKind
from simsparse.core.op import Op
from simsparse.core.tensor import DType


def other(
    read_bytes: int, write_bytes: int, flops: int = 0, dtype: str | DType = "bf16", *, label: str = "other",
    name: str = "other", **fields: Any,
) -> Op:  # fmt: skip
    """An operator of which only the bytes and FLOPs are known; ``label`` is the name that its source gives it."""
    dims = {"read_bytes": read_bytes, "write_bytes": write_bytes, "flops": flops}
    return Op(OTHER.name, name, dims, DType.parse(dtype), label=label, **fields)


class OtherKind(ElementwiseKind):
    """As elementwise; a kind of its own, so that reports state the share that was not understood."""

    name = "other"

    @property
    def factory(self) -> Callable[..., Op]:
        return other


OTHER = KINDS.register("other")(OtherKind())
