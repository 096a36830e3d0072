# SPDX-License-Identifier: Apache-2.0
"""Convolutions of cuDNN on channels-last tensors: implicit GEMMs on tensor cores, and depthwise kernels.

An implicit GEMM of m output pixels, n output channels and k = taps x input channels is cut into
tiles; the time is a mean over a list of tiles, weighted towards the fastest, as the library's choice
is not always that one. Blocks run in waves of one per SM. A block steps along k by 64 channels of one
tap; a step takes its products, its reads from L2 or its latency, whichever is longest. Channel
counts that are no multiple of eight run a kernel without aligned loads, far below the peak.

A 3-D convolution has the taps of all three axes; a transposed one is the product of its input pixels by all taps
and output channels, whose sums are added up on chip. Neither was measured.

Left out: splits of k (no shape measured needed one), Winograd and FFT (cuDNN has none in 16 bits).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_pointwise import GpuConvKernels
from simsparse.core import Op
from simsparse.core.kinds.conv2d import CONV2D
from simsparse.core.varying_arrays import array_of
from simsparse.devices.gpu_card import Card, Floats, KernelTimes, cached_share, memory_seconds, together

Flags = NDArray[np.bool_]

TILES = np.array([(256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64), (256, 64), (64, 256),
                  (128, 32), (64, 32)], np.float64)  # fmt: skip
"""Pixels and output channels of a tile."""
STEP, HALF_STEP = 64.0, 32.0
"""Input channels that a block takes per step, and those that it pads each tap to."""
ALIGNED = 8
"""Channels that 16-byte loads need a multiple of."""
GROUP_CHANNELS = 32.0
"""Narrower groups are packed into one product of so many channels, zeros included. Assumed: none was measured."""


@dataclass(frozen=True)
class ConvKernels:
    """Convolutions, one array element each, 16-bit or fp32 values of ``value_bytes``.

    ``pixels`` of the output in all images, ``taps`` of the filter, ``inputs`` and ``outputs``
    channels of one of ``groups``. ``read``, ``weights`` and ``write``: bytes. ``dense``: one tap,
    stride one, so that the input is a matrix as it lies. ``touched``: bytes of all tensors.
    """

    pixels: Floats
    taps: Floats
    inputs: Floats
    outputs: Floats
    groups: Floats
    read: Floats
    weights: Floats
    write: Floats
    dense: Flags
    value_bytes: Floats
    touched: Floats

    @property
    def depthwise(self) -> Flags:
        """Whether every group has one input channel."""
        return array_of((self.inputs == 1) & (self.groups > 1))


def conv_times(
    card: Card, library: GpuConvKernels, kernels: ConvKernels, flops: Floats, speed: float = 1.0
) -> KernelTimes:
    """Seconds of each convolution.

    ``flops``: peak of the unit that it runs on, flop/s. ``speed``: arithmetic rate over the one that the
    power limit lets the card hold.
    """
    if not len(flops):
        return KernelTimes(flops, flops, flops, flops)
    cached = cached_share(card, kernels.touched)
    memory = memory_seconds(card, kernels.read + kernels.weights, kernels.write, cached)
    tiles = _tile_times(card, library, kernels, flops, speed, memory)
    depthwise = _depthwise_times(card, library, kernels, cached, memory)
    pairs = zip(vars(depthwise).values(), vars(tiles).values(), strict=True)
    return KernelTimes(*(np.where(kernels.depthwise, own, other) for own, other in pairs))


def _depthwise_times(
    card: Card, library: GpuConvKernels, kernels: ConvKernels, cached: Floats, memory: Floats
) -> KernelTimes:
    """A thread per output: fixed operations and some per tap; three loads wait for one another."""
    outputs = kernels.pixels * kernels.outputs * kernels.groups
    operations = library.depthwise_output.si + library.depthwise_tap.si * kernels.taps
    compute = outputs * operations / card.operations_per_s
    waits = (1.0 - cached) * library.depthwise_latency.si
    launch = card.launch_s + library.depthwise_launch.si + waits
    return KernelTimes.overlapped(launch, compute, memory, 3.0)


def _tile_times(
    card: Card, library: GpuConvKernels, kernels: ConvKernels, flops: Floats, speed: float, memory: Floats
) -> KernelTimes:
    compute = _tile_seconds(card, library, kernels, flops[:, None], speed)
    launch = np.where(kernels.dense, library.dense_launch.si, library.launch.si) + card.launch_s
    latency = launch[:, None] + together(4.0, compute, memory[:, None])
    fastest = latency.argmin(axis=1)
    least = latency.min(axis=1)
    weight = np.exp((1.0 - latency / least[:, None]) / library.spread.si)
    typical = (weight * latency).sum(axis=1) / weight.sum(axis=1)
    scale = typical / least
    chosen = compute[np.arange(len(fastest)), fastest]
    return KernelTimes(typical, chosen * scale, memory * scale, launch * scale)


def _tile_seconds(card: Card, library: GpuConvKernels, kernels: ConvKernels, flops: Floats, speed: float) -> Floats:
    """Seconds of the products with every tile, (convolutions, tiles); no faster than the sustained rate."""
    rows, columns = TILES[:, 0], TILES[:, 1]
    packed = np.minimum(np.maximum(1.0, GROUP_CHANNELS // kernels.outputs), kernels.groups)
    inputs, outputs = ((width * packed)[:, None] for width in (kernels.inputs, kernels.outputs))
    groups, taps = ((column)[:, None] for column in (kernels.groups / packed, kernels.taps))
    tiles = np.ceil(kernels.pixels[:, None] / rows) * np.ceil(outputs / columns) * groups
    waves = np.ceil(tiles / card.sms)
    steps, products = taps * np.ceil(inputs / HALF_STEP) * HALF_STEP / STEP, 2.0 * rows * columns
    block = steps * _step_cycles(card, library, kernels, flops) + library.tile.si
    store = rows * columns * kernels.value_bytes[:, None] / library.store.si
    sustained = tiles * products * steps * STEP / (speed * library.sustained.si * flops)
    unaligned = waves * card.sms * products * taps * inputs / (library.unaligned.si * flops)
    aligned = (kernels.inputs % ALIGNED == 0)[:, None] | (kernels.groups > 1)[:, None]
    return np.where(aligned, np.maximum(waves * (block + store) / card.clock_hz, sustained), unaligned)


def _step_cycles(card: Card, library: GpuConvKernels, kernels: ConvKernels, flops: Floats) -> Floats:
    """Cycles of one step of a block along k: products, operands through the SM's port, or latency."""
    rows, columns = TILES[:, 0], TILES[:, 1]
    products = 2.0 * rows * columns * STEP * card.cycles_per_s / (library.tensor.si * flops)
    operands = (rows + columns) * STEP * kernels.value_bytes[:, None] / library.port.si
    return np.maximum(np.maximum(products, operands), library.step.si)


