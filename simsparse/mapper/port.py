# SPDX-License-Identifier: Apache-2.0
"""Cycles of the outermost memory's port: transactions of rows, and lines that are in none of its caches.

A tile is loaded row by row. A line is in a cache where everything that was used since its last use fits there. Lines
at a distance of a power of two share the sets of a cache, so that rows of which a piece is used take the room of the
whole rows. Source: the loop structure of ucb-bar/gemmini's DMA (one request per row of up to 64 bytes), the caches of
its system; the prices are fitted (docs/explanation/mapper.md).
"""

from __future__ import annotations

import math

import numpy as np

from simsparse.mapper.layer import DIMS
from simsparse.mapper.machine import LineCache, Port
from simsparse.mapper.nest import Floats, TiledNest, tensor_bits, tensor_rows

_MOST_SETS = 1 << 16
"""A power of two that no cache has more sets than."""


def load_cycles(nest: TiledNest, port: Port, loads: dict[int, Floats], level: dict[int, int]) -> Floats:
    """Cycles of ``loads`` (by tensor, tiles of its ``level``) over the port."""
    total = np.zeros(len(nest.tiles))
    for tensor, times in loads.items():
        rows, chunk = tensor_rows(nest.layer, tensor, nest.shares[:, level[tensor]])
        size = chunk * tensor_bits(nest.layer, tensor) / 8
        whole, rest = np.divmod(size, port.transaction)
        beats = whole * math.ceil(port.transaction / port.beat) + np.ceil(rest / port.beat)
        total += times * rows * beats * port.beat_cycles
    requests = {t: times * _requests(nest, port, t, level[t]) for t, times in loads.items()}
    for cache in port.caches:
        missed = _misses(nest, cache, level)
        requests = {tensor: np.minimum(missed[tensor], most) for tensor, most in requests.items()}
        total += cache.miss * sum(requests.values(), np.zeros(len(nest.tiles)))
    return total


def store_cycles(nest: TiledNest, port: Port, tensor: int, times: Floats, level: int) -> Floats:
    """Cycles to write ``times`` tiles of ``tensor`` back."""
    rows, chunk = tensor_rows(nest.layer, tensor, nest.shares[:, level])
    pieces = np.ceil(chunk * tensor_bits(nest.layer, tensor) / 8 / port.store)
    return np.asarray(times * rows * pieces * port.store_cycles)


def _requests(nest: TiledNest, port: Port, tensor: int, level: int) -> Floats:
    rows, chunk = tensor_rows(nest.layer, tensor, nest.shares[:, level])
    return np.asarray(rows * np.ceil(chunk * tensor_bits(nest.layer, tensor) / 8 / port.transaction))


def _misses(nest: TiledNest, cache: LineCache, level: dict[int, int]) -> dict[int, Floats]:
    """Lines of each tensor that are not in the cache when they are asked for, over all loops of the first level."""
    sizes = nest.shares[:, 1].copy()
    count = np.take_along_axis(nest.counts[:, 0], nest.orders[:, 0], axis=1)
    lines, room = _lines(nest, cache, sizes, level)
    missed, used = dict(lines), room
    for step in reversed(range(len(DIMS))):
        dim, times = nest.orders[:, 0, step], count[:, step]
        fits = used <= cache.size / cache.line
        rows = np.arange(len(sizes))
        sizes[rows, dim] = np.minimum(sizes[rows, dim] * times, nest.shares[rows, 0, dim])
        grown, used = _lines(nest, cache, sizes, level)
        for tensor, before in lines.items():
            missed[tensor] = missed[tensor] * np.where(fits, grown[tensor] / before, times)
        lines = grown
    warm = used <= cache.size / cache.line
    return {tensor: np.where(warm, 0.0, misses) for tensor, misses in missed.items()}


def _lines(nest: TiledNest, cache: LineCache, sizes: Floats, level: dict[int, int]) -> tuple[dict[int, Floats], Floats]:
    """Lines of tiles of ``sizes`` by tensor that is read, and the room in lines that they take together."""
    found, room = {}, np.zeros(len(sizes))
    for tensor in level:
        rows, chunk = tensor_rows(nest.layer, tensor, sizes)
        pitch = _pitch(nest, tensor)
        size = np.minimum(chunk * tensor_bits(nest.layer, tensor) / 8, pitch)
        whole = (size >= pitch) | (pitch < cache.line)
        own = np.where(whole, rows * pitch / cache.line, rows * np.maximum(1.0, size / cache.line))
        apart = pitch / cache.line
        shared = math.gcd(int(apart), _MOST_SETS) if apart == int(apart) and apart >= 1 else 1
        found[tensor] = own
        room += np.where(whole, own, own * np.maximum(1.0, shared / np.maximum(1.0, size / cache.line)))
    return found, room


def _pitch(nest: TiledNest, tensor: int) -> float:
    """Bytes from one row of the whole tensor to the next."""
    _, chunk = tensor_rows(nest.layer, tensor, nest.shares[:1, 0])
    return float(chunk[0]) * tensor_bits(nest.layer, tensor) / 8
