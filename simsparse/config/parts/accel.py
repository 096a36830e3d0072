"""Accelerators built round a systolic array, dense or N:M sparse."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    Count,
    DTypeName,
    Efficiency,
    FlopsPerSecond,
    Frozen,
    Hertz,
    Joules,
    JoulesPerByte,
    Part,
    Ratio,
    Seconds,
    Share,
    Watts,
)
from simsparse.core.sparsity import Sparsity, SparsityKind
from simsparse.errors import SpecError


class AccelArray(Frozen):
    """``rows`` x ``cols`` processing elements (PEs) at ``clock``.

    ``dataflow`` is the name of one of simsparse.dataflow, such as ws, os or is. ``macs`` are
    the multiply-accumulates of one PE in one cycle, by dtype. ``skew`` is what a fold pays for
    filling and draining the array, in cycles beyond those of the data itself, as a multiple of
    ``rows + cols``; ``overlap`` is the share of the load of the next fold's stationary operand that
    hides behind the current fold (0: none, 1: double-buffered PEs).
    """

    rows: Count
    cols: Count
    clock: Hertz
    dataflow: str
    macs: dict[DTypeName, Count]
    skew: Ratio
    overlap: Share


class AccelSparsity(Frozen):
    """Weight sparsity that saves time: the N:M ``patterns``, and what decoding them costs.

    ``decode`` is the pipeline delay of index decoding and operand selection, in cycles a fold.
    A weight of any other pattern runs as dense.
    """

    patterns: tuple[str, ...]
    decode: Ratio

    @field_validator("patterns")
    @classmethod
    def _nm(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for text in patterns:
            try:
                pattern = Sparsity.parse(text)
            except SpecError as error:
                raise ValueError(error.message) from None
            if pattern.kind is not SparsityKind.NM:
                raise ValueError(f"{text!r} is not an N:M pattern such as 2:4")
        return tuple(str(Sparsity.parse(text)) for text in patterns)


class AccelBuffers(Frozen):
    """On-chip memories that hold tiles of each operand."""

    input: Bytes
    weight: Bytes
    output: Bytes


class AccelMemory(Frozen):
    """The accelerator's own DRAM; ``efficiency`` is the share of peak that streams reach."""

    capacity: Bytes
    bandwidth: BytesPerSecond
    efficiency: Efficiency


class AccelVector(Frozen):
    """The unit for everything that is no GEMM: ``rate`` of its operations, ``launch`` of any operator."""

    rate: FlopsPerSecond
    launch: Seconds


class AccelEnergy(Frozen):
    """Price of each action, MACs by dtype, and power that is drawn whatever runs."""

    mac: dict[DTypeName, Joules]
    flop: Joules
    sram_byte: JoulesPerByte
    dram_byte: JoulesPerByte
    static: Watts


@PARTS.register("accel")
class AccelPart(Part):
    """A systolic accelerator; without ``sparsity`` it runs every weight as dense."""

    kind: Literal["accel"]
    array: AccelArray
    sparsity: AccelSparsity | None = None
    buffers: AccelBuffers
    memory: AccelMemory
    vector: AccelVector
    energy: AccelEnergy
