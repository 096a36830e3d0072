# SPDX-License-Identifier: Apache-2.0
"""Rows of operators and of spans as a store keeps them: packed columns, which are read piece by piece.

A column is held as Arrow arrays, about 100 bytes per row in all; rows are made one after another where they are asked
for, so that a report of a million operators takes no memory for a million tuples.
"""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Generic, TypeVar, get_type_hints, overload

from simsparse.core import OpResult, Span
from simsparse.limits import MIB, RATIO, Limits, unpacked_pieces
from simsparse.text import printable

R = TypeVar("R", OpResult, Span)
LIMITS = Limits(bytes=1024 * MIB, values=4_000_000, ratio=RATIO)
"""What the columns of one point may come to; ``values``: rows."""
LONGEST = 16 * MIB
"""Characters that may come before the end of a value."""
_TEXT = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_VALUE = rf'(?:{_TEXT}|[^\s",\[\]{{}}]++)'
_SOME = re.compile(rf"(?:\s*+{_VALUE}\s*+,)*+", re.DOTALL)
_LAST = re.compile(rf"\s*({_VALUE})?\s*\]", re.DOTALL)
_NAME = re.compile(rf"\s*({_TEXT})\s*:\s*\[", re.DOTALL)


def packed(kind: type[R], rows: Iterable[R]) -> bytes:
    """``rows`` as columns by name, compressed."""
    columns = list(zip(*rows, strict=True)) or [()] * len(kind._fields)
    return zlib.compress(json.dumps(dict(zip(kind._fields, columns, strict=True))).encode(), level=1)


class StoredRows(Sequence[R], Generic[R]):
    """The rows of kind ``kind`` that ``packed`` made, their texts printable; columns of other names are left out.

    Raises TypeError, ValueError or zlib.error on other bytes, and TraceError beyond LIMITS.
    """

    def __init__(self, kind: type[R], data: bytes) -> None:
        self._kind: type[R] = kind
        self._columns: dict[str, list[Any]] = {}
        types, lengths = _types(kind), dict[str, int]()
        for name, values in _pieces(unpacked_pieces(data, LIMITS)):
            lengths[name] = lengths.get(name, 0) + len(values)
            LIMITS.check("values", lengths[name])
            if name in types:
                self._columns.setdefault(name, []).append(_array(values, types[name]))
        if len(set(lengths.values())) > 1:
            raise ValueError("columns of different lengths")
        self._length = next(iter(lengths.values()), 0)
        defaults: dict[str, Any] = kind._field_defaults
        if missing := [name for name in kind._fields if name not in {*self._columns, *defaults}]:
            raise ValueError(f"no column {missing[0]}")

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[R]:
        columns = [self.values(name) for name in self._columns]
        if list(self._columns) == list(self._kind._fields):
            return (self._kind._make(row) for row in zip(*columns, strict=True))
        rows = zip(*columns, strict=True)
        return (self._kind(**dict(zip(self._columns, row, strict=True))) for row in rows)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    def __getitem__(self, index: int | slice) -> R | list[R]:
        places = range(self._length)[index]
        if isinstance(places, int):
            return next(islice(iter(self), places, None))
        wanted = set(places)
        found = {i: row for i, row in enumerate(islice(iter(self), max(wanted, default=-1) + 1)) if i in wanted}
        return [found[i] for i in places]

    def values(self, name: str) -> Iterator[Any]:
        """The values of one column."""
        values = chain.from_iterable(piece.to_pylist() for piece in self._columns[name])
        return map(int, values) if _types(self._kind)[name] is int else values


def _types(kind: type[OpResult] | type[Span]) -> dict[str, type]:
    hints = get_type_hints(kind)
    return {name: hints[name] if hints[name] in (int, float) else str for name in kind._fields}


def _array(values: list[Any], kind: type) -> Any:
    """``values`` as an Arrow array. Raises TypeError or ValueError where they are of another kind."""
    import pyarrow as pa

    if not {type(value) for value in values} <= ({str, type(None)} if kind is str else {int, kind}):
        raise TypeError(f"expected values of type {kind.__name__}")
    if kind is str:
        if not "".join(filter(None, values)).isprintable():
            values = [value and printable(value) for value in values]
        texts = pa.array(values, pa.string())
        coded = texts.dictionary_encode()
        return coded if 2 * len(coded.dictionary) < len(texts) else texts
    try:
        return pa.array(values, pa.int64() if kind is int else pa.float64())
    except OverflowError:
        return pa.array(values, pa.decimal128(38, 0))


def _pieces(texts: Iterable[bytes]) -> Iterator[tuple[str, list[Any]]]:
    """The values of a JSON object of lists, as they come: names, each with some of its values. Raises ValueError."""
    feed = _Feed(texts)
    feed.skip("{")
    if feed.comes("}"):
        return
    while True:
        name = str(json.loads(feed.match(_NAME)[1]))
        ended = False
        while not ended:
            values, ended = feed.values()
            yield name, values
        if not feed.comes(","):
            break
    feed.skip("}")
    feed.end()


class _Feed:
    """JSON that comes in pieces: as much of it as has not been read yet."""

    def __init__(self, texts: Iterable[bytes]) -> None:
        self._texts = iter(codecs.iterdecode(texts, "utf-8"))
        self._left = ""

    def _more(self) -> None:
        if len(self._left) > LONGEST:
            raise ValueError(f"a value of more than {LONGEST} characters")
        try:
            self._left += next(self._texts)
        except StopIteration:
            raise ValueError("ends in the middle") from None

    def match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """What comes next, read."""
        while (found := pattern.match(self._left)) is None:
            self._more()
        self._left = self._left[found.end() :]
        return found

    def comes(self, sign: str) -> bool:
        """Whether ``sign`` comes next; it is read then."""
        while not (left := self._left.lstrip()):
            self._more()
        if left.startswith(sign):
            self._left = left.removeprefix(sign)
            return True
        return False

    def skip(self, sign: str) -> None:
        """Read ``sign``. Raises ValueError where something else comes."""
        if not self.comes(sign):
            raise ValueError(f"expected {sign}, found {self._left[:20]!r}")

    def values(self) -> tuple[list[Any], bool]:
        """Whole values that come next in a list, and whether it ends with them."""
        while True:
            some = _SOME.match(self._left)
            end = some.end() if some else 0
            if last := _LAST.match(self._left, end):
                text, self._left = self._left[: last.end() - 1], self._left[last.end() :]
                return _loaded(text), True
            if end:
                text, self._left = self._left[: end - 1], self._left[end:]
                return _loaded(text), False
            if self._left.lstrip()[:1] in ("[", "{"):
                raise ValueError("a list within a list")
            self._more()

    def end(self) -> None:
        """Raises ValueError where anything but space is left."""
        if self._left.strip() or any(text.strip() for text in self._texts):
            raise ValueError("more than one value")


def _loaded(text: str) -> list[Any]:
    return list(json.loads(f"[{text}]", parse_constant=_refused))


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