def conv_kernels(ops: Sequence[Op]) -> ConvKernels:
    """CONV2D ops as kernels. A filter narrower than its stride leaves pixels of the input unread."""
    full = [CONV2D.all_dims(op) for op in ops]
    dims = {name: np.array([each[name] for each in full], np.float64) for name in (*CONV2D.dims, *CONV2D.optional_dims)}
    size, turned = np.array([op.dtype.bits / 8 for op in ops]), dims["transposed"] > 0
    gemms = [gemm for op in ops for gemm in op.gemms]
    groups, pixels, outputs, reduced = np.array(gemms, np.float64).reshape(-1, 4).T
    taps = np.where(turned, 1.0, dims["kd"] * dims["kh"] * dims["kw"])
    image = dims["batch"] * dims["d_in"] * dims["h_in"] * dims["w_in"] * dims["c_in"] * size
    read = image.copy()
    for axis in "dhw":
        covered = dims[f"k{axis}"] * dims[f"{axis}_out"] / dims[f"{axis}_in"]
        read *= np.where(turned, 1.0, np.minimum(1.0, covered))
    weights, write = groups * outputs * reduced * size, np.array([op.output_bytes for op in ops], np.float64)
    dense = (taps == 1) & ~turned
    for axis in "dhw":
        dense &= dims[f"{axis}_out"] == dims[f"{axis}_in"]
    touched = image + weights + write
    return ConvKernels(pixels, taps, reduced / taps, outputs, groups, read, weights, write, dense, size, touched)
