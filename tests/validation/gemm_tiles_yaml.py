# SPDX-License-Identifier: Apache-2.0
"""Fitted numbers of tiled GEMM kernels as YAML of hw_models, and as the model's own parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from gemm_tiles_torch import Values

from simsparse.config.parts.gpu_tile_kernels import GpuTileKernel, GpuTileView
from simsparse.devices.gpu_tile_numbers import TileKernel

HELD = '"32-bit registers of an SM, one per accumulator"'
MICROSECONDS = ("launch", "cold_launch", "split_launch", "cold_split")
SOURCE = "gemm-tiles"
GIVEN = ("step", "held")
"""Numbers that profiles give and no fit moves."""
BY_TILE = ("efficiency", "preference", "by_k", "by_blocks")
"""Fitted columns of the tile table."""


def text_of(name: str, values: Values) -> str:
    """A number with its unit."""
    digits = 6 if name in GIVEN else 4
    return f"{float(values[name]):.{digits}g}" + (" us" if name in MICROSECONDS else "")


def numbers(part: GpuTileKernel) -> list[str]:
    """Names of a kernel's numbers, those of its view as ``view.NAME``."""
    own = [
        name for name in type(part).model_fields if name not in ("view", "tiles") and getattr(part, name) is not None
    ]
    return [*own, *(f"view.{name}" for name in GpuTileView.model_fields)]


def rows_of(part: GpuTileKernel, values: Values) -> list[list[object]]:
    """Rows of the tile table with fitted columns."""
    columns = zip(*(values[name].tolist() for name in BY_TILE), strict=True)
    return [
        [*row[:5], *(float(f"{value:.3g}") for value in own)] for row, own in zip(part.tiles.rows, columns, strict=True)
    ]


def values_of(part: GpuTileKernel) -> Values:
    """The numbers of a kernel, launches in microseconds."""
    found = {}
    for name in numbers(part):
        outer, _, inner = name.rpartition(".")
        value = getattr(part.view if outer else part, inner).si
        found[name] = torch.tensor(value * 1e6 if name in MICROSECONDS else value, dtype=torch.float32)
    columns = zip(*(row[5:] for row in part.tiles.rows), strict=True)
    return found | {name: torch.tensor(own) for name, own in zip(BY_TILE, columns, strict=True)}


def kernel_of(part: GpuTileKernel, values: Values) -> TileKernel:
    """The model's kernel with the numbers as they are printed."""
    data: dict[str, object] = {}
    for name in numbers(part):
        outer, _, inner = name.rpartition(".")
        place = data.setdefault(outer, {}) if outer else data
        place[inner] = {"value": text_of(name, values), "source": SOURCE, "basis": "measured"}  # type: ignore[index]
    data["tiles"] = {"rows": rows_of(part, values), "source": SOURCE, "basis": "measured"}
    return TileKernel.of(type(part).model_validate(data))


def section_of(kind: str, part: GpuTileKernel, values: Values) -> str:
    """The ``kind`` entry of a library's ``gemm`` section; ``OUTER.INNER`` is one within the entry OUTER."""
    outer, _, inner = kind.rpartition(".")
    text = _entry(inner, part, values)
    return "".join(f"  {line}\n" for line in text.splitlines()) if outer else text


def _entry(kind: str, part: GpuTileKernel, values: Values) -> str:
    lines = [f"  {kind}:"]
    for name in numbers(part):
        outer, _, inner = name.rpartition(".")
        if outer and f"    {outer}:" not in lines:
            lines.append(f"    {outer}:")
        indent = "      " if outer else "    "
        basis = (
            f"source: cuda-guide, basis: datasheet, note: {HELD}"
            if name == "held"
            else f"source: {SOURCE}, basis: measured"
        )
        lines.append(f"{indent}{inner}: {{value: {text_of(name, values)}, {basis}}}")
    lines += [
        "    tiles:", f"      source: {SOURCE}", "      basis: measured",
        "      rows:  # free side, fixed side, most, granule, splits, efficiency, preference, by_k, by_blocks",
    ]  # fmt: skip
    for side, fixed, most, granule, splits, *own in rows_of(part, values):
        split = ", ".join(map(str, splits))  # type: ignore[arg-type]
        numbers_text = ", ".join(f"{value:g}" for value in own)
        lines.append(f"        - [{side}, {fixed}, {most}, {granule}, [{split}], {numbers_text}]")
    return "\n".join(lines) + "\n"


def write_section(path: Path, name: str, kind: str, text: str) -> None:
    """Replace an entry of the section ``name`` of a library's file."""
    whole = path.read_text()
    head, section, tail = re.split(rf"(?m)^({name}:.*\n(?: .*\n)*)", whole)
    outer, _, inner = kind.rpartition(".")
    pad = "    " if outer else "  "
    pattern = rf"(?m)^{pad}{inner}:\n(?:{pad}  .*\n)*"
    if outer:
        before, own, section = re.split(rf"(?m)(^  {outer}:\n(?:    .*\n)*)", section)
        own, count = re.subn(pattern, lambda _: text, own)
        section = before + own + section
    else:
        section, count = re.subn(pattern, lambda _: text, section)
    if count != 1:
        raise SystemExit(f"{path}: {name} has {count} entries {kind}")
    path.write_text(head + section + tail)


def write_rates(path: Path, rates: Mapping[str, float]) -> None:
    """Replace the rates of the 16-bit kernels in a part's file."""
    head, section, tail = re.split(r"(?m)^(  half:\n(?:    .*\n)*)", path.read_text(), maxsplit=1)
    for name, value in rates.items():
        section, count = re.subn(
            rf"(?m)^    {name}: .*$", f"    {name}: {{value: {value:.4g}, source: {SOURCE}, basis: measured}}", section
        )
        if count != 1:
            raise SystemExit(f"{path}: gemm.half has {count} entries {name}")
    path.write_text(head + section + tail)
