# SPDX-License-Identifier: Apache-2.0
"""What closed-form device models share: which contributor dominates, what is refused, whole numbers of a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from simsparse.config.quantity import Part, Quantity
from simsparse.core import Op
from simsparse.core.varying_arrays import stacked
from simsparse.devices.base import Device, Floats
from simsparse.errors import MappingError, SpecError


def dominant(contributors: Mapping[str, Floats]) -> NDArray[np.intp]:
    """Per op the index of the longest contributor; the first of equals."""
    longest: NDArray[np.intp] = stacked(list(contributors.values())).argmax(axis=0)
    return longest


def require_supported(device: Device, ops: Sequence[Op]) -> None:
    """Raises MappingError that names the first op which ``device`` can't run, and why."""
    for op in ops:
        if reason := device.supports(op):
            raise MappingError(f"can't run on {device.part.name}: {reason}", key=op.name)


def whole(part: Part, key: str, quantity: Quantity) -> int:
    """``quantity`` as a whole number. Raises SpecError that names the part and the key."""
    try:
        return quantity.whole
    except ValueError as error:
        raise SpecError(f"{part.name}: {error}", key=key) from None
