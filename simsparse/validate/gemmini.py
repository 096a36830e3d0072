# SPDX-License-Identifier: Apache-2.0
"""Mapped layers of Gemmini that FireSim ran cycle by cycle, against the mapper's cycles (ucb-bar/dosa).

Rows with ``auto_tiling`` ran on the 16 x 16 array and compare the library's own tiling too. In ``train`` the array is
the smallest power of two that the mapping's split needs (the authors built one image for each), and
``timeloop_cycle`` holds what the RTL took, so it is no prediction. Two habits of the runs are read off the rows, not
stated by the authors: matrix products were given tiles in units of 16 whatever the array, and convolutions ran square
where the layer is not. The images' memories held any tile, and partial sums never left them.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.spatial import SpatialPart
from simsparse.errors import SpecError
from simsparse.mapper.cost import evaluate
from simsparse.mapper.layer import DIMS, C, K, LoopNest, N, P, Q, R, S, gemm
from simsparse.mapper.machine import SpatialMachine
from simsparse.mapper.mapping import Mapping, factors, loop_text, nest_of, own_keeps
from simsparse.mapper.search import map_layer
from simsparse.validate.comparison import Prediction, SectionReport, ValidationReport
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import read_rows

COLUMNS = frozenset(("mapping", "gemmini_cycle", "auto_tiling", "arch_mem1_entries", "arch_mem2_entries", "Wstride"))
PART = "spatial/gemmini-16x16"
_DIMS = {"N": N, "K": K, "C": C, "P": P, "Q": Q, "R": R, "S": S}
_UNIT = 16
"""Elements in which matrix products were tiled."""
_LAYER = ("C", "K", "P", "Q", "R", "S", "Wstride")
TOLERANCE = 0.20
OnProgress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class MappedRow:
    """A row as the runs took it: the layer, the machine, the mapping."""

    layer: LoopNest
    machine: SpatialMachine
    mapping: Mapping

    @property
    def cycles(self) -> float:
        """Cycles of the mapping as given."""
        return float(evaluate(nest_of(self.layer, self.machine, [self.mapping])).cycles[0])


@dataclass(frozen=True)
class OwnMappings:
    """Mappings found by the mapper for the layers and memories of rows with an automatic tiling.

    ``own``: cycles of the mapper's, ``auto``: of the automatic tiling by the same model, ``measured``: by the RTL.
    """

    own: tuple[float, ...]
    auto: tuple[float, ...]
    measured: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Shares of layers on which the own mapping takes at most the automatic tiling's cycles, and the mean gain."""
        if not self.own:
            return {"layers": 0}
        gains = [math.log(measured / own) for own, measured in zip(self.own, self.measured, strict=True)]
        return {
            "layers": len(self.own), "not_slower_than_measured": _share(self.own, self.measured),
            "not_slower_than_predicted": _share(self.own, self.auto),
            "geometric_mean_speedup": math.exp(sum(gains) / len(gains)),
        }  # fmt: skip


@dataclass(frozen=True)
class MappingReport(ValidationReport):
    """Cycles of given mappings, and the mapper's own beside the automatic tiling."""

    own: OwnMappings | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "own_mappings": self.own.to_dict() if self.own else None}

    def table(self) -> tuple[list[str], list[list[str]]]:
        columns, rows = super().table()
        if self.own and self.own.own:
            said = self.own.to_dict()
            found = f"{said['not_slower_than_measured']:.1%} not slower than the automatic tiling as measured"
            rows.append(["own mappings", str(said["layers"]), str(said["layers"]), "", "", "", found, "", ""])
        return columns, rows


def validate_gemmini(path: str | Path, progress: OnProgress | None = None) -> MappingReport:
    """Compare a table of mapped layers with the mapper. Raises SpecError that names file and line.

    Sections: ``mapped``, all given mappings; of these ``mapped_16x16``, ``mapped_other_arrays`` and
    ``mapped_not_fitted``, those of layers that no fit of the part read; ``mapped_auto``, the library's own tiling.
    """
    rows = read_rows(path, lambda fields: str(fields["set"]))
    seen = {tuple(value for key, value in row.fields.items() if key != "set"): row for row in reversed(rows)}
    kept = sorted(seen.values(), key=lambda row: row.line)
    twice = {"stands twice": len(rows) - len(kept)} if len(rows) > len(kept) else {}
    given, auto = [], []
    for done, row in enumerate(kept):
        with row.placed():
            given.append(Prediction(row, row.number("gemmini_cycle"), mapped_row(row).cycles, "cycle"))
            if row.fields["auto_tiling"] != "":
                auto.append(Prediction(row, row.number("gemmini_auto_cycle"), auto_row(row).cycles, "cycle"))
        if progress is not None:
            progress(done + 1, 2 * len(kept), 0)
    own = _own_mappings(auto, lambda done: progress(len(kept) + done, 2 * len(kept), 0) if progress else None)
    sections = [SectionReport("mapped", given, TOLERANCE, twice)]
    for name, chosen in (
        ("mapped_16x16", [each for each in given if each.row.section != "train"]),
        ("mapped_other_arrays", [each for each in given if each.row.section == "train"]),
        ("mapped_not_fitted", [each for each in given if not was_fitted(each.row)]),
        ("mapped_auto", auto),
    ):
        sections.append(SectionReport(name, chosen, TOLERANCE if name != "mapped_auto" else 0.30))
    return MappingReport(str(path), PART, sections, {}, {}, own)


def was_fitted(row: Measurement) -> bool:
    """Whether the layer is in the half to which tests/validation/fit_gemmini.py fits the part."""
    return zlib.crc32("_".join(str(row.fields[key]) for key in _LAYER).encode()) % 2 == 0


