# SPDX-License-Identifier: Apache-2.0
"""What mappings cost: cycles by what they wait for, bytes by level, energy.

Every level that keeps a tensor reads its tile from the next level outside that keeps it too, whenever the tile
changes; outputs go the other way, and come back where the sum goes on later. The innermost level feeds the array: the
stationary tensor once for every change, the others every cycle, each value once for all rows or columns that share it.

Left out: latency of a single access beyond ``start`` and the ramp, bank conflicts, data of earlier layers that is
still on chip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from simsparse.mapper.layer import INPUTS, OUTPUTS, RELEVANT, TENSORS, WEIGHTS, C, K, N, P, Q, R, S
from simsparse.mapper.nest import Floats, TiledNest, tensor_bits
from simsparse.mapper.port import load_cycles, store_cycles


@dataclass(frozen=True)
class MappingCosts:
    """One array element per mapping.

    ``cycles``: of the whole layer. ``parts``: cycles by what takes them (array, load, store, control, the name of a
    level that has a bandwidth), which overlap, and ``ends``, the start and what of a tile shows at the ends.
    ``reads``, ``writes``: bytes by level. ``energy_j`` with static power. ``fits``: whether all tiles fit.
    """

    cycles: Floats
    parts: Mapping[str, Floats]
    reads: Mapping[str, Floats]
    writes: Mapping[str, Floats]
    energy_j: Floats
    fits: np.ndarray


@dataclass
class _Traffic:
    """Bytes read and written by level; loads and stores of tiles that cross the first level's port."""

    reads: list[Floats]
    writes: list[Floats]
    loads: dict[int, Floats] = field(default_factory=dict)
    level: dict[int, int] = field(default_factory=dict)
    stores: Floats | None = None


def evaluate(nest: TiledNest) -> MappingCosts:
    """Costs of every mapping of ``nest``."""
    machine, layer, number = nest.machine, nest.layer, len(nest.tiles)
    traffic = _Traffic([np.zeros(number) for _ in machine.stores], [np.zeros(number) for _ in machine.stores])
    for tensor in (WEIGHTS, INPUTS, OUTPUTS):
        _moves(nest, tensor, traffic)
        _feeds(nest, tensor, traffic)
    parts = {"array": array_cycles(nest), **_memory_cycles(nest, traffic)}
    tiles = nest.iterations(1)
    parts["control"] = tiles * (machine.issue_gemm if layer.is_gemm else machine.issue_conv)
    cycles = _overlapped(parts, machine.overlap)
    moved = np.sum([cost for name, cost in parts.items() if name != "control"], axis=0)
    parts["ends"] = machine.start + machine.ramp * moved / tiles
    cycles += parts["ends"]
    energy = layer.macs * machine.mac_j + machine.static_w * cycles / machine.clock_hz
    for store, read, written in zip(machine.stores, traffic.reads, traffic.writes, strict=True):
        energy = energy + read * store.read_j + written * store.write_j
    names = [store.name for store in machine.stores]
    return MappingCosts(
        cycles, parts, dict(zip(names, traffic.reads, strict=True)), dict(zip(names, traffic.writes, strict=True)),
        energy, fits(nest),
    )  # fmt: skip


def fits(nest: TiledNest) -> np.ndarray:
    """Which mappings' tiles fit every level."""
    good = np.ones(len(nest.tiles), np.bool_)
    for level, store in enumerate(nest.machine.stores):
        if store.room is not None:
            used = sum(nest.elements(t, level, nominal=True) * _inside_bytes(nest, t) for t in nest.keeps[level])
            good &= used <= store.room
    return good


def _inside_bytes(nest: TiledNest, tensor: int) -> float:
    """Bytes of an element below the first level: outputs are partial sums there."""
    return nest.machine.partial_sum if tensor == OUTPUTS else tensor_bits(nest.layer, tensor) / 8


