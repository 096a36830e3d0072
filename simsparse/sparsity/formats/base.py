# SPDX-License-Identifier: Apache-2.0
"""What every format is: real buffers out, the array back, and a formula for the bits between."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.registry import Registry
from simsparse.sparsity.formats.sampled import sampled_units
from simsparse.sparsity.statement import Sparsity

Array = NDArray[Any]
POINTER_BITS = 32


@dataclass(frozen=True)
class Encoded:
    """An array in a format.

    ``values`` are the stored elements, padding zeros included. ``metadata`` are the other buffers,
    bit-packed into bytes; ``metadata_bits`` says how many of their bits are used. ``units`` is how
    many things the format stores one by one: elements, or blocks.
    """

    shape: tuple[int, int]
    values: Array
    metadata: Mapping[str, NDArray[np.uint8]]
    metadata_bits: Mapping[str, int]
    units: int

    @property
    def buffers(self) -> dict[str, Array]:
        """All buffers by name."""
        return {"values": self.values, **self.metadata}

    def bits(self, value_bits: int) -> int:
        """Bits in use when an element takes ``value_bits``."""
        return self.values.size * value_bits + sum(self.metadata_bits.values())

    def stored_bytes(self, value_bits: int) -> int:
        """Bytes when an element takes ``value_bits`` and each buffer begins at a byte."""
        return -(-self.values.size * value_bits // 8) + sum(buffer.nbytes for buffer in self.metadata.values())


class Format(ABC):
    """A way to store a matrix (rows, cols) whose rows run along the reduction dimension k.

    ``parameters`` name the whole numbers that its text may give after its name, in order.
    """

    name: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def read(cls, *numbers: int) -> Format:
        """The format with these ``parameters``. Raises SpecError when they are not allowed."""
        return cls(*numbers)

    @classmethod
    def of(cls, sparsity: Sparsity, shape: tuple[int, int], value_bits: int) -> Format:
        """The format with the parameters that suit a matrix of ``sparsity``. Raises SpecError when none do."""
        del shape, value_bits
        for text in sparsity.usual:
            name, *numbers = text.split(":")
            if name == cls.name:
                return cls.read(*map(int, numbers))
        if cls.parameters:
            wanted = ":".join([cls.name, *(name.upper() for name in cls.parameters)])
            raise SpecError(f"{sparsity} weights do not say the parameters of {cls.name}; give {wanted}", key=cls.name)
        return cls()

    @abstractmethod
    def encode(self, array: Array) -> Encoded:
        """``array`` (rows, cols) in this format. Raises SpecError when its zeros do not fit it."""

    @abstractmethod
    def decode(self, encoded: Encoded) -> Array:
        """The array that was encoded. Raises SpecError when the buffers are not those of such an array."""

    @abstractmethod
    def units(self, mask: NDArray[np.bool_]) -> int:
        """How many units a matrix with non-zeros at ``mask`` (rows, cols) takes in this format."""

    @abstractmethod
    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        """Bits of a matrix of ``shape`` with ``units`` stored units, metadata included."""

    def refusal(self, sparsity: Sparsity, shape: tuple[int, int]) -> str | None:
        """Why the format cannot hold every matrix of ``sparsity``, None when it can."""
        del sparsity, shape
        return None

    def pattern_units(self, sparsity: Sparsity, shape: tuple[int, int]) -> int:
        """Units of a matrix of ``sparsity``: exact where the pattern fixes them, else those of a draw."""
        return sampled_units(self, sparsity, shape)

    def pattern_bits(self, sparsity: Sparsity, shape: tuple[int, int], value_bits: int) -> int:
        """Bits of a matrix of ``sparsity`` that the format can hold, metadata included."""
        return self.stored_bits(shape, self.pattern_units(sparsity, shape), value_bits)

    @property
    def rows_together(self) -> int:
        """Rows that are stored together; a sample counts whole multiples of them."""
        return 1

    def signs(self, mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[Any]:
        """What ``units`` counts for non-zeros at ``mask`` (rows, cols) of unknown values."""
        del rng
        return mask


FORMATS: Registry[type[Format]] = Registry("format", package="simsparse.sparsity.formats")


class SingleElements(Format):
    """A format that stores the non-zeros of any matrix one by one."""

    def pattern_units(self, sparsity: Sparsity, shape: tuple[int, int]) -> int:
        return sparsity.nonzeros(*shape)


def matrix(array: Array) -> Array:
    """``array`` when it is a matrix. Raises SpecError otherwise."""
    if array.ndim != 2:
        raise SpecError(f"{array.ndim} dimensions; expected a matrix (rows, cols)", key="array")
    return array
