# SPDX-License-Identifier: Apache-2.0
"""Parts of hw_models/accel/ whose array is made of measured PEs: area and energy of a MAC from a datapath study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SIDE = 32
SOURCE = "sky130-datapath"
COMMAND = "simsparse rtl datapath"


def array_parts(study: Mapping[str, Any]) -> dict[str, str]:
    """By file name, the YAML of every array that the 8-bit rows of ``study`` make: one a pattern, one a dense width."""
    parts: dict[str, str] = {}
    for row in study["rows"]:
        if row["bits"] == 8:
            n, m = row["n"], row["m"]
            parts[f"nm-array-sky130-{n}to{m}.yaml"] = "".join(_part(f"{n}:{m}", n, row["nm"]))
            parts.setdefault(f"nm-array-sky130-dense-x{n}.yaml", "".join(_part(None, n, row["dense"])))
    return parts


def _part(pattern: str | None, multipliers: int, pe: Mapping[str, Any]) -> Iterator[str]:
    """One part; ``multipliers`` of a PE, and ``pe`` as measured."""
    what = f"{pattern} PEs (nm_dot_pe)" if pattern else f"dense PEs of {multipliers} multipliers (dense_pe)"
    area = SIDE * SIDE * pe["area_um2"] / 1e6
    derived = f"source: {SOURCE}, basis: derived"
    yield f"# Written by {COMMAND}; change nothing by hand.\n"
    yield f"kind: accel\ndescription: {SIDE} x {SIDE} weight-stationary int8 array of {what} in SkyWater 130 nm\n"
    yield (
        f'area: {{value: {area:.4f} mm^2, {derived}, note: "{SIDE * SIDE} PEs of {pe["area_um2"]:.0f} um2 before '
        'placement; no buffers, wires or clock tree"}\n'
    )
    yield f"array:\n  rows: {_assumed(SIDE)}\n  cols: {_assumed(SIDE)}\n"
    yield (
        f"  clock: {{value: {1e3 / pe['period_ns']:.1f} MHz, {derived}, note: "
        f'"critical path of {pe["period_ns"]:.2f} ns, typical corner, no wires"}}\n  dataflow: ws\n'
    )
    yield f'  macs:\n    int8: {{value: {multipliers}, {derived}, note: "multipliers of the PE"}}\n'
    yield (
        "  skew: {value: 1, source: scale-sim-v3, basis: derived, "
        'note: "diagonal feed: rows + cols - 2 cycles a fold"}\n'
        "  overlap: {value: 0, source: scale-sim-v3, basis: paper, "
        'note: "load, compute and drain one fold after another"}\n'
    )
    if pattern:
        yield (
            f'sparsity:\n  patterns: ["{pattern}"]\n'
            f'  decode: {{value: 0, {derived}, note: "operand choice and operand register are one stage"}}\n'
        )
    yield _surroundings()
    yield (
        f"energy:\n  mac:\n    int8: {{value: {pe['energy_pj']:.4f} pJ, {derived}, note: "
        f'"a useful MAC: the whole PE over its useful MACs, switching counted on its netlist, no glitches"}}\n'
        "  flop: {value: 0.32 pJ, source: attacc-simulator, basis: assumed, "
        'note: "its FP16 MAC in a newer node; vector work is no subject here"}\n'
    )
    yield (
        '  sram_byte: {value: 1.625 pJ/byte, source: zigzag-tpu-like, basis: derived, note: "416 pJ a 2048-bit read; '
        'not of this node"}\n'
        '  dram_byte: {value: 87.5 pJ/byte, source: zigzag-tpu-like, basis: derived, note: "700 pJ a 64-bit read"}\n'
        f"  static: {{value: {SIDE * SIDE * pe['leakage_nw'] / 1e3:.4f} uW, {derived}, note: "
        '"leakage of the PEs at 25 degrees; no buffers"}\n'
    )


def _assumed(value: int) -> str:
    return f'{{value: {value}, source: null, basis: assumed, note: "generic size; swept in studies"}}'


def _surroundings() -> str:
    """Buffers, DRAM and vector unit of the generic arrays, so that arrays differ in their PEs alone."""
    size = '{value: 512 KiB, source: null, basis: assumed, note: "as in accel/systolic-ws-32x32"}'
    return (
        f"buffers:\n  input: {size}\n  weight: {size}\n  output: {size}\n"
        'memory:\n  capacity: {value: 32 GiB, source: null, basis: assumed, note: "two DIMMs of 16 GiB"}\n'
        "  bandwidth: {value: 51.2 GB/s, source: jedec-jesd79-4, basis: derived, "
        'note: "two 64-bit channels at 3.2 GT/s"}\n'
        "  efficiency: {value: 0.95, source: ramulator-2.1-runs, basis: derived, "
        'note: "sequential reads of DDR4-3200: 0.950 at 16 MiB"}\n'
        "vector:\n  rate: {value: 64 GFLOPS, source: null, basis: assumed, "
        'note: "as in accel/systolic-ws-32x32; no subject here"}\n'
        '  launch: {value: 1 us, source: null, basis: assumed, note: "as in accel/systolic-ws-32x32"}\n'
    )
