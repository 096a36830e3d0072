# SPDX-License-Identifier: Apache-2.0
"""Accelerators described as an array of multipliers below a hierarchy of memories, for the mapper."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simsparse.config.floorplan import Floorplan, spatial_floorplan
from simsparse.config.hardware import PARTS
from simsparse.config.nm_patterns import NmPatterns
from simsparse.config.parts.accel import AccelVector
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    DTypeName,
    Frozen,
    Hertz,
    Joules,
    JoulesPerByte,
    Part,
    Quantity,
    Ratio,
    Ticks,
    Watts,
    Whole,
)
from simsparse.config.silicon import SiliconSpec

Tensor = Literal["weights", "inputs", "outputs"]
Dim = Literal["n", "k", "c", "p", "q", "r", "s"]


class SpatialArray(Frozen):
    """``rows`` x ``cols`` multipliers, one multiply-accumulate each a cycle.

    The loops over ``row_dims`` are split over the rows and those over ``col_dims`` over the columns. ``stationary``
    stays in the multipliers while the loops that it does not depend on stream past it. A change of it takes as many
    cycles as there are rows, hidden behind the block before. With ``block``, a stream is cut into blocks of so many
    columns of one row of the result, and each takes at least ``least`` cycles (1 without). ``patterns``: the N:M
    weights whose zeros the array skips; its rows then hold kept weights.
    """

    rows: Whole
    cols: Whole
    row_dims: tuple[Dim, ...]
    col_dims: tuple[Dim, ...]
    stationary: Tensor
    block: Whole | None = None
    least: Whole | None = None
    patterns: NmPatterns = ()


class SpatialCache(Frozen):
    """A cache between a memory and its port: ``size``, ``line``, and the cycles that a line that is not there takes."""

    size: Bytes
    line: Bytes
    miss: Ratio


class SpatialPort(Frozen):
    """How rows of a tensor come over: in transactions of up to ``transaction`` bytes, each in beats of ``beat`` bytes
    that take ``beat_cycles``; results go back in pieces of ``store`` bytes that take ``store_cycles``. ``caches``, the
    nearest first, hold what was used last."""

    transaction: Bytes
    beat: Bytes
    beat_cycles: Ratio
    store: Bytes
    store_cycles: Ratio
    caches: dict[str, SpatialCache] = Field(default_factory=dict)


class SpatialLevel(Frozen):
    """A memory. ``keeps``: the tensors that it holds; those of ``bypass`` may pass by where a mapping does better.

    Tiles must fit ``size``; ``copies`` of 2 says that half of it is being refilled. ``bandwidth`` is that of reads and
    writes together, ``port`` describes it closer. ``loops``: whether the level may iterate over tiles of the next one.
    ``order``: the order of its loops where the hardware fixes it, outermost first. ``reloads``: a tile is loaded again
    for every iteration (``always``) or when it changes (``changed``). ``partial_sums``: outputs that are not
    complete go out and come back (``move``) or stay inside, whatever their size (``stay``).
    """

    keeps: tuple[Tensor, ...]
    bypass: tuple[Tensor, ...] = ()
    size: Bytes | None = None
    copies: Literal[1, 2] = 1
    bandwidth: BytesPerSecond | None = None
    port: SpatialPort | None = None
    read: JoulesPerByte | None
    write: JoulesPerByte | None
    loops: bool = True
    order: tuple[Dim, ...] | None = None
    reloads: Literal["always", "changed"] = "changed"
    partial_sums: Literal["move", "stay"] = "move"

    @model_validator(mode="after")
    def _consistent(self) -> SpatialLevel:
        if not set(self.bypass) <= set(self.keeps):
            raise ValueError(f"bypass {', '.join(self.bypass)}: only what a level keeps can bypass it")
        if self.order is not None and sorted(self.order) != sorted(("n", "k", "c", "p", "q", "r", "s")):
            raise ValueError("order must hold each of n, k, c, p, q, r, s once")
        return self


class SpatialControl(Frozen):
    """What runs beside the data: cycles to ``issue`` a tile of a product or a convolution, cycles to ``start``.

    ``overlap``: the exponent p with which the cycles of loads, array, stores and control add, as
    (load^p + array^p + ...)^(1/p): 1 where nothing overlaps, many where all does. ``ramp``: the share of one tile's
    load, array and store cycles that shows at the ends. ``objective``: what mappings are chosen by.
    """

    issue_gemm: Ticks
    issue_conv: Ticks
    start: Ticks
    overlap: Ratio
    ramp: Ratio
    objective: Literal["latency", "energy", "edp"] = "latency"


class SpatialEnergy(Frozen):
    """Price of a multiply-accumulate by element type and of a vector operation, and power drawn whatever runs.

    Those that are null follow from the part's components and ``silicon``.
    """

    mac: dict[DTypeName, Joules | None]
    flop: Joules | None
    static: Watts | None


@PARTS.register("spatial")
class SpatialPart(Part):
    """An array below a hierarchy of memories, ``levels`` outermost first; the mapper finds how a layer runs on it.

    ``partial_sum``: bytes of an output that is not complete. With ``silicon``, an area, prices of memories on chip and
    of actions that are null follow from the part's sizes (simsparse.config.floorplan).
    """

    kind: Literal["spatial"]
    clock: Hertz
    array: SpatialArray
    levels: Annotated[dict[str, SpatialLevel], Field(min_length=2)]
    partial_sum: Bytes
    capacity: Bytes
    control: SpatialControl
    vector: AccelVector
    energy: SpatialEnergy
    silicon: SiliconSpec | None = None

    @model_validator(mode="after")
    def _whole(self) -> SpatialPart:
        outermost = next(iter(self.levels.values()))
        if set(outermost.keeps) != {"weights", "inputs", "outputs"} or outermost.bypass or outermost.size:
            raise ValueError("the outermost level must keep weights, inputs and outputs, without size and bypass")
        if outermost.port is None and outermost.bandwidth is None:
            raise ValueError("the outermost level needs a bandwidth or a port")
        if not list(self.levels.values())[-1].loops:
            raise ValueError("the innermost level must have loops; the array has none of its own")
        if outermost.read is None or outermost.write is None:
            raise ValueError("the outermost level is another chip; its read and write must be given")
        if self.silicon is None and (unknown := self._unknown()):
            raise ValueError(f"{unknown[0]} is null; without silicon it must be given")
        if self.control.overlap.si < 1:
            raise ValueError(f"control.overlap {self.control.overlap.text} must be at least 1")
        return self

    def _unknown(self) -> list[str]:
        """Prices that the file leaves to the components."""
        found = [f"energy.{name}" for name in ("flop", "static") if getattr(self.energy, name) is None]
        found += [f"energy.mac.{dtype}" for dtype, price in self.energy.mac.items() if price is None]
        return found + [
            f"levels.{name}.{side}" for name, level in self.levels.items() for side in ("read", "write")
            if getattr(level, side) is None
        ]  # fmt: skip

    @property
    def dram_bytes_per_s(self) -> float:
        """Bytes per second of the outermost level, streamed in order."""
        level = next(iter(self.levels.values()))
        if level.port is not None:
            return level.port.beat.si / level.port.beat_cycles.si * self.clock.si
        assert level.bandwidth is not None
        return level.bandwidth.si

    @cached_property
    def floorplan(self) -> Floorplan | None:
        """What the part's components take, None without ``silicon``. Raises SpecError."""
        return spatial_floorplan(self) if self.silicon else None

    @property
    def counted_area(self) -> Quantity | None:
        plan = None if self.area else self.floorplan
        return plan.area if plan else self.area

    def mac_j(self, dtype: str) -> float:
        """Joules of a multiply-accumulate of ``dtype``, 0 where the part has none."""
        stated = self.energy.mac.get(dtype)
        if stated is not None or dtype not in self.energy.mac:
            return stated.si if stated else 0.0
        return self.floorplan.mac_j[dtype] if self.floorplan else 0.0

    def level_j(self, name: str) -> tuple[float, float]:
        """Joules of a byte read from and written to a level."""
        level, own = self.levels[name], self.floorplan.memory_j.get(name, 0.0) if self.floorplan else 0.0
        return level.read.si if level.read else own, level.write.si if level.write else own

    @property
    def flop_j(self) -> float:
        """Joules of a vector operation."""
        return self.energy.flop.si if self.energy.flop else self.floorplan.flop_j if self.floorplan else 0.0

    @property
    def static_w(self) -> float:
        """Watts that the part draws whatever runs."""
        return self.energy.static.si if self.energy.static else self.floorplan.static_w if self.floorplan else 0.0
