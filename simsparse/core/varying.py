# SPDX-License-Identifier: Apache-2.0
"""Numbers that differ between machines, computed for all of these at once.

A ``Varying`` stands where a number or an array of numbers stands: the models compute with it as they do with one
machine's numbers, and each operation is done for all machines. Where a model decides, by a comparison or by taking a
number as an index, the machines that decide in the same way go on together: ``Parted`` says which these are, and each
group is run again from its beginning. So decisions are those of one machine alone, and so are all numbers, to the last
bit: elementwise arithmetic does not depend on what stands beside a number, and sums are taken in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

MOST_GROUPS = 256
"""Groups that machines part into at one decision at most."""
EXACT = 2**53
"""Whole numbers below this are floats without rounding."""
MOST_WHOLE = 2**62
Places = NDArray[np.intp]


class Parted(Exception):
    """Machines decide differently; ``groups`` are their places, by what they decide."""

    def __init__(self, groups: Sequence[Places]) -> None:
        super().__init__(f"{len(groups)} groups")
        self.groups = groups


class NotTogether(Exception):
    """What the models do with a number can't be done for several machines at once."""


class Varying(NDArrayOperatorsMixin):
    """A number or an array for each machine: ``data`` has a machine per row. ``shape`` is that of one machine's."""

    __slots__ = ("data",)
    __array_priority__ = 1000

    def __init__(self, data: NDArray[Any]) -> None:
        if data.dtype.kind not in "fib":
            raise NotTogether(f"values of type {data.dtype}")
        self.data = data

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape[1:]

    @property
    def ndim(self) -> int:
        return self.data.ndim - 1

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    @property
    def T(self) -> Varying:
        return Varying(self.data.transpose(0, *range(self.ndim, 0, -1)))

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("a number has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Varying]:
        return (Varying(self.data[:, i]) for i in range(len(self)))

    def tolist(self) -> Any:
        """Lists of numbers; the number itself where there is one."""
        return [each.tolist() for each in self] if self.ndim else self

    # Decisions: all machines alike, or parted by what they decide.

    def alike(self) -> Any:
        """The one machine's value that all have. Raises Parted where they differ, NotTogether where they do much."""
        first = self.data[:1]
        if (self.data == first).all():
            return self.data[0]
        rows = np.ascontiguousarray(self.data).reshape(len(self.data), -1)
        _, numbers = np.unique(rows, axis=0, return_inverse=True)
        numbers = numbers.ravel()
        if (count := int(numbers.max()) + 1) > MOST_GROUPS:
            raise NotTogether(f"{count} different values")
        order = np.argsort(numbers, kind="stable")
        raise Parted(np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1))

    def __bool__(self) -> bool:
        return _truth(self)

    def __float__(self) -> float:
        return float(self.alike())

    def __int__(self) -> int:
        return int(self.alike())

    def __index__(self) -> int:
        return int(self.alike())

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return np.array(self.alike(), dtype)

    def __str__(self) -> str:
        return str(self.alike())

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(self.alike().item(), spec)

    def __hash__(self) -> int:
        return id(self)

    # Whole numbers.

    def __ceil__(self) -> Varying:
        return self._whole(np.ceil)

    def __floor__(self) -> Varying:
        return self._whole(np.floor)

    def __trunc__(self) -> Varying:
        return self._whole(np.trunc)

    def __round__(self, digits: int | None = None) -> Varying:
        if digits is not None:
            raise NotTogether("rounding to digits")
        return self._whole(np.rint)

    def _whole(self, rounded: np.ufunc) -> Varying:
        if self.dtype.kind == "i":
            return self
        values = rounded(self.data)
        if not (np.abs(values) < MOST_WHOLE).all():
            raise NotTogether("a whole number beyond 64 bits")
        return Varying(values.astype(np.int64))

    # Arithmetic.

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if method == "reduce":
            found = self._reduced(ufunc, **kwargs)
        elif method == "__call__":
            found = _called(ufunc, inputs, kwargs)
        else:
            raise NotTogether(f"{ufunc.__name__}.{method}")
        if out is None:
            return found
        if not isinstance(out[0], Varying):
            raise NotTogether("a result in place of one machine's")
        out[0].data[...] = found.data
        return out[0]

    def _reduced(self, ufunc: np.ufunc, axis: Any = 0, keepdims: bool = False, dtype: Any = None,
                 initial: Any = np._NoValue, where: Any = np._NoValue) -> Varying:  # fmt: skip
        if where is not np._NoValue or isinstance(axis, tuple) or dtype is not None:
            raise NotTogether("a reduction of several axes")
        more = {} if initial is np._NoValue else {"initial": initial}
        if axis is None:
            flat = self.data.reshape(len(self.data), -1)
            return Varying(ufunc.reduce(flat, axis=1, **more))
        return Varying(ufunc.reduce(self.data, axis=self._axis(axis), keepdims=keepdims, **more))

    def _axis(self, axis: int) -> int:
        return axis + 1 if axis >= 0 else axis

    def __pow__(self, other: Any) -> Any:
        if self.ndim or (isinstance(other, Varying) and other.ndim):
            simple = _SIMPLE_POWERS.get(other) if isinstance(other, int | float) else None
            return simple(self) if simple else np.power(self, other)
        return _each(pow, self, other)

    def __rpow__(self, other: Any) -> Any:
        return np.power(other, self) if self.ndim or isinstance(other, np.ndarray) else _each(pow, other, self)

    def __truediv__(self, other: Any) -> Any:
        return _divided(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _divided(other, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    # Arrays.

    def __getitem__(self, key: Any) -> Varying:
        keys = key if isinstance(key, tuple) else (key,)
        if any(isinstance(each, Varying) for each in keys):
            keys = tuple(np.asarray(each) if isinstance(each, Varying) else each for each in keys)
        if sum(not isinstance(each, slice | int | None) and each is not Ellipsis for each in keys) > 1:
            raise NotTogether("an index of several arrays")
        return Varying(self.data[(slice(None), *keys)])

    def __setitem__(self, key: Any, value: Any) -> None:
        keys = key if isinstance(key, tuple) else (key,)
        if isinstance(value, tuple | list):
            value = _stack(value) if any(map(is_varying, value)) else np.array(value)
        place = self.data[(slice(None), *keys)]
        self.data[(slice(None), *keys)] = _aligned(value, place.ndim - 1)

    def take(self, indices: Any, axis: int | None = None) -> Varying:
        return take(self, indices, axis)

    def astype(self, dtype: Any) -> Varying:
        return Varying(self.data.astype(dtype))

    def copy(self) -> Varying:
        return Varying(self.data.copy())

    def reshape(self, *shape: Any) -> Varying:
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        return Varying(self.data.reshape(len(self.data), *wanted))

    def sum(self, axis: int | None = None, keepdims: bool = False) -> Varying:
        return self._reduced(np.add, axis, keepdims)

    def max(self, axis: int | None = None, keepdims: bool = False, initial: Any = np._NoValue) -> Varying:
        return self._reduced(np.maximum, axis, keepdims, initial=initial)

    def min(self, axis: int | None = None, keepdims: bool = False, initial: Any = np._NoValue) -> Varying:
        return self._reduced(np.minimum, axis, keepdims, initial=initial)

    def any(self, axis: int | None = None) -> Varying:
        return self._reduced(np.logical_or, axis)

    def all(self, axis: int | None = None) -> Varying:
        return self._reduced(np.logical_and, axis)

    def argmax(self, axis: int | None = None) -> Varying:
        return _argument(np.argmax, self, axis)

    def argmin(self, axis: int | None = None) -> Varying:
        return _argument(np.argmin, self, axis)

    def __array_function__(self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        if func not in _FUNCTIONS:
            raise NotTogether(f"numpy.{func.__name__}")
        return _FUNCTIONS[func](*args, **kwargs)


def is_varying(value: object) -> TypeGuard[Varying]:
    """Whether ``value`` differs between machines."""
    return isinstance(value, Varying)


def _truth(value: Varying) -> bool:
    if value.size != 1:
        raise ValueError("the truth of an array of several elements")
    return bool(np.ravel(Varying(value.data != 0).alike())[0])


_SIMPLE_POWERS: dict[float, Callable[[Any], Any]] = {
    1: np.positive, 2: np.square, 0.5: np.sqrt, -1: np.reciprocal,
}  # fmt: skip
"""What numpy computes in place of powers of an array."""


def _aligned(value: Any, ndim: int) -> Any:
    """``value``'s numbers so that those of one machine broadcast over ``ndim`` axes."""
    if not isinstance(value, Varying):
        return value
    data = value.data
    return data.reshape(len(data), *(1,) * (ndim - value.ndim), *value.shape) if value.ndim < ndim else data


def _most(values: Sequence[Any]) -> int:
    return max(value.ndim if isinstance(value, Varying) else np.ndim(value) for value in values)


def _called(ufunc: np.ufunc, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Varying:
    ndim = _most(inputs)
    found = ufunc(*(_aligned(each, ndim) for each in inputs), **kwargs)
    if found.dtype.kind == "i" and ufunc in _GROWING and not (np.abs(found) < MOST_WHOLE).all():
        raise NotTogether("a whole number beyond 64 bits")
    return Varying(found)


_GROWING = (np.add, np.subtract, np.multiply, np.left_shift, np.power)


def _divided(above: Any, below: Any) -> Any:
    """``above / below``; of whole numbers that are no floats, as Python divides them."""
    if all(_is_whole(each) for each in (above, below)) and not all(_is_exact(each) for each in (above, below)):
        return _each(lambda a, b: a / b, above, below)
    return np.true_divide(above, below)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, Varying) and value.dtype.kind == "i")


def _is_exact(value: Any) -> bool:
    return abs(value) < EXACT if isinstance(value, int) else bool((np.abs(value.data) < EXACT).all())


def _each(function: Callable[..., float], *values: Any) -> Varying:
    """What Python gives for the numbers of each machine."""
    count = next(len(each.data) for each in values if isinstance(each, Varying))
    columns = [each.data.tolist() if isinstance(each, Varying) else [each] * count for each in values]
    return Varying(np.array(list(map(function, *columns))))


def _argument(function: Callable[..., Any], values: Varying, axis: int | None) -> Varying:
    data = values.data.reshape(len(values.data), -1) if axis is None else values.data
    return Varying(np.asarray(function(data, axis=1 if axis is None else values._axis(axis))))


def take(values: Any, indices: Any, axis: int | None = None, **_: Any) -> Varying:
    """As numpy.take; indices may differ between machines, and so may values."""
    if not isinstance(indices, Varying):
        data = values.data
        if axis is None:
            return Varying(data.reshape(len(data), -1).take(indices, axis=1))
        return Varying(data.take(indices, axis=values._axis(axis)))
    last = -1 if axis is None else axis
    if last not in (-1, values.ndim - 1):
        raise NotTogether("indexes along an axis before the last")
    if not isinstance(values, Varying):
        own = np.ravel(values) if axis is None else values
        return Varying(np.moveaxis(np.take(own, indices.data, axis=-1), own.ndim - 1, 0))
    data, count = values.data, len(values.data)
    own = data.reshape(count, -1) if axis is None else data
    places = indices.data.reshape(count, *(1,) * (own.ndim - 2), -1)
    return Varying(np.take_along_axis(own, places, -1).reshape(*own.shape[:-1], *indices.shape))


def _take_along_axis(values: Any, indices: Any, axis: int) -> Varying:
    count = next(len(each.data) for each in (values, indices) if isinstance(each, Varying))
    ndim = _most((values, indices))
    own, places = (
        each.data if isinstance(each, Varying) else np.broadcast_to(each, (count, *np.shape(each)))
        for each in (values, indices)
    )
    return Varying(np.take_along_axis(own, places, axis + 1 if axis >= 0 else axis % ndim + 1))


def _where(condition: Any, first: Any, second: Any) -> Varying:
    ndim = _most((condition, first, second))
    return Varying(np.where(*(_aligned(each, ndim) for each in (condition, first, second))))


def spread(values: Sequence[Any]) -> list[NDArray[Any]]:
    """Each of ``values`` with a row per machine."""
    count = next(len(each.data) for each in values if isinstance(each, Varying))
    return [each.data if isinstance(each, Varying) else np.broadcast_to(each, (count, *np.shape(each)))
            for each in values]  # fmt: skip


def _stack(arrays: Sequence[Any], axis: int = 0) -> Varying:
    return Varying(np.stack(spread(arrays), axis=axis + 1 if axis >= 0 else axis))


def _concatenate(arrays: Sequence[Any], axis: int = 0) -> Varying:
    return Varying(np.concatenate(spread(arrays), axis=axis + 1 if axis >= 0 else axis))


def _broadcast_to(values: Varying, shape: Any) -> Varying:
    wanted = shape if isinstance(shape, tuple) else (shape,)
    return Varying(np.broadcast_to(_aligned(values, len(wanted)), (len(values.data), *wanted)))


def _bincount(owner: NDArray[np.intp], weights: Varying, minlength: int = 0) -> Varying:
    """Sums by owner, added in the order of the elements."""
    if isinstance(owner, Varying):
        owner = np.asarray(owner)
    total = np.zeros((len(weights.data), max(minlength, int(owner.max(initial=-1)) + 1)))
    for i, place in enumerate(owner.tolist()):
        total[:, place] += weights.data[:, i]
    return Varying(total)


_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.where: _where, np.stack: _stack, np.concatenate: _concatenate, np.broadcast_to: _broadcast_to,
    np.clip: lambda values, least, most: np.minimum(np.maximum(values, least), most),
    np.bincount: _bincount, np.take: take, np.take_along_axis: _take_along_axis,
    np.flatnonzero: lambda values: np.flatnonzero(values.alike()),
    np.argpartition: lambda values, kth, axis=-1: Varying(np.argpartition(values.data, kth, axis=values._axis(axis))),
    np.shape: lambda values: values.shape, np.ndim: lambda values: values.ndim,
    np.argmax: lambda values, axis=None: values.argmax(axis), np.argmin: lambda values, axis=None: values.argmin(axis),
    np.sum: lambda values, axis=None: values.sum(axis), np.max: lambda values, axis=None: values.max(axis),
    np.min: lambda values, axis=None: values.min(axis),
}  # fmt: skip