def _own_mappings(auto: Sequence[Prediction], on_done: Callable[[int], None]) -> OwnMappings:
    """The mapper's best for each layer with the memories of its row, in which tiles had the whole room."""
    found: dict[tuple[object, ...], tuple[float, float, float]] = {}
    for done, prediction in enumerate(auto):
        row = prediction.row
        given = mapped_row(row)
        rooms = row.whole("arch_mem2_entries"), row.whole("arch_mem1_entries") * given.machine.cols * 4
        key = (given.layer, *rooms)
        if key not in found:
            dram, scratchpad, accumulator = given.machine.stores
            stores = (dram, replace(scratchpad, room=rooms[0]), replace(accumulator, room=rooms[1], stay=False))
            best = map_layer(given.layer, replace(given.machine, stores=stores))
            found[key] = (best.cycles, prediction.predicted, prediction.measured)
        on_done(done)
    own, by_model, measured = zip(*found.values(), strict=True) if found else ((), (), ())
    return OwnMappings(own, by_model, measured)


def _share(own: Sequence[float], other: Sequence[float]) -> float:
    return sum(a <= b * (1 + 1e-9) for a, b in zip(own, other, strict=True)) / len(own)


def is_gemmini_table(path: str | Path) -> bool:
    """Whether a CSV file, packed or plain, has the columns of the table."""
    if not str(path).endswith((".csv", ".csv.gz")):
        return False
    opened = gzip.open if str(path).endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            return set(next(csv.reader(file), [])) >= COLUMNS
    except (OSError, EOFError, UnicodeDecodeError, csv.Error):
        return False


def mapped_row(row: Measurement) -> MappedRow:
    """What a row ran. Raises SpecError, and MappingError for a mapping that can't be read."""
    loops = loop_text(row.text("mapping"))
    outer, inside = loops[0], [loop for level in loops[1:] for loop in level]
    whole = {name: row.whole(name) for name in _DIMS}
    tile = {name: factors(inside).get(name, 1) for name in _DIMS}
    size = _UNIT if row.section != "train" else _array_size(inside)
    order = list(dict.fromkeys(name for name, _, _ in outer))
    if whole["R"] == whole["S"] == 1 and 1 in (whole["P"], whole["Q"]):
        return _product(whole, tile, order, size)
    return _convolution(whole, tile, order, size, (row.whole("Wstride"), row.whole("Hstride")))


def auto_row(row: Measurement) -> MappedRow:
    """The library's own tiling of a row: sizes by R, S, P, Q, C, K, N, its loops over outputs outside."""
    sizes = dict(zip("RSPQCKN", map(int, row.text("auto_tiling").split("_")), strict=True))
    given = mapped_row(row)
    tile = tuple(min(given.layer.sizes[at], sizes[name]) for name, at in _DIMS.items())
    by_dim = dict(zip(_DIMS.values(), tile, strict=True))
    return replace(given, mapping=_mapping(given.layer, by_dim, [N, Q, P, K, S, R, C], _UNIT))


def _array_size(inside: Sequence[tuple[str, int, bool]]) -> int:
    split = max([count for _, count, over_array in inside if over_array], default=1)
    return max(2, 1 << (split - 1).bit_length())


def _product(whole: dict[str, int], tile: dict[str, int], order: list[str], size: int) -> MappedRow:
    layer = gemm(whole["P"] * whole["Q"], whole["K"], whole["C"])
    units = {P: tile["P"] * tile["Q"], C: tile["C"], K: tile["K"]}
    sizes = {dim: min(layer.sizes[dim], max(1, number // _UNIT) * size) for dim, number in units.items()}
    dims = [P if name == "Q" else _DIMS[name] for name in order]
    return MappedRow(layer, _machine(size), _mapping(layer, sizes, [*dims, P, K, C], size))


def _convolution(
    whole: dict[str, int], tile: dict[str, int], order: list[str], size: int, strides: tuple[int, int]
) -> MappedRow:
    side = max(whole["P"], whole["Q"])
    sizes = {**whole, "P": side, "Q": side}
    layer = LoopNest("convolution", tuple(sizes[name] for name in "NKCPQRS"), strides)  # type: ignore[arg-type]
    tiles = {_DIMS[name]: number for name, number in tile.items()}
    return MappedRow(layer, _machine(size), _mapping(layer, tiles, [_DIMS[name] for name in order], size))


def _mapping(layer: LoopNest, tile: dict[int, int], order: Sequence[int], size: int) -> Mapping:
    """One tile for scratchpad and accumulator, below loops in ``order``, and ``size`` inputs and outputs at once."""
    held = tuple(tile.get(dim, 1) for dim in range(len(DIMS)))
    unit = tuple(min(held[dim], size) if dim in (K, C) else 1 for dim in range(len(DIMS)))
    outer = tuple(dict.fromkeys([*order, *range(len(DIMS))]))
    machine = _machine(size)
    fixed = machine.stores[-1].order or tuple(range(len(DIMS)))
    return Mapping((layer.sizes, held, held, unit), (outer, fixed, fixed), own_keeps(machine))


@cache
def _machine(size: int) -> SpatialMachine:
    """The part with an array of ``size`` x ``size``, and memories that hold any tile and all partial sums."""
    part = load_hardware(PART)
    if not isinstance(part, SpatialPart):
        raise SpecError(f"{PART} is not a spatial part", key="part")
    machine = SpatialMachine.of(part)
    dram, scratchpad, accumulator = machine.stores
    port = replace(dram.port, store=float(size)) if dram.port else None
    stores = (replace(dram, port=port), replace(scratchpad, room=None), replace(accumulator, room=None, stay=True))
    return replace(machine, rows=size, cols=size, block=size, stores=stores)
