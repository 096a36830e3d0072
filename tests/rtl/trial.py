# SPDX-License-Identifier: Apache-2.0
"""One mutant against everything that holds its module: bulk streams, proofs, beats by hand; the cheapest first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from simsparse.errors import SimulationError
from simsparse.rtl.block import BLOCKS, RtlBlock
from simsparse.rtl.equivalence import sources_equal
from simsparse.rtl.package import closure
from simsparse.rtl.toolchain import build_root, elsewhere, sources
from simsparse.rtl.unlinted import LINT_OFF
from simsparse.rtl.verify import TILES, verify_block
from tests.rtl import test_formal, test_formal_hash, test_formal_intersect, test_gemm_counters
from tests.rtl.mutants import Mutant
from tests.rtl.scenes import scenes
from tests.rtl.test_blocks import BY_HAND, BY_NAME

FEW = 300
"""Random tiles of the first look, at every parameter set."""

LONG = 2
"""Parameter sets at which what survives that gets as many tiles as the suite runs."""
EQUAL_S = 20
"""Seconds that a proof of equivalence may take at one parameter set."""
PROOFS = {**test_formal.PROOFS, **test_formal_hash.PROOFS, **test_formal_intersect.PROOFS}


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    INVALID = "invalid"
    EQUIVALENT = "equivalent"


@dataclass(frozen=True)
class Outcome:
    """A mutant's fate, and what killed it or how its equivalence was proven."""

    mutant: Mutant
    fate: Fate
    by: str = ""


@contextmanager
def planted(mutant: Mutant, folder: Path) -> Iterator[None]:
    """Every tool sees the sources with ``mutant`` among them, and builds below ``folder``.

    Lint would stop a mutant before it runs; only a simulation or a proof may kill.
    """
    copies = folder / "rtl"
    shutil.rmtree(copies, ignore_errors=True)
    shutil.copytree(sources(), copies)
    (copies / f"{mutant.module}.sv").write_text(LINT_OFF + mutant.text, encoding="utf-8")
    with elsewhere(copies, folder):
        yield


def trial(mutant: Mutant, folder: Path, holders: list[RtlBlock], deep: bool = True) -> Outcome:
    """The first thing that tells ``mutant`` from the module; SURVIVED when nothing does.

    ``holders`` are the parameter sets that it is put in; the one that kills moves to the front, for the next mutant
    is likely to stand nearby. Without ``deep``, few tiles are all that it is put through.
    """
    with planted(mutant, folder):
        for block in tuple(holders):
            outcome = _bulk(mutant, block, FEW)
            if outcome.fate is not Fate.SURVIVED:
                holders.remove(block)
                holders.insert(0, block)
                return outcome
        if not deep:
            return Outcome(mutant, Fate.SURVIVED)
    if by := _equivalent(mutant, folder):
        return Outcome(mutant, Fate.EQUIVALENT, by)
    with planted(mutant, folder):
        by = _proofs(mutant) or _long(mutant, holders[:LONG]) or _counters(mutant) or _by_hand(mutant)
    return Outcome(mutant, Fate.KILLED if by else Fate.SURVIVED, by)


def relevant(module: str) -> list[RtlBlock]:
    """All parameter sets of ``module``, then the first one of every module that has it inside."""
    around = [each for each in BLOCKS if each != module and module in closure([each])]
    return [*BLOCKS.get(module), *(BLOCKS.get(each)[0] for each in around)]


def _bulk(mutant: Mutant, block: RtlBlock, tiles: int) -> Outcome:
    """Coverage that ``tiles`` don't reach kills nothing."""
    try:
        differences = verify_block(block, tiles, complete=False).verdict.differences
    except SimulationError as error:
        built = "does not build" not in str(error)
        return Outcome(mutant, Fate.KILLED if built else Fate.INVALID, f"{block.name}: {error}")
    if differences:
        return Outcome(mutant, Fate.KILLED, f"{block.name}: {differences[0].partition(':')[0]}")
    return Outcome(mutant, Fate.SURVIVED)


def _long(mutant: Mutant, holders: list[RtlBlock]) -> str:
    for block in holders:
        outcome = _bulk(mutant, block, TILES)
        if outcome.fate is Fate.KILLED:
            return f"{outcome.by} ({TILES} tiles)"
    return ""


def _equivalent(mutant: Mutant, folder: Path) -> str:
    """The parameter sets at which the mutant is proven to be the module; empty when one is not proven."""
    shapes = [narrow(dict(block.parameters)) for block in BLOCKS.get(mutant.module)]
    with planted(mutant, folder):
        other = sources()
    for shape in shapes:
        try:
            if not sources_equal(mutant.module, shape, other, folder / "equal", EQUAL_S):
                return ""
        except SimulationError:
            return ""
    return "; ".join(" ".join(f"{name}={value}" for name, value in shape.items()) for shape in shapes)


def narrow(parameters: dict[str, int]) -> dict[str, int]:
    """``parameters`` with data of three bits: control and lanes as they are, multipliers that a solver takes."""
    least = {"Width": 3, "DataWidth": 3, "UserWidth": 3, "AccWidth": 10}
    return {name: min(value, least.get(name, value)) for name, value in parameters.items()}


def _proofs(mutant: Mutant) -> str:
    for name, proof in PROOFS.items():
        if mutant.module in proof.modules:
            folder = build_root() / "proof"
            folder.mkdir(exist_ok=True)
            if proof.proven not in proof.said(folder):
                return f"proof {name}"
    return ""


def _counters(mutant: Mutant) -> str:
    """Counters run to their ends, in the module that has them."""
    if mutant.module != "nm_gemm_top":
        return ""
    for end, job in test_gemm_counters.ENDS.items():
        try:
            if test_gemm_counters.played(job)[0].differences:
                return f"counter of {end}"
        except SimulationError:
            return f"counter of {end}"
    return ""


def _by_hand(mutant: Mutant) -> str:
    """Of every set with beats by hand that has the module inside."""
    for name in BY_HAND:
        block = BY_NAME[name]
        if mutant.module in closure([block.module]):
            prepared = scenes(block)
            try:
                prepared.check(prepared.played())
            except (AssertionError, SimulationError):
                return f"beats by hand {name}"
    return ""
