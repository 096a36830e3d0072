# SPDX-License-Identifier: Apache-2.0
"""Weights with the zeros that an engine is for: blocks, banks, N:M groups, grouped n:m, constant fan-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from simsparse.core import DENSE, Sparsity
from simsparse.dataflow.sparse_engine import PeConfig
from simsparse.sparsity.nonzeros import NonZeros

SEED = 1


@dataclass(frozen=True)
class Weights:
    """Weights of one arrangement of zeros: ``density`` is the share kept, ``settings`` those of the engine that the
    arrangement replaces (a counter set to another n:m)."""

    label: str
    density: float
    draw: Callable[[int, int], NonZeros]
    settings: Mapping[str, float] = field(default_factory=dict)
    sparsity: Sparsity = DENSE
    """As which inputs like these are drawn."""

    @classmethod
    def of(cls, sparsity: Sparsity) -> Weights:
        """Drawn as ``sparsity`` says."""
        return cls(str(sparsity), sparsity.density, lambda rows, cols: sparsity.draw(rows, cols, SEED), {}, sparsity)


def random_zeros(density: float) -> Weights:
    """Every weight kept with probability ``density``, by itself."""
    return Weights.of(DENSE if density >= 1 else Sparsity.parse(f"unstructured:{density:g}"))


def groups(pairs: Sequence[tuple[int, int]]) -> list[Weights]:
    """N:M weights of each (n, m), and dense ones."""
    return [*(Weights.of(Sparsity.parse(f"{n}:{m}")) for n, m in pairs), Weights.of(DENSE)]


def grouped_rows(n: int, m: int, g: int) -> Weights:
    """Grouped n:m weights (n:m:g); the counter of the engine walks n of m."""
    label = "dense" if n == m else f"{n}:{m}:{g}"
    return Weights(label, n / m, lambda rows, cols: grouped_pattern(rows, cols, n, m, g), {"n": n, "m": m})


def grouped_pattern(rows: int, cols: int, n: int, m: int, g: int) -> NonZeros:
    """n:m:g in random places: of a chunk of C(m, n) g rows, every choice of n of m columns has g, group by group.

    A last chunk is cut at ``rows``, a last group at ``cols``.
    """
    rng = np.random.default_rng([SEED, rows, cols])
    kept = np.array(list(combinations(range(m), n)), np.int64)
    choices = np.zeros((len(kept), m), np.bool_)
    np.put_along_axis(choices, kept, True, axis=1)
    places = np.tile(np.repeat(np.arange(len(choices)), g), (-(-cols // m), 1))
    chunks = [choices[rng.permuted(places, axis=1).T] for _ in range(-(-rows // places.shape[1]))]
    return NonZeros.of(np.concatenate(chunks).reshape(-1, places.shape[0] * m)[:rows, :cols])


def arranged(engine: str, machine: PeConfig, densities: Sequence[float], k: int) -> list[Weights]:
    """Weights that an engine of ARRANGED is for, sparsest first: of ``densities`` where any density goes (BY_DENSITY),
    else of all its arrangements."""
    match engine:
        case "block_mma":
            edge = max(machine.whole("block_n"), machine.whole("block_k"))
            return [_share(f"block{edge}", density) for density in densities]
        case "fan_in":
            return [_share(f"bank{k}", density) for density in densities]
        case "s4":
            return _banks(machine.whole("bank"))
        case "nmg":
            return [grouped_rows(n, m, machine.whole("g")) for n, m in COUNTED]
        case "sat":
            group = machine.whole("group")
            return groups([(n, group) for n in _doubled(group)])
        case "sparse_tensor_core":
            keep, widest = machine.whole("keep"), machine.whole("widest")
            return groups([(keep, m) for m in range(widest, keep, -2)])
        case _:
            return groups([(1, 4), (2, 4)])


def _share(kind: str, density: float) -> Weights:
    return Weights.of(DENSE if density >= 1 else Sparsity.parse(f"{kind}:{density:g}"))


def _banks(bank: int) -> list[Weights]:
    """1, 2, 4, .. kept of every bank, and all."""
    drawn = {kept: _share(f"bank{bank}", kept / bank) for kept in _doubled(bank)}
    return [*(replace(each, label=f"{kept} of {bank}") for kept, each in drawn.items()), Weights.of(DENSE)]


def _doubled(below: int) -> list[int]:
    return [2**i for i in range(below.bit_length()) if 2**i < below]


COUNTED = ((1, 16), (1, 8), (1, 4), (2, 4), (4, 4))
"""n:m that a counter is set to; 4:4 is dense."""
ARRANGED = frozenset({"block_mma", "fan_in", "nmg", "s4", "sat", "sparse_tensor_core", "vegeta"})
"""Engines that are for one arrangement of zeros."""
BY_DENSITY = frozenset({"block_mma", "fan_in"})
"""Of them those whose arrangement has any density."""
INPUTS_ALONE = frozenset({"delta"})
"""Engines that skip zeros of inputs but none of weights."""
NO_ZEROS = {"edge_moe": "skips experts that no token asks for, and no zero of a matrix"}
"""Engines that skip something else, and what."""
