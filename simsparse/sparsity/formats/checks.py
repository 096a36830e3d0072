# SPDX-License-Identifier: Apache-2.0
"""What a decoder asks of the buffers it gets; a SpecError names the format, the buffer and the number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats.base import POINTER_BITS, Array, Encoded
from simsparse.sparsity.formats.bits import unpack


def stored_values(encoded: Encoded, form: str, units: int, per_unit: int = 1) -> Array:
    """The values, when they are ``units`` x ``per_unit``. Raises SpecError otherwise."""
    if encoded.units != units:
        raise SpecError(f"{encoded.units} units; a matrix of shape {encoded.shape} takes {units}", key=form)
    if encoded.values.shape != (units * per_unit,):
        raise SpecError(f"shape {encoded.values.shape}; expected ({units * per_unit},)", key=f"{form}.values")
    return encoded.values


def stored_numbers(encoded: Encoded, form: str, buffer: str, width: int, count: int) -> NDArray[np.int64]:
    """``count`` numbers of ``width`` bits from ``buffer``. Raises SpecError when it is not as long as that."""
    if buffer not in encoded.metadata:
        raise SpecError(f"no such buffer; there are {sorted(encoded.metadata)}", key=f"{form}.{buffer}")
    packed, bits = encoded.metadata[buffer], width * count
    if packed.dtype != np.uint8 or packed.shape != (-(-bits // 8),):
        wrong = f"{packed.dtype} of shape {packed.shape}; expected {-(-bits // 8)} bytes"
        raise SpecError(wrong, key=f"{form}.{buffer}")
    if (said := encoded.metadata_bits.get(buffer, bits)) != bits:
        raise SpecError(f"{said} bits in use; expected {bits}", key=f"{form}.{buffer}")
    return unpack(packed, width, count)


def below(numbers: NDArray[np.int64], limit: int | NDArray[np.int64], form: str, buffer: str) -> None:
    """Raises SpecError when one of ``numbers`` reaches ``limit``."""
    over = np.flatnonzero((numbers >= limit).reshape(-1))
    if over.size:
        place = int(over[0])
        allowed = int(np.broadcast_to(limit, numbers.shape).reshape(-1)[place])
        wrong = f"number {place} is {int(numbers.reshape(-1)[place])}; expected less than {allowed}"
        raise SpecError(wrong, key=f"{form}.{buffer}")


def ascending(numbers: NDArray[np.int64], form: str, buffer: str) -> None:
    """Raises SpecError when ``numbers`` do not ascend, each above the one before, along the last axis."""
    if (down := np.argwhere(np.diff(numbers, axis=-1) <= 0)).size:
        place = ", ".join(str(int(number)) for number in (*down[0][:-1], down[0][-1] + 1))
        raise SpecError(f"number {place} is not above the one before it", key=f"{form}.{buffer}")


def stored_pointers(encoded: Encoded, form: str, rows: int) -> NDArray[np.int64]:
    """Where each of ``rows`` begins, and the end. Raises SpecError unless they go from 0 to the units."""
    pointers = stored_numbers(encoded, form, "pointers", POINTER_BITS, rows + 1)
    if (down := np.flatnonzero(np.diff(pointers) < 0)).size:
        raise SpecError(f"row {int(down[0])} ends before it begins", key=f"{form}.pointers")
    if (ends := (int(pointers[0]), int(pointers[-1]))) != (0, encoded.units):
        raise SpecError(f"from {ends[0]} to {ends[1]}; expected 0 to {encoded.units}", key=f"{form}.pointers")
    return pointers


def cropped(array: NDArray[Any], shape: tuple[int, int], form: str) -> Array:
    """``array`` without the padding beyond ``shape``. Raises SpecError when the padding holds a value."""
    rows, cols = shape
    if np.any(array[rows:]) or np.any(array[:, cols:]):
        raise SpecError(f"a value lies beyond the matrix's shape {shape}", key=f"{form}.values")
    return array[:rows, :cols]
