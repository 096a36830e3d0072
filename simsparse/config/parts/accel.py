# SPDX-License-Identifier: Apache-2.0
"""Accelerators built round a systolic array, dense or N:M sparse."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import model_validator

from simsparse.config.floorplan import Floorplan, accel_floorplan
from simsparse.config.hardware import PARTS
from simsparse.config.nm_patterns import NmPatterns
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    DTypeName,
    Efficiency,
    FlopsPerSecond,
    FormatName,
    Frozen,
    Hertz,
    Joules,
    JoulesPerByte,
    Part,
    Quantity,
    Ratio,
    Seconds,
    Share,
    Watts,
    Whole,
)
from simsparse.config.silicon import SiliconSpec


class AccelArray(Frozen):
    """``rows`` x ``cols`` processing elements (PEs) at ``clock``.

    ``dataflow`` is the name of one of simsparse.dataflow, such as ws, os or is, or of a sparse engine
    such as eyeriss_v2, which has its own numbers under ``engine``. ``macs`` are
    the multiply-accumulates of one PE in one cycle, by dtype. ``skew`` is what a fold pays for
    filling and draining the array, in cycles beyond those of the data itself, as a multiple of
    ``rows + cols``; ``overlap`` is the share of the load of the next fold's stationary operand that
    hides behind the current fold (0: none, 1: double-buffered PEs). A sparse engine has neither.
    """

    rows: Whole
    cols: Whole
    clock: Hertz
    dataflow: str
    macs: dict[DTypeName, Whole]
    skew: Ratio | None = None
    overlap: Share | None = None


class AccelSparsity(Frozen):
    """Weight sparsity that saves time: the N:M ``patterns``, and what decoding them costs.

    ``decode`` is the pipeline delay of index decoding and operand selection, in cycles a fold.
    A weight of any other pattern runs as dense. ``metadata`` says which of M are kept: an ``index`` a value, a
    ``bitmap``, the number of the combination (``combinatorial``), or the smaller of the first two (``least``).
    """

    patterns: NmPatterns
    decode: Ratio
    metadata: Literal["least", "index", "bitmap", "combinatorial"] = "least"


class AccelBuffers(Frozen):
    """On-chip memories that hold tiles of each operand.

    ``activations``: what an operator reads and writes beside weights stays on the chip up to so many bytes; None where
    it comes from DRAM and goes there. Engines that say so take it (simsparse.dataflow.sparse_engine).
    """

    input: Bytes
    weight: Bytes
    output: Bytes
    activations: Bytes | None = None


class AccelMemory(Frozen):
    """The accelerator's own DRAM; ``efficiency`` is the share of peak that streams reach."""

    capacity: Bytes
    bandwidth: BytesPerSecond
    efficiency: Efficiency


class AccelVector(Frozen):
    """The unit for everything that is no GEMM: ``rate`` of its operations, ``launch`` of any operator.

    ``inline``: results a cycle that a unit behind the array scales, adds and activates on their way; elementwise
    operators whose activations stay on the chip then take that, and neither ``rate`` nor ``launch``.
    """

    rate: FlopsPerSecond
    launch: Seconds
    inline: Ratio | None = None


class AccelEnergy(Frozen):
    """Price of each action, MACs by dtype, and power that is drawn whatever runs.

    Those that are null follow from the part's components and ``silicon``; DRAM is another chip.
    """

    mac: dict[DTypeName, Joules | None]
    flop: Joules | None
    sram_byte: JoulesPerByte | None
    dram_byte: JoulesPerByte
    static: Watts | None

    @property
    def unknown(self) -> list[str]:
        """Prices that the file leaves to the components."""
        found = [name for name in ("flop", "sram_byte", "static") if getattr(self, name) is None]
        return found + [f"mac.{dtype}" for dtype, price in self.mac.items() if price is None]


@PARTS.register("accel")
class AccelPart(Part):
    """An accelerator: a systolic array, or with ``engine`` a sparse engine and its own parameters.

    A systolic array without ``sparsity`` runs every weight as dense. ``power`` is what makers or authors state
    of the whole part at work; energy does not come from it. ``decode`` as of a GpuPart. With ``silicon``, an area and
    prices that are null follow from the part's sizes (simsparse.config.floorplan).
    """

    kind: Literal["accel"]
    power: Watts | None = None
    array: AccelArray
    engine: dict[str, Ratio] | None = None
    sparsity: AccelSparsity | None = None
    buffers: AccelBuffers
    memory: AccelMemory
    vector: AccelVector
    energy: AccelEnergy
    silicon: SiliconSpec | None = None
    decode: dict[FormatName, BytesPerSecond] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> AccelPart:
        if self.engine is None and (self.array.skew is None or self.array.overlap is None):
            raise ValueError("a systolic array needs array.skew and array.overlap; a sparse engine needs engine")
        if self.engine is not None and (self.array.skew or self.array.overlap or self.sparsity):
            raise ValueError("a sparse engine has no array.skew, array.overlap or sparsity")
        if self.vector.inline is not None and self.buffers.activations is None:
            raise ValueError("vector.inline takes activations on the chip; it needs buffers.activations")
        if self.silicon is None and self.energy.unknown:
            raise ValueError(f"energy.{self.energy.unknown[0]} is null; without silicon it must be given")
        return self

    @property
    def model(self) -> str:
        """The device model: ``accel`` for a systolic array, ``engine`` for a sparse engine."""
        return self.kind if self.engine is None else "engine"

    @property
    def stated_power(self) -> Quantity | None:
        return self.power

    @cached_property
    def floorplan(self) -> Floorplan | None:
        """What the part's components take, None without ``silicon``. Raises SpecError."""
        return accel_floorplan(self) if self.silicon else None

    @property
    def counted_area(self) -> Quantity | None:
        plan = None if self.area else self.floorplan
        return plan.area if plan else self.area

    @cached_property
    def prices(self) -> AccelEnergy:
        """The prices, those that the file leaves null from the components."""
        plan = self.floorplan if self.energy.unknown else None
        return plan.priced(self.energy) if plan else self.energy