def _moves(nest: TiledNest, tensor: int, traffic: _Traffic) -> None:
    """Bytes of ``tensor`` between each level that keeps it and the next one outside."""
    stores = nest.machine.stores
    kept = [level for level in range(len(stores)) if tensor in nest.keeps[level]]
    for outer, level in pairwise(kept):
        times = nest.iterations(level) if stores[level].always else nest.changes(tensor, level)
        size = nest.elements(tensor, level)
        if tensor != OUTPUTS:
            moved = times * size * tensor_bits(nest.layer, tensor) / 8
            traffic.reads[outer] += moved
            traffic.writes[level] += moved
            if outer == 0:
                traffic.loads[tensor], traffic.level[tensor] = times, level
            continue
        distinct = nest.distinct(OUTPUTS, level)
        again = np.zeros(len(size)) if stores[level].stay else np.maximum(0.0, nest.changes(OUTPUTS, level) - distinct)
        out_bytes = nest.layer.bits[OUTPUTS] / 8 if outer == 0 else nest.machine.partial_sum
        back, final = again * size * nest.machine.partial_sum, distinct * size * out_bytes
        traffic.reads[outer] += back
        traffic.writes[outer] += back + final
        traffic.writes[level] += back
        traffic.reads[level] += back + final
        if outer == 0:
            partial = nest.machine.partial_sum * 8 / nest.layer.bits[OUTPUTS]
            traffic.stores, traffic.level[OUTPUTS] = distinct + again * partial, level
            traffic.loads[OUTPUTS] = again * partial


def _feeds(nest: TiledNest, tensor: int, traffic: _Traffic) -> None:
    """Bytes of ``tensor`` between its innermost level and the array."""
    last = max(level for level in range(nest.levels) if tensor in nest.keeps[level])
    unit = nest.elements(tensor, nest.levels)
    stationary = tensor == nest.machine.stationary
    times = nest.changes(tensor, nest.levels) if stationary else nest.iterations(nest.levels)
    if tensor != OUTPUTS:
        traffic.reads[last] += times * unit * tensor_bits(nest.layer, tensor) / 8
        return
    size = nest.machine.partial_sum if last else nest.layer.bits[OUTPUTS] / 8
    traffic.writes[last] += times * unit * size
    traffic.reads[last] += np.maximum(0.0, times - nest.distinct(OUTPUTS, nest.levels)) * unit * size


def _memory_cycles(nest: TiledNest, traffic: _Traffic) -> dict[str, Floats]:
    """Cycles of the port, or of the bandwidth, of every level that has one."""
    found: dict[str, Floats] = {}
    for level, store in enumerate(nest.machine.stores):
        if store.port is not None:
            read = {tensor: level for tensor, level in traffic.level.items() if tensor != OUTPUTS}
            loads = {tensor: times for tensor, times in traffic.loads.items() if tensor != OUTPUTS}
            found["load"] = load_cycles(nest, store.port, loads, read)
            if traffic.stores is not None:
                times = traffic.stores + traffic.loads[OUTPUTS]
                found["store"] = store_cycles(nest, store.port, OUTPUTS, times, traffic.level[OUTPUTS])
        elif store.bytes_per_cycle is not None:
            found[store.name] = (traffic.reads[level] + traffic.writes[level]) / store.bytes_per_cycle
    return found


def _overlapped(parts: Mapping[str, Floats], exponent: float) -> Floats:
    """``(a^p + b^p + ...)^(1/p)``, scaled by the largest so that no power overflows."""
    stacked = np.stack(list(parts.values()))
    most = np.maximum(stacked.max(axis=0), 1.0)
    return np.asarray(most * ((stacked / most) ** exponent).sum(axis=0) ** (1 / exponent))


def array_cycles(nest: TiledNest) -> Floats:
    """Cycles of the array: every change of the stationary tensor, and the stream past it."""
    machine, inner = nest.machine, nest.counts[:, -1]
    fixed = sorted(RELEVANT[machine.stationary])
    folds = nest.iterations(nest.levels - 1) * inner[:, fixed].prod(axis=1)
    if not machine.block:
        streams = [dim for dim in (N, K, C, P, Q, R, S) if dim not in fixed]
        return np.asarray(folds * np.maximum(inner[:, streams].prod(axis=1), machine.rows))
    columns = nest.shares[:, -2, P] / nest.shares[:, -1, P]
    blocks = np.ceil(columns / machine.block)
    last = np.maximum(machine.least, columns - (blocks - 1) * machine.block)
    lines = nest.shares[:, -2, Q] * nest.shares[:, -2, N]
    first = np.maximum(machine.least, np.minimum(columns, machine.block))
    stream = lines * ((blocks - 1) * machine.block + last)
    return np.asarray(folds * (stream + np.maximum(0.0, machine.rows - first)))


__all__ = ["TENSORS", "MappingCosts", "array_cycles", "evaluate", "fits"]
