# SPDX-License-Identifier: Apache-2.0
"""Kernels that read pinned host memory through the link: a warp per row, 16-byte loads."""

from __future__ import annotations

import numpy as np

from simsparse.config.parts.gpu_pointwise import GpuZeroCopyKernels
from simsparse.core.varying_arrays import array_of
from simsparse.devices.gpu_card import Floats, together

LINE_BYTES = 128
"""Bytes of one request. Source: CUDA C++ Programming Guide, zero-copy accesses."""


def zerocopy_seconds(
    library: GpuZeroCopyKernels, link_bytes_per_s: float, rows: Floats, row_bytes: Floats, offset: Floats
) -> Floats:
    """Seconds to gather ``rows`` random rows that start ``offset`` bytes behind a line.

    A row costs a round trip's share of the requests that the card keeps in flight, or the lines that it
    touches over the link, whichever is longer.
    """
    lines = np.ceil((offset % LINE_BYTES + row_bytes) / LINE_BYTES)
    line = LINE_BYTES / (library.link.si * link_bytes_per_s)
    return array_of(rows * together(8.0, library.row.si, lines * line))
