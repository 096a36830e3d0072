# SPDX-License-Identifier: Apache-2.0
"""The rows of a store as columns, some rows after others: those of one form are made together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

from simsparse.store.forms import Holes, TextForm
from simsparse.store.reader import ROWS, Reader
from simsparse.store.schema import StoredRow, shown

AT_ONCE = 20_000
"""Rows whose columns are made together."""
ColumnLists = dict[str, list[Any]]


def stored_columns(reader: Reader) -> ColumnLists:
    """The columns of the table of a store (simsparse.store.table.to_frame), NaN where a row has no such column.

    Raises StoreError on a damaged store.
    """
    total, count = ColumnLists(), 0
    for columns, rows in pieces(reader):
        for name, values in columns.items():
            if name not in total:
                total[name] = [math.nan] * count
            total[name] += values
        count += rows
        for name in total.keys() - columns.keys():
            total[name] += [math.nan] * rows
    return total


def pieces(reader: Reader, without: Container[str] = ()) -> Iterator[tuple[ColumnLists, int]]:
    """The columns of some rows after others, but for those named ``without``, and how many rows they are.

    Raises StoreError on a damaged store.
    """
    forms, shapes = reader.forms(), _Shapes(reader, without)
    piece: list[tuple[Any, ...]] = []
    for row in reader.select(ROWS):
        piece.append(row)
        if len(piece) == AT_ONCE:
            yield _columns(reader, piece, forms, shapes), len(piece)
            piece = []
    yield _columns(reader, piece, forms, shapes), len(piece)


def _columns(
    reader: Reader, rows: Sequence[tuple[Any, ...]], forms: Mapping[int, TextForm], shapes: _Shapes
) -> ColumnLists:
    groups: dict[tuple[int, int], tuple[list[int], list[tuple[Any, ...]]]] = {}
    plain: list[tuple[int, dict[str, Any]]] = []
    for place, (key, axes, result, error) in enumerate(rows):
        said, found = (_listed(text, forms) for text in (axes, result))
        if said is None or found is None or error is not None:
            summary = reader.object_in(result, forms) if result else None
            row = StoredRow(key, reader.object_in(axes, forms), summary, error).columns()
            plain.append((place, {name: value for name, value in row.items() if name not in shapes.without}))
            continue
        own = groups.setdefault((said[0], found[0]), ([], []))
        own[0].append(place)
        own[1].append((*said[1:], *found[1:], key))
    made = [(places, shapes.of(numbers, forms).columns(values)) for numbers, (places, values) in groups.items()]
    made += [([place], {name: [value] for name, value in columns.items()}) for place, columns in plain]
    made.sort(key=lambda each: each[0][0])
    total = {name: [math.nan] * len(rows) for _, columns in made for name in columns}
    for places, columns in made:
        for name, values in columns.items():
            own_column = total[name]
            for place, value in zip(places, values, strict=True):
                own_column[place] = value
    return total


_DECODER = json.JSONDecoder()


def _listed(text: str | None, forms: Mapping[int, TextForm]) -> list[Any] | None:
    """What is stored of a text in a form: the number of the form and what fills its holes; None of any other text."""
    if not text or text[0] != "[":
        return None
    try:
        data, end = _DECODER.raw_decode(text)
    except ValueError:
        return None
    whole = end == len(text) and data and data[0] in forms and len(data) == len(forms[data[0]].pieces)
    return data if whole else None


class _Shapes:
    """What rows of each two forms have in common, but for the columns ``without``."""

    def __init__(self, reader: Reader, without: Container[str]) -> None:
        self._reader, self.without, self._known = reader, without, dict[tuple[int, int], _Shape]()

    def of(self, numbers: tuple[int, int], forms: Mapping[int, TextForm]) -> _Shape:
        """Those of the forms of these numbers, of the values and of the result."""
        if numbers not in self._known:
            self._known[numbers] = _Shape(self._reader, forms[numbers[0]], forms[numbers[1]], self.without)
        return self._known[numbers]


class _Shape:
    """Rows whose values and results are of the same forms: how each column follows from what fills the holes."""

    def __init__(self, reader: Reader, axes: TextForm, result: TextForm, without: Container[str]) -> None:
        marks, first = Holes(), len(axes.pieces) - 1
        last = first + len(result.pieces) - 1
        said = reader.object_in(axes.filled([marks.token(i) for i in range(first)]))
        summary = reader.object_in(result.filled([marks.token(i) for i in range(first, last)]))
        row = StoredRow(marks.token(last), said, summary, None).columns()
        self._makers = {name: _maker(value, marks) for name, value in row.items() if name not in without}

    def columns(self, rows: Sequence[tuple[Any, ...]]) -> ColumnLists:
        """The columns of rows given by what fills their holes, the key last."""
        filled = list(zip(*rows, strict=True))
        return {name: make(filled, len(rows)) for name, make in self._makers.items()}


Maker = Callable[[Sequence[tuple[Any, ...]], int], list[Any]]


def _maker(value: Any, marks: Holes) -> Maker:
    """What makes a column, given that of a row whose holes are filled with tokens."""
    if isinstance(value, str):
        if (number := marks.number(value)) is not None:
            return lambda filled, _: list(map(shown, filled[number]))
        form, numbers = marks.form(value)
        if numbers:
            pattern = "%s".join(piece.replace("%", "%%") for piece in TextForm(form).pieces)
            return lambda filled, _: [pattern % own for own in zip(*(_json(filled[i]) for i in numbers), strict=True)]
    return lambda _, count: list(repeat(value, count))


def _json(values: Sequence[Any]) -> Iterable[str]:
    plain = set(map(type, values)) <= {int, float}
    return map(repr if plain else json.dumps, values)
