# SPDX-License-Identifier: Apache-2.0
"""Kernels: what a framework launches for an op, beside the op itself."""

from __future__ import annotations

from typing import NamedTuple

from simsparse.core.tensor import DType


class KernelCall(NamedTuple):
    """One kernel that the framework launched when a trace was taken.

    ``name``: the aten function. ``read_bytes`` and ``write_bytes``: what it moves, an expanded operand counted
    once. ``flops``: as simsparse.trace.capture.aten_names counts them. ``dtype``: of its first output. ``cols``:
    elements that one output reduces, 1 where nothing is reduced; ``rows``: outputs. ``strided``: whether an
    operand is a view whose elements do not lie side by side, or is spread over the output.
    """

    name: str
    read_bytes: int
    write_bytes: int
    flops: int
    dtype: DType
    rows: int = 1
    cols: int = 1
    strided: bool = False
