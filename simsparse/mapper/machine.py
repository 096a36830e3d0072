# SPDX-License-Identifier: Apache-2.0
"""A machine as the mapper sees it: plain numbers, in bytes, cycles and joules."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.config.parts.spatial import SpatialLevel, SpatialPart, SpatialPort
from simsparse.mapper.layer import DIMS, TENSORS


@dataclass(frozen=True)
class LineCache:
    """Bytes of the cache and of a line, and cycles that a line takes which is not there."""

    size: float
    line: float
    miss: float


@dataclass(frozen=True)
class Port:
    """See simsparse.config.parts.spatial.SpatialPort."""

    transaction: float
    beat: float
    beat_cycles: float
    store: float
    store_cycles: float
    caches: tuple[LineCache, ...]


@dataclass(frozen=True)
class MemoryLevel:
    """A memory: see simsparse.config.parts.spatial.SpatialLevel. ``room``: bytes of tiles that fit, None for any.

    ``tensors`` and ``bypass`` are indexes of TENSORS, ``order`` those of DIMS.
    """

    name: str
    tensors: frozenset[int]
    bypass: frozenset[int] = frozenset()
    room: float | None = None
    bytes_per_cycle: float | None = None
    port: Port | None = None
    read_j: float = 0.0
    write_j: float = 0.0
    loops: bool = True
    order: tuple[int, ...] | None = None
    always: bool = False
    stay: bool = False


@dataclass(frozen=True)
class SpatialMachine:
    """An array below ``stores``, outermost first."""

    name: str
    clock_hz: float
    rows: int
    cols: int
    row_dims: tuple[int, ...]
    col_dims: tuple[int, ...]
    stationary: int
    stores: tuple[MemoryLevel, ...]
    block: int = 0
    least: int = 1
    partial_sum: float = 4.0
    issue_gemm: float = 0.0
    issue_conv: float = 0.0
    start: float = 0.0
    overlap: float = 8.0
    ramp: float = 1.0
    mac_j: float = 0.0
    static_w: float = 0.0
    patterns: frozenset[str] = frozenset()

    @classmethod
    def of(cls, part: SpatialPart, dtype: str = "int8") -> SpatialMachine:
        """From a part; multiply-accumulates are priced as those of ``dtype``."""
        array, control = part.array, part.control
        return cls(
            part.name, part.clock.si, array.rows.whole, array.cols.whole, _dims(array.row_dims), _dims(array.col_dims),
            TENSORS.index(array.stationary),
            tuple(_store(part, name, level) for name, level in part.levels.items()),
            array.block.whole if array.block else 0, array.least.whole if array.least else 1, part.partial_sum.si,
            control.issue_gemm.si,
            control.issue_conv.si, control.start.si, control.overlap.si, control.ramp.si,
            part.mac_j(dtype), part.static_w, frozenset(array.patterns),
        )  # fmt: skip


def _store(part: SpatialPart, name: str, level: SpatialLevel) -> MemoryLevel:
    return MemoryLevel(
        name, frozenset(map(TENSORS.index, level.keeps)), frozenset(map(TENSORS.index, level.bypass)),
        level.size.si / level.copies if level.size else None,
        level.bandwidth.si / part.clock.si if level.bandwidth else None, _port(level.port) if level.port else None,
        *part.level_j(name), level.loops, _dims(level.order) if level.order else None,
        level.reloads == "always", level.partial_sums == "stay",
    )  # fmt: skip


def _port(port: SpatialPort) -> Port:
    caches = tuple(LineCache(each.size.si, each.line.si, each.miss.si) for each in port.caches.values())
    return Port(port.transaction.si, port.beat.si, port.beat_cycles.si, port.store.si, port.store_cycles.si, caches)


def _dims(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(map(DIMS.index, names))
