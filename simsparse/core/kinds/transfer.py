# SPDX-License-Identifier: Apache-2.0
"""Copies from one device to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS, Kind, Unit, positive
from simsparse.core.op import Op
from simsparse.core.tensor import DType


def transfer(bytes: int, src: str, dst: str, *, name: str = "transfer", **fields: Any) -> Op:
    """A copy of ``bytes`` from device ``src`` to device ``dst``. Raises SpecError when ``bytes`` is not positive."""
    return Op(TRANSFER.name, name, positive(bytes=bytes), DType.INT8, src=src, dst=dst, **fields)


class TransferKind(Kind):
    """``bytes`` that are read at one device, cross the links and are written at another."""

    name = "transfer"
    dims = ("bytes",)
    batch_dims = ("bytes",)
    unit = Unit.LINK

    @property
    def factory(self) -> Callable[..., Op]:
        return transfer

    def examples(self, dtype: str) -> list[Op]:
        del dtype
        return [transfer(1 << 20, "a", "b")]

    def input_bytes(self, op: Op) -> int:
        return op.dims["bytes"]

    def output_bytes(self, op: Op) -> int:
        return op.dims["bytes"]


TRANSFER = KINDS.register("transfer")(TransferKind())
