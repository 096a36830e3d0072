# SPDX-License-Identifier: Apache-2.0
"""Element types and tensor shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from operator import index
from typing import Any

from simsparse.errors import SpecError, nearest


class DType(StrEnum):
    """Element types of tensors, named as in torch's short forms."""

    FP64 = "fp64"
    FP32 = "fp32"
    TF32 = "tf32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT64 = "int64"
    INT32 = "int32"
    INT16 = "int16"
    INT8 = "int8"
    INT4 = "int4"
    BOOL = "bool"

    @property
    def bits(self) -> int:
        """Bits that one element takes in memory."""
        return _BITS[self]

    @classmethod
    def parse(cls, text: str | DType) -> DType:
        """The type called ``text``; torch's long names are taken too. Raises SpecError."""
        name = str(text).removeprefix("torch.").lower()
        name = _ALIASES.get(name, name)
        try:
            return cls(name)
        except ValueError:
            raise SpecError(f"{text!r} is not a dtype; {nearest(name, cls)}", key="dtype") from None


_BITS = {
    DType.FP64: 64, DType.FP32: 32, DType.TF32: 32, DType.BF16: 16, DType.FP16: 16, DType.FP8: 8,
    DType.INT64: 64, DType.INT32: 32, DType.INT16: 16, DType.INT8: 8, DType.INT4: 4, DType.BOOL: 8,
}  # fmt: skip
_ALIASES = {
    "float64": "fp64", "double": "fp64", "float32": "fp32", "float": "fp32", "bfloat16": "bf16",
    "float16": "fp16", "half": "fp16", "float8_e4m3fn": "fp8", "float8_e5m2": "fp8", "fp8_e4m3": "fp8",
    "uint8": "int8", "long": "int64", "int": "int32",
}  # fmt: skip


def whole(value: Any) -> int | None:
    """``value`` as a plain int, of numpy's integers too; None where it is no whole number or a truth value."""
    if type(value) is int:
        return value
    try:
        return None if isinstance(value, bool) else index(value)
    except TypeError:
        return None


def bytes_of(elements: int, dtype: DType) -> int:
    """Bytes of ``elements`` of ``dtype``, rounded up to a whole byte."""
    return -(-elements * dtype.bits // 8)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and element type of a tensor, without its values."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return bytes_of(self.elements, self.dtype)
