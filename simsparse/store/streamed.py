# SPDX-License-Identifier: Apache-2.0
"""The table of a store that is too large to be held: read twice, and written some rows after others."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.store.frames import pieces
from simsparse.store.reader import Reader
from simsparse.store.schema import CSV_NAME, DETAILS, PARQUET_NAME
from simsparse.store.table import MARK, cells, heading, in_order, with_texts, write_rows, write_whole

if TYPE_CHECKING:
    import pandas as pd


class StreamedTable:
    """The table of ``to_frame``, of which no more than some rows are held, and of all rows the columns ``names``.

    ``known``: these columns. Raises StoreError on a damaged store.
    """

    def __init__(self, reader: Reader, names: Sequence[str]) -> None:
        import pandas as pd

        self._reader = reader
        samples: dict[str, dict[object, Any]] = {}
        held: list[pd.DataFrame] = []
        without = set(DETAILS) - set(names)
        for columns, rows in pieces(reader, without):
            if not rows:
                continue
            for name, values in columns.items():
                own = samples.setdefault(name, {math.nan: math.nan} if held else {})
                own.update(_samples(values))
            for name in samples.keys() - columns.keys():
                samples[name][math.nan] = math.nan
            held.append(pd.DataFrame({name: columns[name] for name in names if name in columns}))
        samples |= {name: {str: ""} for name in without}
        self.known = pd.concat(held, ignore_index=True)
        self._sample = in_order(
            pd.DataFrame({name: pd.Series(list(own.values()))[:1] for name, own in samples.items()})
        )

    @property
    def keeps_types(self) -> bool:
        """Whether files keep the type of each column."""
        return "object" not in map(str, self._sample.dtypes)

    def write(self, folder: Path, added: Mapping[str, Sequence[Any]], mark: Callable[[], Mapping[str, Any]]) -> None:
        """Write the table as CSV and as Parquet, with the columns ``added`` before that of errors.

        ``mark`` of the Parquet file is made when the CSV file stands. Raises StoreError when they can't be written.
        """
        frame = self._sample
        for name, values in added.items():
            frame.insert(list(frame.columns).index("error"), name, list(values[:1]) * len(frame))
        write_whole(folder / PARQUET_NAME, lambda path: self._write(path, folder / CSV_NAME, added, mark))

    def _write(
        self, parquet: Path, csv: Path, added: Mapping[str, Sequence[Any]], mark: Callable[[], Mapping[str, Any]]
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.Schema.from_pandas(with_texts(self._sample), preserve_index=False)

        def write(path: Path) -> None:
            with path.open("w", encoding="utf-8", newline="") as file:
                write_rows(file, ([heading(name)] for name in self._sample.columns))
                for columns in self._columns(added):
                    write_rows(
                        file, [cells(columns[name], name not in DETAILS, self._is_float(name)) for name in columns]
                    )
                    arrays = [pa.array(_typed(columns[each.name], each.type), each.type, from_pandas=True)
                              for each in schema]  # fmt: skip
                    writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

        with pq.ParquetWriter(parquet, schema) as writer:
            write_whole(csv, write)
            writer.add_key_value_metadata({MARK: json.dumps(mark())})

    def _columns(self, added: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, list[Any]]]:
        """All columns in their order, of some rows after others."""
        start = 0
        for found, rows in pieces(self._reader):
            if not rows:
                continue
            columns = dict(found)
            columns.update((name, list(values[start : start + rows])) for name, values in added.items())
            missing = [math.nan] * rows
            whole = {name: columns.get(name, missing) for name in self._sample.columns}
            yield {name: list(map(_float, values)) if self._is_float(name) else values
                   for name, values in whole.items()}  # fmt: skip
            start += rows

    def _is_float(self, name: str) -> bool:
        return bool(self._sample[name].dtype.kind == "f")


def _samples(values: list[Any]) -> dict[object, Any]:
    """A value of each type among ``values``, and NaN where it is among them."""
    found: dict[object, Any] = {type(value): value for value in values}
    if float in found:
        found[float] = next((value for value in values if type(value) is float and not math.isnan(value)), math.nan)
        if any(map(math.isnan, (value for value in values if type(value) is float))):
            found[math.nan] = math.nan
    return found


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _typed(values: list[Any], kind: Any) -> list[Any]:
    """``values`` as an array of type ``kind`` takes them: those of a column of texts as texts, but for missing ones."""
    import pyarrow as pa

    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)) or set(map(type, values)) == {str}:
        return values
    return [value if isinstance(value, str) or value is None or value != value else str(value)  # noqa: PLR0124
            for value in values]  # fmt: skip
