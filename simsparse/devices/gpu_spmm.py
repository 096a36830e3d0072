# SPDX-License-Identifier: Apache-2.0
"""Sparse weights times dense inputs: cuSPARSE on CSR, and PyTorch's Triton kernel on BSR.

``y[m, n] = x[m, k] @ w[n, k].T`` with w sparse. CSR: each non-zero reads a row of the m inputs in
pieces of 128. BSR: a program per block row and piece of m steps through the row's blocks without
overlapping loads and products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsparse.config.parts.gpu_pointwise import GpuBsrKernels, GpuCsrKernels
from simsparse.core.varying_arrays import array_of, filled
from simsparse.devices.gpu_card import Card, Floats, KernelTimes, together

PIECE = 128.0
"""Inputs of the dense operand that one piece of CSR work covers."""
LONGEST = 2.3
"""Standard deviations by which the longest block row exceeds the mean, over some hundred rows."""


@dataclass(frozen=True)
class CsrKernels:
    """CSR products, one array element each: ``m`` inputs, ``n`` rows with ``nonzeros`` in all."""

    m: Floats
    n: Floats
    nonzeros: Floats


@dataclass(frozen=True)
class BsrKernels:
    """BSR products, one array element each: ``blocks`` of ``size`` x ``size`` in an n x k matrix, m inputs."""

    m: Floats
    n: Floats
    k: Floats
    size: Floats
    blocks: Floats


def csr_times(card: Card, library: GpuCsrKernels, kernels: CsrKernels) -> KernelTimes:
    """Seconds of each product, called eagerly: at least what the host takes to dispatch it."""
    alone = csr_kernel_times(card, library, kernels)
    launch = np.maximum(library.launch.si, library.dispatch.si - alone.compute_s)
    return KernelTimes.overlapped(launch, alone.compute_s, np.zeros(len(launch)), 1.0)


def csr_kernel_times(card: Card, library: GpuCsrKernels, kernels: CsrKernels) -> KernelTimes:
    """Seconds of each product's kernels, the host's dispatch left out."""
    rest = kernels.m % PIECE
    pieces = kernels.m // PIECE + np.where(rest == 0, 0.0, np.where(rest <= PIECE / 2, library.half_piece.si, 1.0))
    products = (kernels.nonzeros + library.row.si * kernels.n) * pieces * PIECE
    compute = products / (library.rate.si * card.cycles_per_s)
    launch = filled(len(compute), library.launch.si)
    return KernelTimes.overlapped(launch, compute, np.zeros(len(compute)), 1.0)


def bsr_times(card: Card, library: GpuBsrKernels, kernels: BsrKernels) -> KernelTimes:
    """Seconds of each kernel, the host's dispatch left out."""
    whole = kernels.m % kernels.size == 0
    compute = np.where(whole, _pieces_seconds(card, library, kernels), _whole_row_seconds(card, library, kernels))
    launch = filled(len(compute), card.launch_s + library.launch.si)
    return KernelTimes.overlapped(launch, compute, np.zeros(len(compute)), 1.0)


def _longest(kernels: BsrKernels) -> tuple[Floats, Floats]:
    """Blocks of a mean row and of the longest, for blocks that lie anywhere."""
    mean, most = kernels.blocks * kernels.size / kernels.n, kernels.k / kernels.size
    deviation = np.sqrt(mean * np.maximum(0.0, 1.0 - mean / most))
    return mean, np.minimum(most, np.ceil(mean + LONGEST * deviation))


def _pieces_seconds(card: Card, library: GpuBsrKernels, kernels: BsrKernels) -> Floats:
    """A program per block row and ``size`` inputs: all programs' cycles, or the longest row's latency."""
    mean, longest = _longest(kernels)
    sizes = (kernels.size <= 16, kernels.size <= 32, kernels.size <= 64)
    step, start, wait = (
        np.select(sizes, values[:3], values[3])
        for values in (
            (library.step_16.si, library.step_32.si, library.step_64.si, library.step_128.si),
            (library.start_16.si, library.start_32.si, library.start_64.si, library.start_128.si),
            (library.wait_32.si, library.wait_32.si, library.wait_64.si, library.step_128.si),
        )
    )
    programs = kernels.n / kernels.size * kernels.m / kernels.size
    crowded = programs * (start + mean * step) / card.cycles_per_s
    return together(3.0, crowded, (longest * wait + library.alone.si) / card.clock_hz)


def _whole_row_seconds(card: Card, library: GpuBsrKernels, kernels: BsrKernels) -> Floats:
    """m that blocks do not divide: one program per block row takes all inputs, padded to a power of two, and spills."""
    mean, longest = _longest(kernels)
    programs = kernels.n / kernels.size
    width = 2.0 ** np.ceil(np.log2(kernels.m))
    steps = np.maximum(np.where(programs > card.sms, programs / card.sms * mean, 0.0), longest)
    return array_of(steps * 2.0 * kernels.size**2 * width / (library.spilled.si * card.clock_hz))
