# SPDX-License-Identifier: Apache-2.0
"""Proofs that two forms of a module do the same: the sources and their netlist of cells, or two sets of sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simsparse.errors import SimulationError
from simsparse.rtl.library import area_library
from simsparse.rtl.toolchain import sources
from simsparse.rtl.yosys import abc, read, run

REGISTERS = ("memory_nordff", "memory_map", "opt_clean", "async2sync", "dffunmap")
PLAIN = ("proc", "flatten", *REGISTERS)
LOWERED = (
    "proc", "flatten", "opt_expr", "opt_clean", "wreduce", "peepopt", "opt_clean", "alumacc", "share", "opt",
    *REGISTERS,
)  # fmt: skip
"""As synthesis begins: products and sums become one network of adders, which no solver finds by itself."""
TO_GATES = (
    "techmap", "dfflegalize -cell $_DFF_P_ 01", "opt_clean", "setundef -undriven -zero", "setundef -init -zero",
    "aigmap",
)  # fmt: skip


def mapped(library: Path, period_ps: int | None = None, avoided: Sequence[str] = ()) -> list[str]:
    """Commands from what is read to cells of ``library`` but ``avoided``; ``period_ps`` is what the mapper aims at."""
    where = f"-liberty {library}{''.join(f' -dont_use {name}' for name in avoided)}"
    aim = f" -D {period_ps}" if period_ps else ""
    return ["synth -flatten", f"dfflibmap {where}", f"abc {where}{aim}", "opt_clean -purge"]


def netlist_equals_sources(
    top: str, parameters: dict[str, int], folder: Path, faults: Sequence[Sequence[str]] = (), *,
    lowered: bool = False, limit_s: float | None = None,
) -> list[bool]:  # fmt: skip
    """Whether ``top`` mapped to standard cells does what its sources say, at every time from registers of zero on.

    The same follows for the netlist after each of ``faults``, commands that change it. ``lowered`` compares with the
    sources after synthesis' passes on words, which the proof then takes as right: what multiplies at full width needs
    it. Raises SimulationError when Yosys can't run, or a netlist is neither proven equal nor different, or not in
    ``limit_s`` seconds.
    """
    library = area_library(folder).resolve()
    commands = [
        *read(top, parameters, sources()), *(LOWERED if lowered else PLAIN), *_gates("gold"),
        *read(top, parameters, sources()), *mapped(library), "design -save netlist",
    ]  # fmt: skip
    names = [f"netlist{place}" for place in range(1 + len(faults))]
    for name, fault in zip(names, ((), *faults), strict=True):
        commands += ["design -load netlist", *fault, f"read_liberty -overwrite {library}", *PLAIN, *_gates(name)]
    run(commands, folder)
    return [_equal("gold", name, folder, limit_s) for name in names]


def sources_equal(
    top: str, parameters: dict[str, int], other: Path, folder: Path, limit_s: float | None = None
) -> bool:
    """Whether ``top`` does the same from the sources in ``other``, at every time from registers of zero on.

    Raises SimulationError when Yosys can't run, takes longer than ``limit_s`` or decides neither.
    """
    forms = (("first", sources()), ("second", other))
    run([each for name, found in forms for each in (*read(top, parameters, found), *PLAIN, *_gates(name))], folder)
    return _equal("first", "second", folder, limit_s)


def _gates(name: str) -> list[str]:
    """Commands that write what is there as a network of gates and forget it."""
    return [*TO_GATES, f"write_aiger {name}.aig", "design -reset"]


def _equal(gold: str, gate: str, folder: Path, limit_s: float | None = None) -> bool:
    """Without the solver's retiming (-r), which had not ended on nm_gemm_top after four minutes."""
    said = abc(f"dsec -r {gold}.aig {gate}.aig", folder, limit_s)
    if "has no latches" in said:
        said = abc(f"cec {gold}.aig {gate}.aig", folder, limit_s)
    if "Networks are equivalent" in said:
        return True
    if "Networks are NOT EQUIVALENT" in said:
        return False
    raise SimulationError(f"neither equal nor different: {said.strip().splitlines()[-1]}", key=str(folder))
