# SPDX-License-Identifier: Apache-2.0
"""Numbers of tiled GEMM kernels, many GEMMs at once: the card, the GEMMs, how tiles cut them, and what each takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simsparse.devices.gpu_gemm_types import Floats


class TileCore(NamedTuple):
    """Multiprocessors and cache of a card, SI units; ``flops`` is the peak of a kernel's products."""

    sms: int
    clock_hz: float
    flops: float
    l2_bytes: float


class TileCard(NamedTuple):
    """What a tiled kernel needs to know of the card, SI units.

    ``memory`` and ``sustained``: shares of the peaks of memory and products that the card holds; ``speed``
    the rate over the one that the power limit lets it hold. ``seen`` and ``seen_hbm_bytes_per_s``: what the library
    takes core and memory for when it chooses a tile.
    """

    core: TileCore
    hbm_bytes_per_s: float
    memory: float
    sustained: float
    speed: float
    seen: TileCore
    seen_hbm_bytes_per_s: float


class Sizes(NamedTuple):
    """GEMMs as columns (GEMMs, 1), or as rows (1, GEMMs), bytes of whole operands among them."""

    m: Floats
    n: Floats
    k: Floats
    batch: Floats
    value_bytes: Floats
    weights: Floats
    inputs: Floats
    outputs: Floats
    looped: Floats


class Tiling(NamedTuple):
    """How each row of a library's table cuts each GEMM: sides of a tile, tiles along both, rate of products."""

    outputs: Floats
    tokens: Floats
    columns: Floats
    rows: Floats
    efficiency: Floats


class TileBlocks(NamedTuple):
    """What the blocks of each tile do, whatever the splits.

    ``whole_k``: how many there are where k is not split. ``fixed`` and ``step``: cycles of a block for its output, and
    for each element of k; ``busy`` and ``busy_step``: those of them in which the SM can do nothing for another one of
    the ``held`` blocks that it works on at once. ``near`` and ``away``: bytes from L2 and from memory. ``products``:
    flops that the power limit spreads, 0 in an estimate.
    """

    whole_k: Floats
    fixed: Floats
    step: Floats
    near: Floats
    away: Floats
    products: Floats
    busy: Floats
    busy_step: Floats
    held: Floats


class TileSeconds(NamedTuple):
    """What each tile takes, whatever the rate of the memory and the power limit.

    ``launch``, ``compute`` and ``near``: seconds of launches, of the waves of blocks, and of bytes from L2. ``away``:
    bytes from memory. ``products`` as of TileBlocks. ``filled``: blocks over SMs, and ``running`` SMs that have one.
    """

    launch: Floats
    compute: Floats
    near: Floats
    away: Floats
    products: Floats
    filled: Floats
    running: NDArray[np.intp]


class Unlimited(NamedTuple):
    """What the ranked tiles take before the power limit, and the weight of each: arrays (GEMMs, tiles).

    ``power``: seconds over which the limit spreads the kernel at the rate of products that the card sustains.
    """

    weights: Floats
    launch: Floats
    compute: Floats
    memory: Floats
    power: Floats
