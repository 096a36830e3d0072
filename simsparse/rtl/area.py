# SPDX-License-Identifier: Apache-2.0
"""Cells and area of the PE over N:M and width, beside dense PEs with as many multipliers: needs no timing library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from simsparse.rtl.block import RtlBlock
from simsparse.rtl.blocks.dense_pe import DensePE
from simsparse.rtl.blocks.dot_pe import NMDotPE
from simsparse.rtl.library import area_library
from simsparse.rtl.synth import synthesise

COMMAND = "simsparse rtl area --out reports/rtl"
PATTERNS = ((1, 4), (2, 4), (1, 8), (2, 8), (4, 8), (1, 16), (2, 16), (4, 16))
WIDTHS = (4, 8, 16)
MOST_PARTIAL = 512
"""Partial products of a PE, n times bits squared, up to which the mapper ends in minutes: no four multipliers of 16."""
GUARD_BITS = 16
"""Bits of a sum beyond those of a product: room for 65,536 products."""


def patterns(bits: int) -> list[tuple[int, int]]:
    """Those of PATTERNS whose multipliers of ``bits`` the mapper takes."""
    return [(n, m) for n, m in PATTERNS if n * bits**2 <= MOST_PARTIAL]


def sum_bits(bits: int) -> int:
    """Bits of a sum of products of ``bits``."""
    return 2 * bits + GUARD_BITS


@dataclass(frozen=True)
class PeArea:
    """One PE with ``n`` multipliers of ``bits`` bits; ``m`` 0 is the dense one. Areas in um2, before placement."""

    n: int
    m: int
    bits: int
    cells: int
    area: float
    register_area: float

    def useful(self, kept: float) -> float:
        """Area of a useful MAC a cycle on weights of which the share ``kept`` is kept: a dense PE spends the rest."""
        return self.area / (self.n * (1.0 if self.m else kept))

    def row(self) -> Mapping[str, object]:
        """As a line of a table."""
        pattern = f"{self.n}:{self.m}" if self.m else f"dense, {self.n}"
        return {"pe": pattern, "bits": self.bits, "cells": self.cells, "area_um2": round(self.area),
                "registers_um2": round(self.register_area)}  # fmt: skip


def pe_areas(folder: Path, progress: Callable[[int, int, int], None] | None = None) -> list[PeArea]:
    """Every N:M PE of PATTERNS and the dense PEs beside them, at WIDTHS, up to MOST_PARTIAL.

    Raises SimulationError without Yosys.
    """
    library, found = area_library(folder), []
    wanted = [
        (n, m, bits)
        for bits in WIDTHS
        for n, m in (*sorted({(n, 0) for n, _ in patterns(bits)}), *patterns(bits))
    ]  # fmt: skip
    for n, m, bits in wanted:
        sums = sum_bits(bits)
        block: RtlBlock = NMDotPE(n, m, bits, sums) if m else DensePE(n, bits, sums)
        made = synthesise(block.module, block.parameters, library, folder / block.name)
        found.append(PeArea(n, m, bits, made.cells, made.area, made.register_area))
        if progress is not None:
            progress(len(found), len(wanted), 0)
    return found
