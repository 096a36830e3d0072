# SPDX-License-Identifier: Apache-2.0
"""The mapper's counts, one iteration at a time: run every loop of a mapping and watch what each level has to fetch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from simsparse.mapper.layer import DIMS, OUTPUTS, RELEVANT, LoopNest
from simsparse.mapper.machine import SpatialMachine
from simsparse.mapper.mapping import Mapping


def counts(mapping: Mapping, levels: int) -> list[list[tuple[int, int]]]:
    """Loops of each level as (dim, iterations), outermost first; sizes must divide."""
    return [
        [(dim, mapping.tiles[level][dim] // mapping.tiles[level + 1][dim]) for dim in mapping.orders[level]]
        for level in range(levels)
    ]


def steps(mapping: Mapping, levels: int) -> Iterator[list[tuple[int, ...]]]:
    """For every iteration of all loops: for each level, the position by dim of the tile that it holds."""
    loops = [(level, dim, size) for level, own in enumerate(counts(mapping, levels)) for dim, size in own]
    for index in product(*(range(size) for _, _, size in loops)):
        at = [[0] * len(DIMS) for _ in range(levels + 1)]
        for (level, dim, _), step in zip(loops, index, strict=True):
            for inner in range(level + 1, levels + 1):
                at[inner][dim] = at[inner][dim] * 10_000 + step
        yield [tuple(each) for each in at]


def elements(layer: LoopNest, tensor: int, tile: tuple[int, ...]) -> int:
    """Elements of a tensor in a tile, counted one by one for the rims of inputs."""
    n, k, c, p, q, r, s = tile
    if tensor == 0:
        return k * c * r * s
    if tensor == OUTPUTS:
        return n * k * p * q
    columns = {x * layer.strides[0] + y for x in range(p) for y in range(r)}
    rows = {x * layer.strides[1] + y for x in range(q) for y in range(s)}
    full = (max(columns) + 1) * (max(rows) + 1)
    return n * full * c * layer.group // layer.keep


def fetched(layer: LoopNest, machine: SpatialMachine, mapping: Mapping, tensor: int, level: int) -> tuple[int, int]:
    """(elements brought to ``level``, or sent out from it, elements that come back) over the whole layer."""
    size = elements(layer, tensor, mapping.tiles[level])
    dims = sorted(RELEVANT[tensor])
    last, seen, times, again = None, set(), 0, 0
    for at in steps(mapping, len(machine.stores)):
        place = tuple(at[level][dim] for dim in dims)
        if place != last:
            times, again = times + 1, again + (place in seen)
            seen.add(place)
        last = place
    return times * size, again * size
