# SPDX-License-Identifier: Apache-2.0
"""Element types and tensor shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from operator import index
from typing import Any, Self

from simsparse.errors import SpecError, nearest


class DType(StrEnum):
    """Element types of tensors, named as in torch's short forms; ``bits`` that one element takes in memory."""

    bits: int

    FP64 = "fp64", 64
    FP32 = "fp32", 32
    TF32 = "tf32", 32
    BF16 = "bf16", 16
    FP16 = "fp16", 16
    FP8 = "fp8", 8
    INT64 = "int64", 64
    INT32 = "int32", 32
    INT16 = "int16", 16
    INT8 = "int8", 8
    INT4 = "int4", 4
    INT2 = "int2", 2
    BOOL = "bool", 8

    def __new__(cls, text: str, bits: int = 0) -> Self:
        member = str.__new__(cls, text)
        member._value_, member.bits = text, bits
        return member

    @classmethod
    def parse(cls, text: str | DType) -> DType:
        """The type called ``text``; torch's long names are taken too. Raises SpecError."""
        name = str(text).removeprefix("torch.").lower()
        name = _ALIASES.get(name, name)
        try:
            return cls(name)
        except ValueError:
            raise SpecError(f"{text!r} is not a dtype; {nearest(name, cls)}", key="dtype") from None


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
