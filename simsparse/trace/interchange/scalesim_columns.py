# SPDX-License-Identifier: Apache-2.0
"""The columns of a SCALE-Sim topology: which layout a header describes, and a line's cells by the name of their column.

SCALE-Sim reads cells by their place and drops what follows a line's last comma, comments among it. It takes a cell
N:M behind the sizes for the sparsity, and writes two strides and a ratio as two cells. Source: scalesim 3.0.0,
topology_utils.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simsparse.errors import TraceError, nearest
from simsparse.trace.interchange.base import printable

GEMM_COLUMNS = ("Layer", "M", "N", "K", "Sparsity")
CONV_COLUMNS = ("Layer name", "IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels",
                "Num Filter", "Strides", "Sparsity")  # fmt: skip
_GEMM = {"m": "m", "n": "n", "k": "k"}
_CONV = {
    "ifmapheight": "height", "ifmaph": "height", "ifmapwidth": "width", "ifmapw": "width",
    "filterheight": "kh", "filterh": "kh", "filterwidth": "kw", "filterw": "kw",
    "channels": "channels", "channel": "channels", "numchannels": "channels",
    "numfilter": "filters", "numfilters": "filters", "numberoffilters": "filters", "filters": "filters",
    "strides": "stride", "stride": "stride",
    "strideheight": "stride_h", "strideh": "stride_h", "verticalstride": "stride_h",
    "stridewidth": "stride_w", "stridew": "stride_w", "horizontalstride": "stride_w",
}  # fmt: skip
_BOTH = {"sparsity": "sparsity", "sparsityratio": "sparsity", "batch": "batch", "batchsize": "batch",
         "batches": "batch"}  # fmt: skip
_COMMENT = {"comment", "comments", "note", "notes"}


@dataclass(frozen=True)
class LayerColumns:
    """Names of the columns behind the layer's name, in order; "" for a column of comments."""

    is_gemm: bool
    columns: tuple[str, ...]

    @classmethod
    def parse(cls, header: Sequence[str]) -> LayerColumns:
        """The layout of a header line. Raises TraceError naming a column that is unknown, doubled or missing."""
        names = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in header]
        is_gemm = names[1:4] == ["m", "n", "k"]
        known = _BOTH | (_GEMM if is_gemm else _CONV)
        if not is_gemm and not set(names) & {"ifmapheight", "ifmaph"}:
            expected = f"{', '.join(GEMM_COLUMNS)} or {', '.join(CONV_COLUMNS)}"
            raise TraceError(f"{','.join(header)!r:.120} is no header; expected {expected}", line=1)
        while names and not names[-1]:
            names.pop()
        columns = []
        for cell, name in zip(header[1:], names[1:], strict=False):
            if name not in known and name not in _COMMENT:
                raise TraceError(f"column {cell.strip()!r:.60} is unknown; {nearest(name, known)}", line=1)
            columns.append(known.get(name, ""))
        _check(columns, is_gemm)
        return cls(is_gemm, tuple(columns))

    def cells(self, row: Sequence[str]) -> tuple[dict[str, str], bool]:
        """Cells of a line by column, and whether it ends in text that SCALE-Sim drops. Raises ValueError."""
        values, rest = row[1 : len(self.columns) + 1], [cell.strip() for cell in row[len(self.columns) + 1 :]]
        found = {name: cell.strip() for name, cell in zip(self.columns, values, strict=False) if name}
        if rest and ":" in rest[0] and "sparsity" not in found:
            found["sparsity"] = rest.pop(0)
        numbers = [cell for cell in rest[:-1] if cell.isdecimal()] if rest and not rest[0].startswith("#") else []
        if len(numbers) == 2 and "sparsity" not in found:
            found["sparsity"] = ":".join(numbers)
        elif numbers:
            raise ValueError(
                f"a cell {numbers[0]} behind the {len(self.columns) + 1} columns of the header; "
                "name its column: Stride height and Stride width, Sparsity, Batch"
            )
        return found, any(rest)


def _check(columns: Sequence[str], is_gemm: bool) -> None:
    doubled = [name for name in columns if name and columns.count(name) > 1]
    if doubled:
        raise TraceError(f"two columns are {doubled[0]}", line=1)
    wanted = ("m", "n", "k") if is_gemm else ("height", "width", "kh", "kw", "channels", "filters")
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise TraceError(f"no column is {missing[0]}; expected {', '.join(CONV_COLUMNS)}", line=1)
    strides = {"stride", "stride_h", "stride_w"} & set(columns)
    if not is_gemm and strides not in ({"stride"}, {"stride_h", "stride_w"}):
        raise TraceError("expected a column Strides, or Stride height and Stride width", line=1)


def size(cells: Mapping[str, str], name: str, default: str = "") -> int:
    """A positive whole number of at most 19 digits. Raises ValueError naming the column."""
    text = cells.get(name, default)
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or not int(text):
        raise ValueError(f"{name} {printable(text, 40)!r} is not a positive whole number")
    return int(text)
