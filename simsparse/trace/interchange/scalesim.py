# SPDX-License-Identifier: Apache-2.0
"""SCALE-Sim topology CSV: import and export, with the N:M column of version 3.

Two layouts, told apart by the header: ``Layer, M, N, K, Sparsity`` for GEMMs (SCALE-Sim's ``-i
gemm``), and sizes of input, filter, channels and one stride or two for convolutions; both may have a
column ``Batch``. SCALE-Sim drops what follows the last comma of a line, so lines end in one. Source:
scalesim 3.0.0, topology_utils.py.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from simsparse.core import DType, Op, OpKind, Sparsity, Trace, TraceBuilder, ops
from simsparse.core.kinds.conv2d import conv_dims, strides
from simsparse.errors import SpecError, TraceError
from simsparse.limits import Limits
from simsparse.sparsity.patterns.nm import NM
from simsparse.trace.file import replace_file
from simsparse.trace.interchange.base import (
    TRACE_FORMATS,
    Imported,
    ImportOptions,
    Notes,
    TraceFormat,
    printable,
    read_bounded,
)
from simsparse.trace.interchange.products import TraceGemm, products, unique
from simsparse.trace.interchange.scalesim_columns import CONV_COLUMNS, GEMM_COLUMNS, LayerColumns, size

_DEPTHWISE = "DP"
"""SCALE-Sim runs a layer with these letters in its name once a channel."""

CELLS = 8
"""Cells that count as one value."""


def read_scalesim(path: Path, options: ImportOptions) -> Imported:
    """The layers of a topology as a chain of ops. Raises TraceError naming the line."""
    rows = _rows(read_bounded(path, options.limits).decode("utf-8-sig"), options.limits)
    layout = LayerColumns.parse(rows[0][1])
    dtype, notes = options.dtype or DType.BF16, Notes()
    builder = TraceBuilder(printable(path.name.split(".")[0]) or "topology", source="SCALE-Sim topology")
    for line, row in rows[1:]:
        name = printable(row[0].strip()) or "layer"
        try:
            cells, commented = layout.cells(row)
            builder.add(_gemm(name, cells, dtype) if layout.is_gemm else _conv(name, cells, dtype))
        except (SpecError, ValueError) as error:
            message = error.message if isinstance(error, SpecError) else str(error)
            raise TraceError(message, line=line, key=printable(row[0], 60)) from error
        if commented:
            notes.add("left out: comments behind the last column", name)
    notes.add("layers follow each other in the order of the file; what lies between them is not in it")
    if options.dtype is None:
        notes.add(f"the file has no element types; {dtype} is assumed")
    return Imported(builder.build(), notes.lines())


def _rows(text: str, limits: Limits) -> list[tuple[int, list[str]]]:
    """Line numbers and cells of the lines that are neither empty nor comments: a header and at least one layer."""
    limits.check("values", text.count("\n") + text.count(",") // CELLS)
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row)) and row[0].strip()[:1] != "#"]
    except csv.Error as error:
        raise TraceError(f"is not CSV: {error}", line=reader.line_num) from error
    if len(rows) < 2:
        raise TraceError(f"{len(rows)} lines; expected a header and a layer or more", line=1)
    return rows


def _gemm(name: str, cells: Mapping[str, str], dtype: DType) -> Op:
    """A product with a weight, or ``batch`` products of two activations (heads)."""
    m, n, k = (size(cells, each) for each in ("m", "n", "k"))
    batch, pattern = size(cells, "batch", "1"), _pattern(cells)
    if batch == 1:
        return ops.linear(m, n, k, dtype, weight_sparsity=pattern, name=name)
    if pattern != "dense":
        raise ValueError(f"{batch} products in a batch have no one weight that could be {pattern}")
    return ops.matmul(batch, m, n, k, dtype, name=name)


def _conv(name: str, cells: Mapping[str, str], dtype: DType) -> Op:
    height, width, kh, kw, channels, filters = (
        size(cells, each) for each in ("height", "width", "kh", "kw", "channels", "filters")
    )
    down, across = (size(cells, each, cells.get("stride", "")) for each in ("stride_h", "stride_w"))
    if kh > height or kw > width:
        raise ValueError(f"a {kh} x {kw} filter on {height} x {width}")
    groups = channels if _DEPTHWISE in name else 1
    made = (-(-(height - kh + down) // down), -(-(width - kw + across) // across))
    dims = conv_dims(
        size(cells, "batch", "1"), channels, filters * groups, (height, width), made, (kh, kw), groups=groups,
        stride=(down, across),
    )  # fmt: skip
    return Op(OpKind.CONV2D, name, dims, dtype, weight_sparsity=Sparsity.parse(_pattern(cells)))


def _pattern(cells: Mapping[str, str]) -> str:
    """The N:M cell, dense where there is none or N is M."""
    text = cells.get("sparsity") or "dense"
    pattern = Sparsity.parse(text)
    return "dense" if isinstance(pattern, NM) and pattern.n == pattern.m else text


def write_scalesim(trace: Trace, path: Path) -> tuple[str, ...]:
    """Write the products of ``trace``: the convolution layout when it has convolutions, else the GEMM layout."""
    notes = Notes()
    found = products(trace, notes)
    convolutions = any(product.is_conv for product in found)
    columns = CONV_COLUMNS if convolutions else GEMM_COLUMNS
    lines, taken = [",".join(columns) + ","], set[str]()
    for product in found:
        name = unique(_layer_name(product, notes), taken)
        cells = _conv_cells(product, notes) if convolutions else [product.m, product.n, product.k]
        lines.append(",".join(map(str, (name, *cells, _ratio(product, notes)))) + ",")
    replace_file(path, ("\n".join(lines) + "\n").encode())
    flag = "conv" if convolutions else "gemm"
    return notes.lines(f"run it with: scale -i {flag} -t {path.name}; sparsity needs SparsitySupport in the .cfg")


def _layer_name(product: TraceGemm, notes: Notes) -> str:
    """Without commas and the letters that mean depthwise; ``_xN`` stands for N equal products."""
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in product.name).replace(_DEPTHWISE, "Dp")
    if _is_depthwise(product):
        return f"{name}_{_DEPTHWISE}"
    copies = product.times * product.batch
    if copies > 1:
        notes.add("a line ending in _xN stands for N equal products; SCALE-Sim runs it once", product.name)
    return f"{name}_x{copies}" if copies > 1 else name


def _is_depthwise(product: TraceGemm) -> bool:
    d = product.op.dims
    return product.is_conv and 1 < d["groups"] == d["c_in"] == d["c_out"] and d["batch"] == 1


def _conv_cells(product: TraceGemm, notes: Notes) -> list[int]:
    """Sizes of a convolution with its padding in the input, or of a product as a 1 x k filter."""
    op, d = product.op, product.op.dims
    vertical, horizontal = strides(op) if product.is_conv else (0, 1)
    if vertical != horizontal or d["batch"] > 1:
        if product.is_conv:
            notes.add("convolutions over several images or with unequal strides are written as their im2col product",
                      product.name)  # fmt: skip
        return [product.m, product.k, 1, product.k, 1, product.n, 1]
    height, width = (d["h_out"] - 1) * vertical + d["kh"], (d["w_out"] - 1) * horizontal + d["kw"]
    notes.add("a convolution's padding is part of the input that is written, its stride the one of least padding",
              product.name)  # fmt: skip
    filters = d["c_out"] // d["groups"]
    return [height, width, d["kh"], d["kw"], d["c_in"] if _is_depthwise(product) else d["c_in"] // d["groups"],
            filters, vertical]  # fmt: skip


def _ratio(product: TraceGemm, notes: Notes) -> str:
    sparsity = product.sparsity
    if sparsity.is_dense:
        return "1:1"
    if not isinstance(sparsity, NM):
        notes.add("SCALE-Sim knows N:M only: other patterns are written as dense", product.name)
        return "1:1"
    if product.k % sparsity.m:
        notes.add("the reduction is no multiple of M: written as dense", product.name)
        return "1:1"
    return str(sparsity)


TRACE_FORMATS.register("scalesim")(
    TraceFormat(
        "scalesim", (".csv",), "SCALE-Sim topology CSV, GEMM or convolution layout", read_scalesim, write_scalesim
    )
)
