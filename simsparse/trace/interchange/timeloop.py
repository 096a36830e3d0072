# SPDX-License-Identifier: Apache-2.0
"""Timeloop and Sparseloop problems: export only, a folder of YAML files, one a different shape.

Keys as Timeloop's parsers read them (workload.cpp, problem-shape.cpp, the density models):
``problem.shape`` with one-letter dimensions, ``problem.instance`` with bounds and ``densities``.
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from simsparse.core import Trace
from simsparse.core.kinds.conv2d import CONV2D, strides
from simsparse.errors import TraceError
from simsparse.paths import temporary_prefix
from simsparse.trace.interchange.base import TRACE_FORMATS, Notes, TraceFormat
from simsparse.trace.interchange.products import TraceGemm, products

INDEX = "problems.csv"
_GEMM = """\
  shape:
    name: GEMM
    dimensions: [M, N, K]
    data_spaces:
    - name: Inputs
      projection: [[[M]], [[K]]]
    - name: Weights
      projection: [[[N]], [[K]]]
    - name: Outputs
      projection: [[[M]], [[N]]]
      read_write: True
"""
_BATCHED = """\
  shape:
    name: BatchedGEMM
    dimensions: [B, M, N, K]
    data_spaces:
    - name: Inputs
      projection: [[[B]], [[M]], [[K]]]
    - name: Weights
      projection: [[[B]], [[N]], [[K]]]
    - name: Outputs
      projection: [[[B]], [[M]], [[N]]]
      read_write: True
"""
_CONV = """\
  shape:
    name: Convolution
    dimensions: [C, M, R, S, N, P, Q]
    coefficients:
    - {name: Hstride, default: 1}
    - {name: Wstride, default: 1}
    - {name: Hdilation, default: 1}
    - {name: Wdilation, default: 1}
    data_spaces:
    - name: Weights
      projection: [[[C]], [[M]], [[R]], [[S]]]
    - name: Inputs
      projection: [[[N]], [[C]], [[R, Hdilation], [P, Hstride]], [[S, Wdilation], [Q, Wstride]]]
    - name: Outputs
      projection: [[[N]], [[M]], [[Q]], [[P]]]
      read_write: True
"""


def write_timeloop(trace: Trace, path: Path) -> tuple[str, ...]:
    """Write a folder with one problem a different shape, and problems.csv, which says what op is which.

    Raises TraceError when the folder is there already or can't be written.
    """
    if path.exists():
        raise TraceError("exists already; a folder is made anew", file=str(path))
    notes, files = Notes(), dict[str, str]()
    rows: list[tuple[str, str, int, int]] = []
    for product in products(trace, notes):
        text = problem(product, notes)
        file = files.setdefault(text, f"{len(files):03d}-{_stem(product)}.yaml")
        rows.append((product.name, file, product.times, product.macs))
    _write_folder(path, {**{file: text for text, file in files.items()}, INDEX: _index(rows)})
    return notes.lines(f"{len(rows)} products in {len(files)} different problems; {INDEX} says which is which")


def problem(product: TraceGemm, notes: Notes) -> str:
    """The problem of one product as YAML."""
    if product.is_conv:
        shape, bounds = _CONV, _conv_bounds(product)
    elif product.batch > 1:
        shape, bounds = _BATCHED, {"B": product.batch, "M": product.m, "N": product.n, "K": product.k}
    else:
        shape, bounds = _GEMM, {"M": product.m, "N": product.n, "K": product.k}
    instance = "".join(f"    {name}: {size}\n" for name, size in bounds.items())
    return f"problem:\n{shape}  instance:\n{instance}{_density(product, notes)}"


def _conv_bounds(product: TraceGemm) -> dict[str, int]:
    d, (vertical, horizontal) = CONV2D.all_dims(product.op), strides(product.op)
    return {"C": d["c_in"] // d["groups"], "M": d["c_out"] // d["groups"], "R": d["kh"], "S": d["kw"],
            "N": d["batch"], "P": d["h_out"], "Q": d["w_out"], "Hstride": vertical,
            "Wstride": horizontal, "Hdilation": d["dilation_h"], "Wdilation": d["dilation_w"]}  # fmt: skip


def _density(product: TraceGemm, notes: Notes) -> str:
    sparsity = product.sparsity
    if sparsity.is_dense:
        return ""
    structured = sparsity.groups is not None
    if sparsity.edge > 1:
        notes.add("square blocks are written as random zeros: Timeloop has no model of them", product.name)
    if structured:
        notes.add("N:M and banks are written as fixed_structured: the density is kept, the group size is not",
                  product.name)  # fmt: skip
    name = "fixed_structured" if structured else "hypergeometric"
    return f"    densities:\n      Weights: {{distribution: {name}, density: {sparsity.density!r}}}\n"


def _stem(product: TraceGemm) -> str:
    kind = "conv" if product.is_conv else "bmm" if product.batch > 1 else "gemm"
    return f"{kind}-m{product.m}-n{product.n}-k{product.k}"


def _index(rows: list[tuple[str, str, int, int]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("op", "problem", "times", "macs"))
    writer.writerows(rows)
    return text.getvalue()


def _write_folder(path: Path, files: Mapping[str, str]) -> None:
    try:
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=temporary_prefix(path)))
    except OSError as error:
        raise TraceError(f"can't be written: {error.strerror}", file=str(path)) from error
    try:
        for name, text in files.items():
            (part / name).write_text(text, encoding="utf-8")
        part.chmod(0o755)
        part.rename(path)
    except OSError as error:
        raise TraceError(f"can't be written: {error.strerror}", file=str(path)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


TRACE_FORMATS.register("timeloop")(
    TraceFormat("timeloop", (".timeloop",), "folder of Timeloop problems with densities", write=write_timeloop)
)
