# SPDX-License-Identifier: Apache-2.0
"""Elementwise kernels, copies and concatenations: every element is read, worked on and written once.

A kernel takes its launch and the longer of moving its bytes and issuing its operations. How many
operations an element needs depends on how the kernel addresses memory (``Form``) and on the function
it computes (``Function``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_pointwise import GpuStreamKernels
from simsparse.core.memo import by_identity
from simsparse.core.varying_arrays import array_of, stacked
from simsparse.devices.gpu_card import Card, Floats, KernelTimes, fresh_share, memory_seconds

Codes = NDArray[np.int64]


class Form(IntEnum):
    """How an elementwise kernel addresses its operands.

    ``VECTOR``: contiguous operands, loaded by 16 bytes, results of no more bytes. ``STRIDED``: an
    operand is broadcast, expanded, sliced or transposed, so that every element's address is computed.
    ``WIDENING``: to a type of more bytes. ``CONCATENATED``: torch.cat. ``COMPILED``: one kernel from
    torch.compile with dynamic shapes. ``COPY``: a copy from device to device inside a CUDA graph, which
    copy engines do where it is large.
    """

    VECTOR = 0
    STRIDED = 1
    WIDENING = 2
    CONCATENATED = 3
    COMPILED = 4
    COPY = 5


COPY_ENGINE_BYTES = 256 << 20
"""Larger copies of a CUDA graph run on copy engines. Source: copies of 256 and 512 MiB on an H100 and an H200."""


SECTOR_BYTES = 32
"""Bytes that the L2 gives for one element that lies alone. Source: CUDA C++ Best Practices Guide, 32-byte sectors."""


class Function(IntEnum):
    """What a kernel computes: plain arithmetic, or a function that takes many instructions."""

    PLAIN = 0
    SILU = 1
    GELU = 2


@dataclass(frozen=True)
class StreamKernels:
    """Elementwise kernels, one array element each.

    ``elements`` written, ``flops`` computed; bytes ``read``, of which the kernel before wrote ``fresh``,
    and bytes ``write``; ``cached``: share of the bytes that lies in L2. ``crossed``: elements read across the order
    in which they lie in memory, each of which takes a sector of the L2.
    """

    form: Codes
    function: Codes
    elements: Floats
    flops: Floats
    read: Floats
    write: Floats
    fresh: Floats
    cached: Floats
    crossed: Floats | float = 0.0


def stream_times(card: Card, library: GpuStreamKernels, kernels: StreamKernels) -> KernelTimes:
    """Seconds of each kernel."""
    compute, fresh, engine = _work(kernels, library, card.operations_per_s, card.l2_bytes)
    memory = memory_seconds(card, kernels.read, kernels.write, kernels.cached, fresh)
    if engine is not None:
        memory = np.where(engine, (kernels.read + kernels.write) / card.copy_bytes_per_s, memory)
    memory = memory + kernels.crossed * SECTOR_BYTES / card.l2_bytes_per_s
    launch = card.launch_s + _start(kernels, library)
    return KernelTimes.overlapped(launch, compute, memory, library.overlap.si)


class StreamedWork(NamedTuple):
    """What kernels take whatever the rate of the memory.

    Seconds of ``compute``; ``fresh`` bytes that lie in L2; which of them a copy ``engine`` runs, None where none does.
    """

    compute: Floats
    fresh: Floats
    engine: NDArray[np.bool_] | None


@by_identity(maxsize=64)
def _work(kernels: StreamKernels, library: GpuStreamKernels, operations_per_s: float, l2_bytes: float) -> StreamedWork:
    by_form = stacked([0.0, library.strided.si, library.widening.si, library.concatenated.si, library.compiled.si, 0.0])
    by_function = stacked([0.0, library.silu.si, library.gelu.si])
    operations = by_form[kernels.form] + by_function[kernels.function]
    compute = (kernels.elements * operations + kernels.flops) / operations_per_s
    engine = (kernels.form == Form.COPY) & (kernels.read > COPY_ENGINE_BYTES)
    return StreamedWork(compute, kernels.fresh * fresh_share(l2_bytes, kernels.fresh), engine if engine.any() else None)


@by_identity(maxsize=64)
def _start(kernels: StreamKernels, library: GpuStreamKernels) -> Floats:
    """Seconds from launch to the first and from the last element on."""
    addresses = library.addresses.si
    slow = stacked([0.0, addresses, addresses, library.pieces.si, library.functions.si, 0.0])
    function = np.where(kernels.function != Function.PLAIN, library.functions.si, 0.0)
    return array_of(library.start.si + np.maximum(slow[kernels.form], function))
