# SPDX-License-Identifier: Apache-2.0
"""Weights of an ONNX model: values that follow from initializers alone, how they are stored, and their sparsity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.core import DENSE, DType, Sparsity
from simsparse.core.tensor import TensorSpec
from simsparse.errors import TraceError
from simsparse.trace.interchange import onnx_names as names
from simsparse.trace.interchange.base import Notes, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_ELEMENTS = 2**40
Facts = tuple[Sparsity, dict[str, Any]]


@dataclass(frozen=True)
class OnnxWeight:
    """What an initializer becomes on its way to the op that reads it.

    ``tensor`` is the initializer, None where its values can't be followed; ``dtype`` the type that it is stored in;
    ``steps`` how its axes move, ``transpose`` or ``reshape`` with their argument; ``zero`` the initializer of its zero
    point and ``axis`` where that lies.
    """

    tensor: Any
    dtype: DType | None
    steps: tuple[tuple[str, tuple[int, ...]], ...] = ()
    zero: Any = None
    axis: int = 1

    def moved(self, step: str, argument: Sequence[int]) -> OnnxWeight:
        """The weight behind a transpose or reshape."""
        return replace(self, steps=(*self.steps, (step, tuple(argument))))


@dataclass
class OnnxWeights:
    """Measures weights, each arrangement of one once."""

    path: Path
    notes: Notes
    _facts: dict[object, Facts] = field(default_factory=dict)

    def facts(
        self, name: str, weight: OnnxWeight | None, arrange: Sequence[int], reduced: int, groups: int = 1
    ) -> Facts:
        """Pattern and facts of a weight with its axes in the order ``arrange``, the last ``reduced`` as one row.

        ``groups``: the first axis is cut in so many groups first, which are rows. Dense where the values are not in
        the file.
        """
        if weight is None or weight.tensor is None:
            self.notes.add("weights that other nodes transform first are taken as dense", printable(name))
            return DENSE, {}
        if _is_elsewhere(weight.tensor):
            self.notes.add("weights in other files are taken as dense", printable(name))
            return DENSE, {}
        key = (weight.tensor.name, weight.steps, tuple(arrange), reduced, groups)
        if key not in self._facts:
            mask = self._mask(weight)
            self._facts[key] = _measured(mask, weight.dtype, arrange, reduced, groups)
        return self._facts[key]

    def whole(self, weight: OnnxWeight) -> int | None:
        """The whole number that a weight of one element is; None of any other."""
        if weight.tensor is None or _is_elsewhere(weight.tensor) or math.prod(weight.tensor.dims) != 1:
            return None
        value = self._values(weight.tensor).reshape(-1)[0]
        return int(value) if int(value) == value else None

    def _mask(self, weight: OnnxWeight) -> NDArray[np.bool_]:
        """Which values differ from zero, in the arrangement that the op reads."""
        import numpy as np

        values = self._values(weight.tensor)
        zero = self._values(weight.zero) if weight.zero is not None else None
        if zero is not None and zero.size and zero.any():
            mask = np.asarray(values != _along(zero, values, weight.axis))
        else:
            mask = np.asarray(values != 0)
        try:
            for step, argument in weight.steps:
                mask = mask.transpose(argument) if step == "transpose" else mask.reshape(argument)
        except ValueError as error:
            raise TraceError(f"{printable(weight.tensor.name, 60)} has another shape than its nodes say") from error
        return mask

    def _values(self, tensor: Any) -> Any:
        from onnx import numpy_helper

        try:
            return numpy_helper.to_array(tensor)
        except (ValueError, TypeError, RuntimeError, KeyError) as error:
            raise TraceError(f"{printable(tensor.name, 60)} is damaged: {error!s:.120}", file=str(self.path)) from error


def _is_elsewhere(tensor: Any) -> bool:
    return bool(tensor.data_location == 1)


def _along(zero: Any, values: Any, axis: int) -> Any:
    """Zero points along ``axis`` in a shape that spreads over ``values``; the first one where they do not fit."""
    if zero.ndim == 1 and zero.size > 1 and values.ndim and zero.size == values.shape[axis % values.ndim]:
        return zero.reshape([-1 if i == axis % values.ndim else 1 for i in range(values.ndim)])
    return zero.reshape(-1)[0]


def _measured(mask: NDArray[np.bool_], dtype: DType | None, arrange: Sequence[int], reduced: int, groups: int) -> Facts:
    """Measured on rows (n, k): reduced axes innermost."""
    import numpy as np

    from simsparse.trace.statistics.mask_facts import mask_facts, nm_patterns, pattern_of

    if groups > 1:
        mask = mask.reshape(groups, mask.shape[0] // groups, *mask.shape[1:])
        arrange = [0, *(axis + 1 for axis in arrange)]
    rows = mask.transpose(arrange)
    width = math.prod(rows.shape[rows.ndim - reduced :])
    rows = np.ascontiguousarray(rows.reshape(-1, width))
    facts: dict[str, Any] = {"density": round(int(np.count_nonzero(rows)) / rows.size, 6),
                             "nm": [str(pattern) for pattern in nm_patterns(rows)]}  # fmt: skip
    if not rows.all():
        facts["weight"] = mask_facts(rows)
    return pattern_of(rows, dtype.bits if dtype else 16), facts


def shaped(dims: Sequence[int], type_: int) -> TensorSpec | None:
    """The tensor of a TensorProto's dims and type, None where the type is none that a trace has. Raises TraceError."""
    shape, dtype = tuple(dims), names.DTYPES.get(type_)
    if min(shape, default=0) < 0 or len(shape) > 64 or math.prod(shape) > MAX_ELEMENTS:
        raise TraceError(f"{shape!r:.80} is not a shape")
    return TensorSpec(shape, DType(dtype)) if dtype else None
