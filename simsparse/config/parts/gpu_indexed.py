# SPDX-License-Identifier: Apache-2.0
"""Kernels of a library that read what an index names: chosen keys of a cache, chosen neurons of an MLP."""

from __future__ import annotations

from simsparse.config.quantity import Frozen, Ratio, Seconds, Share


class GpuIndexedKernels(Frozen):
    """Gathers that address every element by itself (simsparse.devices.gpu_indexed.element_times).

    ``inner``: index_select along a dimension that is not the first; ``each``: torch.gather with an index for every
    element. ``*_launch``: the kernel alone; the others: cycles of an SM per element.
    """

    inner_launch: Seconds
    inner: Ratio
    each_launch: Seconds
    each: Ratio


class GpuSkipRows(Frozen):
    """Two Triton kernels of an MLP that read the rows of chosen neurons (gpu_indexed.skip_rows_times).

    ``launch``: both kernels, the zeroing of the outputs and their cast. ``memory``: share of the HBM peak. ``step``:
    cycles of a step of 32 neurons of the second kernel, and ``part`` for each part of the sums that it adds up in it.
    """

    launch: Seconds
    memory: Share
    step: Ratio
    part: Ratio
