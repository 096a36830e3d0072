# SPDX-License-Identifier: Apache-2.0
"""SMASH on one core of PIUMA: the ladder of its versions on an R-MAT product."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import cast

import numpy as np

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.accel import AccelPart
from simsparse.dataflow.sparse_engine import Work
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.validate.case import CASES, VARIED, CasePoint, CaseReport, CaseTable, Sensitivity, Varied, case_rows

SCALE, EDGES = 14, 16
"""2^14 rows and columns, 16 draws a row."""
QUADRANTS = (0.57, 0.19, 0.19, 0.05)
"""Chance of each quadrant at every level, as in Graph500."""
PART = "accel/smash-piuma"
ASSUMED = {
    "engine.dram_cycles": ("50", "200"),
    "engine.product_instructions": ("5", "20"),
    "engine.spad_cycles": ("5", "20"),
    "memory.bandwidth": ("16 GB/s",),
}


@lru_cache(maxsize=8)
def rmat(scale: int, edges: int, seed: int, quadrants: tuple[float, ...] = QUADRANTS) -> NonZeros:
    """An R-MAT matrix of 2^``scale`` rows, ``edges`` draws a row; equal places count once."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(4, (edges << scale, scale), p=quadrants)
    places = 1 << np.arange(scale)
    keys = np.unique(((drawn >> 1) @ places << scale) + (drawn & 1) @ places)
    counts = np.bincount(keys >> scale, minlength=1 << scale)
    pointers = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return NonZeros((1 << scale, 1 << scale), pointers, (keys & ((1 << scale) - 1)).astype(np.int32))


@CASES.register("smash-ladder")
def smash_ladder() -> CaseReport:
    """Static windows to tokens and low-order hashes to DMA, reported without a tolerance."""
    matrices = rmat(SCALE, EDGES, 1), rmat(SCALE, EDGES, 2)
    works = {version: _run(matrices, {"engine.version": str(version)}) for version in (1, 2, 3)}
    published = {row["step"]: row for row in case_rows("smash", "ladder.csv")}
    points = [CasePoint(step, float(row["ratio"]), _ratio(works, step), "x") for step, row in published.items()]
    points += [CasePoint(f"V{row['version']}", float(row["ms"]), _ms(works[int(row["version"])]), "ms")
               for row in case_rows("smash", "times.csv")]  # fmt: skip
    return CaseReport(
        "smash-ladder",
        "SMASH: three versions of a hashing SpGEMM on a core of PIUMA",
        "Shivdikar, SMASH, 2021 (arXiv 2105.14156): up to 9.4x in the abstract, which the last version reaches over "
        "the first; the ratios of the single steps are recalled, to be checked.",
        f"Products of two R-MAT matrices of {1 << SCALE:,} rows with {matrices[0].nnz:,} and {matrices[1].nnz:,} "
        f"non-zeros, walked on the part {PART}: {works[3].macs:,} products hashed one by one.",
        points,
        tolerance=None,
        deviation="The thesis' own instruction counts, latencies and memory are not public: the part's are assumed. "
        "The published matrices are one draw of R-MAT with unknown parameters. What the steps gain depends above all "
        "on how long a load of the DRAM takes against the instructions of a product, which the sensitivities show, and "
        "on the first version's heavy rows, of one thread each; the third version's own count of instructions, what "
        "DMA engines leave, was written down with the published times known. How each version hashes is a guess, too, "
        "and was changed after first runs: with a hash that keeps the columns' order the first version met hundreds of "
        "taken slots a product in R-MAT's dense corner, so it got a multiplicative one in half-full windows, and the "
        "later ones the perfect hash that the thesis names. Read the ladder as a study of the mechanism.",
        assumed=[f"{PART}: {name}" for name in ASSUMED] + ["R-MAT: 16 draws a row, quadrants 0.57, 0.19, 0.19, 0.05"],
        sensitivity=[item for name, values in ASSUMED.items() for value in values
                     for item in _moved(matrices, name, value)],
        tables=[_table(works), _skews()],
    )  # fmt: skip


def _varied(overrides: Mapping[str, str]) -> dict[str, float]:
    matrices = rmat(SCALE, EDGES, 1), rmat(SCALE, EDGES, 2)
    works = {version: _run(matrices, {"engine.version": str(version), **overrides}) for version in (1, 2, 3)}
    times = {f"V{version}": _ms(work, overrides) for version, work in works.items()}
    return {step: _ratio(works, step) for step in ("V1/V3", "V1/V2", "V2/V3")} | times


VARIED.register("smash-ladder")(Varied(PART, _varied))


def _run(matrices: tuple[NonZeros, NonZeros], overrides: Mapping[str, str]) -> Work:
    device = SparseEngineDevice(load_hardware(PART, dict(overrides)))
    return device.engine.run(matrices[0].transposed, matrices[1], device.machine("fp64"))


def _ms(work: Work, overrides: Mapping[str, str] | None = None) -> float:
    """Milliseconds at the part's clock."""
    return 1e3 * work.cycles / cast(AccelPart, load_hardware(PART, dict(overrides or {}))).array.clock.si


def _ratio(works: Mapping[int, Work], step: str) -> float:
    """``step`` is such as V1/V3: cycles of one version over those of another."""
    before, after = (int(name.removeprefix("V")) for name in step.split("/"))
    return works[before].cycles / works[after].cycles


def _moved(matrices: tuple[NonZeros, NonZeros], name: str, value: str) -> list[Sensitivity]:
    works = {version: _run(matrices, {"engine.version": str(version), name: value}) for version in (1, 2, 3)}
    return [Sensitivity(step, name, value, _ratio(works, step)) for step in ("V1/V3", "V1/V2", "V2/V3")]


def _skews() -> CaseTable:
    """The steps on matrices of the same size that are less skewed: which quadrants were published is not known."""
    rows = []
    for corner, side in ((0.45, 0.22), (0.25, 0.25)):
        matrices = tuple(rmat(SCALE, EDGES, seed, (corner, side, side, 1 - corner - 2 * side)) for seed in (1, 2))
        works = {version: _run((matrices[0], matrices[1]), {"engine.version": str(version)}) for version in (1, 2, 3)}
        rows.append([f"{corner}, {side}", f"{works[3].macs / 1e6:.1f}",
                     *(f"{_ratio(works, step):.2f}" for step in ("V1/V2", "V2/V3", "V1/V3"))])  # fmt: skip
    return CaseTable("Less skewed matrices", ["quadrants", "million products", "V1/V2", "V2/V3", "V1/V3"], rows)


def _table(works: Mapping[int, Work]) -> CaseTable:
    causes = list(works[1].causes)
    rows = [[f"V{version}", f"{work.cycles / 1e6:.2f}", *(f"{work.causes[cause] / 1e6:.2f}" for cause in causes),
             f"{work.events['probes'] / work.macs:.2f}"] for version, work in works.items()]  # fmt: skip
    return CaseTable("Millions of cycles by cause", ["version", "cycles", *causes, "probes a product"], rows)
