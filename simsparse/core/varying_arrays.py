# SPDX-License-Identifier: Apache-2.0
"""What models use in place of Python's and numpy's own where a number may differ between machines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import accumulate
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simsparse.core.varying import MOST_WHOLE, NotTogether, Varying, spread, take


def array_of(value: Any, dtype: Any = None) -> NDArray[Any]:
    """``value`` as an array."""
    if isinstance(value, Varying):
        return value if dtype is None or value.dtype == dtype else value.astype(dtype)  # type: ignore[return-value]
    return np.asarray(value, dtype)


def contiguous(value: Any) -> NDArray[Any]:
    """An array with its numbers one beside the other."""
    if isinstance(value, Varying):
        return Varying(np.ascontiguousarray(value.data))  # type: ignore[return-value]
    return np.ascontiguousarray(value)


def taken(values: Any, indices: Any, axis: int | None = None) -> NDArray[Any]:
    """The elements at ``indices`` along an axis, the last where they differ between machines."""
    if isinstance(indices, Varying):
        return take(values, indices, axis)  # type: ignore[return-value]
    found: NDArray[Any] = values.take(indices, axis)
    return found


def occurs(value: Any) -> bool:
    """Whether ``value`` is anything but 0, on one machine at least."""
    return bool(value.data.any()) if isinstance(value, Varying) else bool(value)


def whole(value: Any) -> int:
    """``value`` cut to a whole number."""
    return value.__trunc__() if isinstance(value, Varying) else int(value)  # type: ignore[return-value]


def filled(count: int, value: Any) -> NDArray[Any]:
    """An array of ``count`` times ``value``."""
    return np.broadcast_to(value, count) if isinstance(value, Varying) else np.full(count, value)


def stacked(values: Sequence[Any]) -> NDArray[Any]:
    """An array of numbers, or of arrays of one shape."""
    return np.stack(values) if _varies(values) else np.array(values)


def scattered(parts: Sequence[tuple[NDArray[np.intp], Sequence[Any]]], rows: int, count: int) -> NDArray[Any]:
    """An array (rows, count) of zeros in which the columns ``place`` of each part have its rows."""
    found = np.zeros((rows, count))
    varied = next((len(row.data) for _, own in parts for row in own if isinstance(row, Varying)), 0)
    if varied:
        found = Varying(np.zeros((varied, rows, count)))  # type: ignore[assignment]
    for place, own in parts:
        found[:, place] = own
    return found


def _varies(values: Sequence[Any]) -> bool:
    """Whether one of ``values`` differs between machines."""
    return any(issubclass(kind, Varying) for kind in set(map(type, values)))


def running_sums(values: Sequence[Any]) -> list[Any]:
    """The sums of the first one, two, ... of ``values``, added one after another."""
    if not _varies(values):
        return list(accumulate(values))
    rows = np.stack(spread(values))
    if rows.dtype.kind == "i" and np.abs(rows).max() >= MOST_WHOLE / len(rows):
        raise NotTogether("a whole number beyond 64 bits")
    return list(map(Varying, np.add.accumulate(rows, axis=0)))


def added(values: Sequence[float]) -> float:
    """The sum of ``values``, added one after another, which sum() does not do on all versions of Python."""
    if _varies(values):
        return running_sums(values)[-1]  # type: ignore[no-any-return]
    return reduce(add, values, 0.0)


def root(value: Any) -> Any:
    """The square root of a number."""
    return np.sqrt(value) if isinstance(value, Varying) else math.sqrt(value)


def larger(first: Any, second: Any) -> Any:
    """The larger of two numbers."""
    if isinstance(first, Varying) or isinstance(second, Varying):
        return np.maximum(first, second)
    return max(first, second)


def smaller(first: Any, second: Any) -> Any:
    """The smaller of two numbers."""
    if isinstance(first, Varying) or isinstance(second, Varying):
        return np.minimum(first, second)
    return min(first, second)
