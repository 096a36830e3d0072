# SPDX-License-Identifier: Apache-2.0
"""What a part can do at most: the two numbers of its roofline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simsparse.config.quantity import Part, Quantity

_PREFERRED = ("bf16", "fp16", "int8", "fp32")


@dataclass(frozen=True, slots=True)
class Peaks:
    """Dense peak in FLOP/s of ``dtype``, and bytes/s of the memory that its operators stream from.

    ``sparse24`` is the factor by which 2:4 weights raise the peak, of operations counted dense; None where it has none.
    """

    flops_per_s: float
    bytes_per_s: float
    dtype: str
    sparse24: float | None = None

    @property
    def ridge(self) -> float:
        """FLOP/byte at which both limits meet."""
        return self.flops_per_s / self.bytes_per_s


def peaks_of(part: Part) -> Peaks | None:
    """The peaks of ``part``, nominal, before any efficiency; None for a kind that runs no operators.

    A systolic array and a PIM unit count two operations a multiply-accumulate; PIM reads from its
    banks at the rate of its column commands.
    """
    from simsparse.config.parts.accel import AccelPart
    from simsparse.config.parts.cpu import CpuPart
    from simsparse.config.parts.gpu import GpuPart
    from simsparse.config.parts.pim import PimPart

    if isinstance(part, GpuPart):
        dtype, peak = _rate(part.compute.tensor)
        factor = part.compute.sparse24
        return Peaks(peak, part.memory.bandwidth.si, dtype, None if factor is None else factor.si)
    if isinstance(part, AccelPart):
        dtype, macs = _rate(part.array.macs)
        elements = part.array.rows.si * part.array.cols.si
        return Peaks(2 * macs * elements * part.array.clock.si, part.memory.bandwidth.si, dtype,
                     2.0 if part.sparsity and "2:4" in part.sparsity.patterns else None)  # fmt: skip
    if isinstance(part, PimPart):
        dtype, macs = _rate(part.compute.macs)
        units = part.memory.stacks.si * part.compute.units.si
        return Peaks(2 * macs * units * part.compute.clock.si, part.column_bandwidth, dtype)
    if isinstance(part, CpuPart):
        dtype, peak = _rate(part.compute.peak)
        return Peaks(peak, part.memory.bandwidth.si, dtype)
    return None


def _rate(by_dtype: Mapping[str, Quantity]) -> tuple[str, float]:
    dtype = next((name for name in _PREFERRED if name in by_dtype), next(iter(by_dtype)))
    return dtype, by_dtype[dtype].si
