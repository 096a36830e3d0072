# SPDX-License-Identifier: Apache-2.0
"""The best mapping of a layer: all of a small space, else the best of random ones improved step by step.

The step: every tile a size larger or smaller in one dim, or in two dims the other way round, every other order of
loops, every other split; the best few go on until none gets better. The search is not exhaustive there: tests compare
it with all mappings of spaces that are small enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from simsparse.errors import MappingError
from simsparse.mapper.cost import MappingCosts, evaluate, fits
from simsparse.mapper.layer import DIMS, LoopNest
from simsparse.mapper.machine import SpatialMachine
from simsparse.mapper.mapping import Mapping
from simsparse.mapper.nest import Floats, TiledNest
from simsparse.mapper.space import ORDERS, MapSpace, Points, spaces

EXHAUSTIVE = 20_000
"""Mappings of a space up to which all are evaluated."""
DRAWN, KEPT, STEPS = 2500, 16, 40


class MappingObjective(StrEnum):
    """What a mapping is chosen by: cycles, joules, or their product."""

    LATENCY = "latency"
    ENERGY = "energy"
    EDP = "edp"


@dataclass(frozen=True)
class MappedLayer:
    """The best mapping that was found, what it costs, and how many were evaluated (``all_of_them``: the whole space).

    ``parts``: cycles by what takes them, ``reads`` and ``writes`` bytes by level.
    """

    layer: LoopNest
    mapping: Mapping
    cycles: float
    energy_j: float
    utilization: float
    parts: dict[str, float]
    reads: dict[str, float]
    writes: dict[str, float]
    evaluated: int
    all_of_them: bool


@lru_cache(maxsize=4096)
def map_layer(
    layer: LoopNest,
    machine: SpatialMachine,
    objective: MappingObjective = MappingObjective.LATENCY,
    exhaustive: int = EXHAUSTIVE,
) -> MappedLayer:
    """The best mapping of ``layer`` by ``objective``. Raises MappingError when no tile fits.

    Spaces of up to ``exhaustive`` mappings are evaluated whole.
    """
    found = [_best(space, objective, exhaustive) for space in spaces(layer, machine)]
    good = [each for each in found if each is not None]
    if not good:
        raise MappingError(f"no tile of {layer.sizes} fits the memories of {machine.name}", key=layer.name)
    _, space, point, _, _ = min(good, key=lambda each: each[0])
    nest = space.nest(point)
    evaluated, whole = sum(each[3] for each in good), all(each[4] for each in good)
    return _mapped(nest, evaluate(nest), evaluated, whole)


_Best = tuple[float, MapSpace, Points, int, bool]


def _best(space: MapSpace, objective: MappingObjective, exhaustive: int) -> _Best | None:
    whole = space.count <= exhaustive
    points, scores = _scored(space, _all(space) if whole else _drawn(space), objective)
    evaluated = len(points)
    if not len(points):
        return None
    if not whole:
        points, scores, more = _improved(space, points, scores, objective)
        evaluated += more
    best = int(np.argmin(scores))
    return float(scores[best]), space, points[best : best + 1], evaluated, whole


def _scored(space: MapSpace, points: Points, objective: MappingObjective) -> tuple[Points, Floats]:
    """The points whose tiles fit, and their scores."""
    good = fits(space.nest(points))
    points = points[good]
    if not len(points):
        return points, np.zeros(0)
    return points, score(evaluate(space.nest(points)), objective)


def score(costs: MappingCosts, objective: MappingObjective) -> Floats:
    """What ``objective`` minimises; ties go to what the other costs less."""
    if objective is MappingObjective.EDP:
        return costs.cycles * costs.energy_j
    first, second = (
        (costs.cycles, costs.energy_j) if objective is MappingObjective.LATENCY else (costs.energy_j, costs.cycles)
    )
    return np.asarray(first * (1 + 1e-9 * second / max(float(second.max()), 1e-300)))


def _all(space: MapSpace) -> Points:
    """Every point of a small space."""
    parts = []
    for split, limits in enumerate(space.sizes[1].tolist()):
        shape = [*(limits * len(space.tiled)), *[len(ORDERS)] * len(space.ordered)]
        flat = np.indices(shape, dtype=np.int64).reshape(len(shape), -1).T
        cut = len(DIMS) * len(space.tiled)
        sizes = flat[:, :cut].reshape(-1, len(space.tiled), len(DIMS))
        parts.append(Points(np.full(len(flat), split), sizes, flat[:, cut:]))
    return Points.joined(parts)


def _drawn(space: MapSpace) -> Points:
    """Random points, and the ones with the smallest and with the largest tiles."""
    draw = np.random.default_rng(0)
    limits = space.sizes[1]
    split = draw.integers(len(limits), size=DRAWN)
    room = limits[split][:, None, :]
    sizes = (draw.random((DRAWN, len(space.tiled), len(DIMS))) * room).astype(np.int64)
    sizes[: len(limits)], split[: len(limits)] = 0, np.arange(len(limits))
    order = draw.integers(len(ORDERS), size=(DRAWN, len(space.ordered)))
    return Points(split, sizes, order)


def _improved(
    space: MapSpace, points: Points, scores: Floats, objective: MappingObjective
) -> tuple[Points, Floats, int]:
    """The best points after steps that no longer help, their scores, and how many were evaluated on the way."""
    evaluated = 0
    for _ in range(STEPS):
        kept = np.argsort(scores, kind="stable")[:KEPT]
        points, scores = points[kept], scores[kept]
        around, found = _scored(space, _neighbours(space, points), objective)
        evaluated += len(around)
        if not len(found) or found.min() >= scores[0] * (1 - 1e-6):
            break
        points = Points.joined([points, around])
        points, scores = _scored(space, points, objective)
    return points, scores, evaluated


def _neighbours(space: MapSpace, points: Points) -> Points:
    """Points one step away from ``points``."""
    moves = _moves(len(space.tiled))
    sizes = points.size[:, None] + moves[None]
    limits = space.sizes[1][points.split][:, None, None, :]
    sizes = np.clip(sizes, 0, limits - 1).reshape(-1, len(space.tiled), len(DIMS))
    times = len(moves)
    found = [Points(np.repeat(points.split, times), sizes, np.repeat(points.order, times, axis=0))]
    for slot in range(len(space.ordered)):
        for order in range(len(ORDERS)):
            turned = points.order.copy()
            turned[:, slot] = order
            found.append(Points(points.split, points.size, turned))
    for split in range(len(space.splits)):
        other = np.full(len(points), split)
        most = space.sizes[1][other][:, None, :] - 1
        found.append(Points(other, np.minimum(points.size, most), points.order))
    return Points.joined(found)


@lru_cache(maxsize=8)
def _moves(levels: int) -> np.ndarray:
    """(moves, levels, 7) steps of sizes: one dim of a level by up to three, or two dims against each other."""
    found = []
    places = [(level, dim) for level in range(levels) for dim in range(len(DIMS))]
    for place in places:
        found += [{place: step} for step in (-3, -2, -1, 1, 2, 3)]
        found += [{place: 1, other: -1} for other in places if other != place]
    moves = np.zeros((len(found), levels, len(DIMS)), np.int64)
    for row, change in enumerate(found):
        for (level, dim), step in change.items():
            moves[row, level, dim] = step
    return moves


def _mapped(nest: TiledNest, costs: MappingCosts, evaluated: int, whole: bool) -> MappedLayer:
    machine = nest.machine
    mapping = Mapping(
        tuple(tuple(map(int, sizes)) for sizes in nest.tiles[0]),
        tuple(tuple(map(int, order)) for order in nest.orders[0]), nest.keeps,
    )  # fmt: skip
    cycles = float(costs.cycles[0])
    first = {
        kind: {name: float(values[0]) for name, values in getattr(costs, kind).items()}
        for kind in ("parts", "reads", "writes")
    }
    used = nest.layer.macs / (cycles * machine.rows * machine.cols)
    return MappedLayer(
        nest.layer, mapping, cycles, float(costs.energy_j[0]), used, first["parts"], first["reads"], first["writes"],
        evaluated, whole,
    )  # fmt: skip
