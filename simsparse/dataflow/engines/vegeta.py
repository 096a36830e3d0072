# SPDX-License-Identifier: Apache-2.0
"""VEGETA: tile instructions of a CPU's matrix engine on dense, 2:4 and 1:4 weights, chosen tile by tile."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.dataflow.tile_engine import SLAB, TILE, TileEngine, run_tiles, slabs
from simsparse.dataflow.typical import SAMPLE, draws_of, mean_work, typical_part
from simsparse.errors import SpecError
from simsparse.sparsity import Sparsity
from simsparse.sparsity.nonzeros import NonZeros, effectual_macs

SEED = 20231
"""Of the draw that stands for the tiles of weights."""


class Vegeta(SparseEngine):
    """A tile of 16 rows and 128 columns of weights takes 4, 2 or 1 instructions, by its fullest group of 4.

    Outputs of several tiles stay in registers; loads come from the cache ahead of the engine by a slab; an instruction
    waits for the one before it on the same outputs, less with ``forwarding``. With ``sparse`` 0 all weights run dense,
    which is the baseline (RASA). Zeros of inputs cost as much as other values; patterns of another M than 4 run by
    what their groups of 4 hold. Source: Jeong et al., VEGETA, arXiv 2302.08687; sizes of tiles recalled. Left out: the
    core's other instructions, cache misses other than the DRAM's bandwidth.
    """

    name: ClassVar[str] = "vegeta"
    widens: ClassVar[bool] = True
    volume: ClassVar[int] = 2**36
    limits: ClassVar[dict[str, tuple[float, float]]] = {"registers": (6, 64), "load_bytes": (1, 65536)}
    settings: ClassVar[dict[str, str]] = {
        "lanes": "products that a PE adds in a tree",
        "registers": "tile registers of 1 KiB",
        "forwarding": "1: results go straight back in; 0: through the registers",
        "load_bytes": "bytes from the cache a cycle",
        "sparse": "1: has 2:4 and 1:4 instructions; 0: dense ones alone",
    }

    tolerance: ClassVar[float] = 0.15

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, k = same_k(weights, inputs)
        counts = slabs(weights) if machine.settings["sparse"] else np.full((-(-n // TILE), -(-k // SLAB)), 4, np.int64)
        kept = weights.nnz if machine.settings["sparse"] else n * k
        return _work((m, n, k), counts, kept, effectual_macs(weights, inputs), machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        _, n, k = shape
        kept, macs = weights.nonzeros(n, k), products(shape, weights, inputs)
        tall, wide = -(-n // TILE), -(-k // SLAB)
        if not machine.settings["sparse"] or weights.is_dense:
            return _work(shape, np.full((tall, wide), 4, np.int64), n * k, macs, machine)
        works: list[Work] = []
        for draw in draws_of(works, n, k):
            counts = slabs(typical_part(weights, n, min(k, SAMPLE // TILE), draw, k))
            rows = np.arange(tall) % counts.shape[0]
            works.append(_work(shape, counts[rows][:, np.arange(wide) % counts.shape[1]], kept, macs, machine))
        return mean_work(works)


def tile_engine(machine: PeConfig) -> TileEngine:
    """The engine of a machine with these settings. Raises SpecError when it has not 512 multipliers."""
    if machine.peak_macs != TILE * 32:
        raise SpecError(f"{machine.peak_macs} multipliers; expected 512, a tile instruction in 16 cycles", key="array")
    return TileEngine(
        machine.rows, machine.cols, machine.whole("lanes"), machine.whole("registers"),
        bool(machine.settings["forwarding"]), machine.settings["load_bytes"],
    )  # fmt: skip


def _work(shape: tuple[int, int, int], counts: Ints, kept: int, macs: int, machine: PeConfig) -> Work:
    m, n, k = shape
    found = run_tiles(counts, m, k, tile_engine(machine), kept < n * k)
    index = 2 if kept < n * k else 0
    read = ceil_div(kept * (machine.weight_bits + index) + m * k * machine.value_bits, 8)
    write = ceil_div(m * n * machine.output_bits, 8)
    dram = max(0, cycles_of(read + write, machine.dram_bytes) - found.cycles)
    even = ceil_div(macs, machine.peak_macs)
    idle = found.cycles - even - sum(found.waited.values())
    causes = {"compute": even, "idle": idle, **found.waited, "dram": dram}
    return Work(found.cycles + dram, macs, causes, read, write, found.moved, {"instructions": found.instructions})


ENGINES.register("vegeta")(Vegeta())
