# SPDX-License-Identifier: Apache-2.0
"""VEGETA: tile instructions of a CPU's matrix engine on dense, 2:4 and 1:4 weights, chosen tile by tile."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.dataflow.tile_engine import GROUP, SLAB, TILE, TileEngine, run_tiles, slabs
from simsparse.errors import SpecError
from simsparse.sparsity import Sparsity
from simsparse.sparsity.nonzeros import NonZeros, effectual_macs
from simsparse.sparsity.patterns.nm import NM


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

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, k = same_k(weights, inputs)
        counts = slabs(weights) if machine.settings["sparse"] else np.full((-(-n // TILE), -(-k // SLAB)), 4, np.int64)
        kept = weights.nnz if machine.settings["sparse"] else n * k
        return _work((m, n, k), counts, kept, effectual_macs(weights, inputs), machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        macs = round(weights.kept(n, k) * inputs.kept(m, k) / k)
        sparse = bool(machine.settings["sparse"]) and not weights.is_dense
        counts = _expected_counts(n, k, weights) if sparse else np.full((-(-n // TILE), -(-k // SLAB)), 4, np.int64)
        return _work(shape, counts, weights.kept(n, k) if sparse else n * k, macs, machine)


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


def _expected_counts(n: int, k: int, weights: Sparsity) -> Ints:
    """Instructions of each tile on average, whole numbers that add up to the mean along k."""
    tiles, count = -(-n // TILE), -(-k // SLAB)
    if isinstance(weights, NM) and weights.m == GROUP:
        return np.full((tiles, count), {1: 1, 2: 2, 3: 4, 4: 4}[weights.n], np.int64)
    groups = min(n, TILE) * min(k, SLAB) // GROUP
    at_most = [expected_share(weights.density, groups, limit) for limit in (0, 1, 2)]
    mean = (at_most[1] - at_most[0]) + 2 * (at_most[2] - at_most[1]) + 4 * (1 - at_most[2])
    choices = np.array([1, 2, 4])
    best = int(choices[np.abs(choices - mean).argmin()])
    return np.full((tiles, count), best, np.int64)


def expected_share(density: float, groups: int, limit: int) -> float:
    """Share of tiles in which none of ``groups`` groups of 4 keeps more than ``limit``."""
    one = sum(expected_mass(density, count) for count in range(limit + 1))
    return float(one**groups)


def expected_mass(density: float, count: int) -> float:
    """Probability that a group of 4 keeps ``count``."""
    return float([1, 4, 6, 4, 1][count] * density**count * (1 - density) ** (4 - count))


ENGINES.register("vegeta")(Vegeta())
