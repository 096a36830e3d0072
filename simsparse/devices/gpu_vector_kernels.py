# SPDX-License-Identifier: Apache-2.0
"""Seconds of products of few tokens by kernels that multiply rows of weights without tensor cores."""

from __future__ import annotations

import numpy as np

from simsparse.config.parts.gpu_tile_kernels import GpuVectorKernel
from simsparse.core.varying_arrays import filled
from simsparse.devices.gpu_card import together
from simsparse.devices.gpu_gemm_types import GemmMachine, GemmShapes, GemmTimes

VECTOR_OVERLAP = 3.0
"""Exponent of the norm that joins a vector kernel's memory, blocks and instructions; assumed."""


def vector_kernel_seconds(shapes: GemmShapes, machine: GemmMachine, part: GpuVectorKernel) -> GemmTimes:
    """Seconds of a kernel whose thread blocks each read some rows of weights and multiply them by all tokens.

    The weights' bytes, the walk of one block along k and the instructions of all of them overlap.
    """
    m, n, k, batch = (size.astype(np.float64) for size in (shapes.m, shapes.n, shapes.k, shapes.batch))
    memory = batch * shapes.stored * shapes.value_bytes * n * k / (part.memory.si * machine.hbm_bytes_per_s)
    walk = part.block.si * k / machine.clock_hz
    issue = part.issue.si * batch * m * n * k / (machine.sms * machine.clock_hz)
    launch = filled(len(m), part.launch.si)
    busy = together(VECTOR_OVERLAP, memory, walk, issue)
    return GemmTimes(launch + busy, np.maximum(walk, issue), memory, launch)
