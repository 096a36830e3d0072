"""Proofs that two forms of a module do the same: the sources and their netlist of cells, or two sets of sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simsparse.errors import SimulationError
from simsparse.rtl.library import area_library
from simsparse.rtl.toolchain import sources
from simsparse.rtl.yosys import read, run

PREPARE = (
    "proc", "flatten", "memory_nordff", "memory_map", "opt_clean", "async2sync", "dffunmap", "opt_clean", "splitnets",
)  # fmt: skip
"""Bits of registers become wires of their own: the two forms are matched by name, and mapping drops unused bits."""
PROVEN = "Equivalence successfully proven!"


def mapped(library: Path, period_ps: int | None = None, avoided: Sequence[str] = ()) -> list[str]:
    """Commands from what is read to cells of ``library`` but ``avoided``; ``period_ps`` is what the mapper aims at."""
    where = f"-liberty {library}{''.join(f' -dont_use {name}' for name in avoided)}"
    aim = f" -D {period_ps}" if period_ps else ""
    return ["synth -flatten", f"dfflibmap {where}", f"abc {where}{aim}", "opt_clean -purge"]


def netlist_equals_sources(top: str, parameters: dict[str, int], folder: Path, fault: Sequence[str] = ()) -> bool:
    """Whether ``top`` mapped to standard cells does what its sources say, by induction over registers.

    ``fault`` are commands that change the netlist before the proof. Raises SimulationError when Yosys can't run.
    """
    library = area_library(folder)
    gate = [
        *read(top, parameters, sources()), *mapped(library.resolve()), *fault,
        f"read_liberty -overwrite {library.resolve()}",
    ]  # fmt: skip
    return _equal(read(top, parameters, sources()), gate, folder)


def sources_equal(
    top: str, parameters: dict[str, int], other: Path, folder: Path, limit_s: float | None = None
) -> bool:
    """Whether ``top`` does the same from the sources in ``other``, from every common state of their registers.

    Raises SimulationError when Yosys can't run or takes longer than ``limit_s``.
    """
    return _equal(read(top, parameters, sources()), read(top, parameters, other), folder, limit_s)


def _equal(gold: Sequence[str], gate: Sequence[str], folder: Path, limit_s: float | None = None) -> bool:
    commands = [
        *gold, *PREPARE, "rename -top gold", "design -stash gold",
        *gate, *PREPARE, "rename -top gate", "design -stash gate",
        "design -copy-from gold gold", "design -copy-from gate gate", "equiv_make gold gate equal",
        "hierarchy -top equal", "opt_clean", "equiv_simple -undef", "equiv_induct -undef", "equiv_status -assert",
    ]  # fmt: skip
    try:
        return PROVEN in run(commands, folder, limit_s)
    except SimulationError as error:
        if "unproven $equiv" in str(error):
            return False
        raise
