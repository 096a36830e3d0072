# SPDX-License-Identifier: Apache-2.0
"""Seconds of fp32 GEMMs of a few tokens, as cuBLAS's kernels for narrow matrices run them.

Instead of tiles of the output, a thread block takes rows of the weights and runs through all of k.
Seen in profiles of cuBLAS 13 on an H100 (gemmSN_TN) for two tokens; eight take as long as tiles.
"""

from __future__ import annotations

import numpy as np

from simsparse.core.varying_arrays import filled
from simsparse.devices.gpu_gemm_types import GemmMachine, GemmShapes, GemmTimes, GemmUnit


def with_narrow(times: GemmTimes, shapes: GemmShapes, machine: GemmMachine) -> GemmTimes:
    """``times`` with those of the fp32 GEMMs of two to ``machine.narrow.tokens`` tokens replaced."""
    narrow = machine.narrow
    if narrow is None or all(group.unit is not GemmUnit.FP32 for group in shapes.groups):
        return times
    chosen = (shapes.unit == GemmUnit.FP32) & (shapes.m > 1) & (shapes.m <= narrow.tokens.si)
    m, n, k, batch = (size.astype(np.float64) for size in (shapes.m, shapes.n, shapes.k, shapes.batch))
    compute = narrow.step.si * k
    moved = batch * shapes.value_bytes * (n * k * shapes.stored + m * (n + k))
    memory = moved / (narrow.memory.si * machine.hbm_bytes_per_s)
    launch = filled(len(m), narrow.launch.si)
    own = (launch + np.maximum(compute, memory), compute, memory, launch)
    old = (times.latency_s, times.compute_s, times.memory_s, times.launch_s)
    return GemmTimes(*(np.where(chosen, new, before) for new, before in zip(own, old, strict=True)))
