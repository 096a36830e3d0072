# SPDX-License-Identifier: Apache-2.0
"""Seconds of attention kernels by their tiles: a row of tiles takes cycles to start and end, each tile some more.

All SMs are taken to share the tiles evenly, as rows are many more than SMs. Left out: bytes (tiles are bound by their
products), rows longer than the mean on a card that few rows fill, caches of long prompts that outgrow the L2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsparse.config.parts.gpu_tiled_attention import GpuTiledKernel
from simsparse.core.varying_arrays import filled
from simsparse.devices.gpu_card import Card, Floats, KernelTimes

ROW, KEYS = 128, 64
"""Queries of a row of tiles, and keys of a tile. Source: flash_attn 2 and the Triton tutorial, head dim 128."""
MEASURED_DIM = 128
"""Head dim that the kernels were measured with; others are taken to scale with it."""


@dataclass(frozen=True)
class Tiles:
    """Rows of tiles and tiles of each launch, all heads and sequences together, and the head dim."""

    rows: Floats
    steps: Floats
    head_dim: Floats


def tiled_seconds(tiles: Tiles, kernel: GpuTiledKernel, card: Card) -> KernelTimes:
    """Seconds of each launch."""
    cycles = (tiles.rows * kernel.unit.si + tiles.steps * kernel.step.si) * tiles.head_dim / MEASURED_DIM
    compute = cycles / card.cycles_per_s
    launch = filled(len(compute), kernel.launch.si)
    return KernelTimes(launch + compute, compute, np.zeros(len(compute)), launch)


def causal_tiles(queries: int, keys: int, row: int = ROW) -> int:
    """Tiles of one head in which a query of each row sees a key, aligned at the bottom right."""
    last = np.minimum(np.arange(row, queries + row, row), queries) + (keys - queries)
    return int(np.ceil(np.clip(last, 0, keys) / KEYS).sum())


def selected_tiles(queries: int, keys: int, blocks: int) -> int:
    """Blocks of 64 keys that the queries of one head read, each up to ``blocks`` of those before it."""
    seen = np.maximum(np.arange(1, queries + 1) + (keys - queries), 0)
    return int(np.minimum(blocks, -(-seen // KEYS)).sum())
