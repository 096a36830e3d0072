# SPDX-License-Identifier: Apache-2.0
"""Plants faults in rtl/, one at a time, and says which of them the verification sees.

``python -m tests.rtl.mutation`` writes reports/rtl/mutation.json and mutation.md. With modules as arguments it only
says what it found. ``--again`` writes mutation.md anew from mutation.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from simsparse.rtl.block import BLOCKS
from simsparse.rtl.toolchain import build_root, environment, sources
from simsparse.rtl.verify import TILES
from tests.rtl.mutants import Mutant, mutants, sample
from tests.rtl.trial import EQUAL_S, FEW, LONG, Fate, Outcome, relevant, trial

REPORTS = Path(__file__).resolve().parents[2] / "reports" / "rtl"
LEAST_SHARE = 0.98
PER_MODULE = 30


def chosen(modules: Iterable[str], per_module: int) -> list[Mutant]:
    """At most ``per_module`` mutants of each of ``modules``."""
    return [each for module in modules for each in sample(mutants(sources() / f"{module}.sv"), per_module)]


def run(planted: Sequence[Mutant], jobs: int = 1) -> list[Outcome]:
    """Every mutant's outcome, ``jobs`` modules at a time. Raises AssertionError when one fails without any fault."""
    groups = [list(group) for _, group in groupby(planted, key=lambda each: each.module)]
    with ProcessPoolExecutor(jobs) as pool:
        return [outcome for outcomes in pool.map(run_module, groups) for outcome in outcomes]


def run_module(planted: Sequence[Mutant]) -> list[Outcome]:
    """The outcomes of one module's mutants, in a folder of their own."""
    module = planted[0].module
    folder = build_root() / "mutants" / module
    folder.mkdir(parents=True, exist_ok=True)
    holders = relevant(module)
    sound = trial(unchanged(module), folder, holders[:1], deep=False)
    assert sound.fate is Fate.SURVIVED, f"{module} without a fault: {sound.by}"
    outcomes = []
    for mutant in planted:
        start = time.monotonic()
        outcomes.append(trial(mutant, folder, holders))
        took = time.monotonic() - start
        print(f"{len(outcomes)}/{len(planted)} {took:5.1f} s {outcomes[-1].fate:10} {mutant.name}", file=sys.stderr)
    return outcomes


def unchanged(module: str) -> Mutant:
    """The module itself: what the tools must find nothing wrong with."""
    return Mutant(module, "none", 0, "", "", (sources() / f"{module}.sv").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Entry:
    """An outcome as the report has it."""

    module: str
    rule: str
    name: str
    fate: Fate
    by: str

    @classmethod
    def of(cls, outcome: Outcome) -> Entry:
        """What is kept of ``outcome``."""
        by = _killer(outcome.by) if outcome.fate is Fate.KILLED else outcome.by.replace(f"{build_root()}/", "")
        return cls(outcome.mutant.module, outcome.mutant.rule, outcome.mutant.name, outcome.fate, by)


def _killer(by: str) -> str:
    if kind := next((kind for kind in ("proof", "beats by hand", "counter") if by.startswith(kind)), ""):
        return kind
    return f"{TILES} tiles" if by.endswith(f"({TILES} tiles)") else f"{FEW} tiles"


def share(entries: Sequence[Entry]) -> float:
    """Killed of those that build and are not proven to be equivalent."""
    fates = Counter(entry.fate for entry in entries)
    return fates[Fate.KILLED] / (fates[Fate.KILLED] + fates[Fate.SURVIVED])


def report(entries: Sequence[Entry], per_module: int) -> str:
    """The result of a run with ``per_module`` as Markdown."""
    return "\n".join([*_head(entries, per_module), *_by_rule(entries), *_rest(entries)]) + "\n"


def _head(entries: Sequence[Entry], per_module: int) -> list[str]:
    fates = Counter(entry.fate for entry in entries)
    killers = Counter(entry.by for entry in entries if entry.fate is Fate.KILLED)
    return [
        "# Mutation of the RTL", "",
        f"{len(entries)} faults planted one at a time: {fates[Fate.KILLED]} of "
        f"{fates[Fate.KILLED] + fates[Fate.SURVIVED]} that count were killed ({share(entries):.1%}), "
        f"{fates[Fate.SURVIVED]} survived. {fates[Fate.EQUIVALENT]} are proven to change nothing and "
        f"{fates[Fate.INVALID]} do not elaborate; neither counts.", "",
        f"{per_module} faults a module (fewer when the rules of tests/rtl/mutants.py find no more), taken from the "
        f"rules in turn, in an order that only the names decide. A fault is killed when {FEW} random tiles of one "
        "parameter set differ from the model in a value or a cycle, else when a proof fails, else when "
        f"{TILES} tiles of one of {LONG} parameter sets differ or beats picked by hand do. Lint kills nothing here: "
        "its findings are switched off for mutants. Equivalence is proven by ABC from registers of zero on, with data "
        f"of three bits, at every verified parameter set, in at most {EQUAL_S} s each.", "",
        f"Killed by: {', '.join(f'{what} {count}' for what, count in killers.most_common())}.", "",
        f"Remake: `make mutation`, which is `python -m tests.rtl.mutation --per-module {per_module}`.", "",
    ]  # fmt: skip


def _by_rule(entries: Sequence[Entry]) -> list[str]:
    rules = sorted({entry.rule for entry in entries})
    lines = ["| killed / counted | " + " | ".join(rules) + " |", "| --- |" + " --- |" * len(rules)]
    for module in sorted({entry.module for entry in entries}):
        cells = []
        for rule in rules:
            fates = Counter(each.fate for each in entries if (each.module, each.rule) == (module, rule))
            counted = fates[Fate.KILLED] + fates[Fate.SURVIVED]
            cells.append(f"{fates[Fate.KILLED]}/{counted}" if counted else "")
        lines.append(f"| `{module}` | " + " | ".join(cells) + " |")
    return lines


def _rest(entries: Sequence[Entry]) -> list[str]:
    lines = []
    for fate, title in ((Fate.SURVIVED, "Survived"), (Fate.EQUIVALENT, "Equivalent"), (Fate.INVALID, "Not elaborated")):
        found = [f"- `{entry.name.replace('`', '')}`{_why(entry)}" for entry in entries if entry.fate is fate]
        if found:
            lines += ["", f"## {title}", "", *found]
    return lines


def _why(entry: Entry) -> str:
    if entry.fate is Fate.EQUIVALENT:
        return f": proven equal at {entry.by}"
    return f": {SURVIVORS.get(entry.name, 'no reason known')}" if entry.fate is Fate.SURVIVED else ""


SURVIVORS = {
    "bitmap_intersect:43 flipped operator: > -> >=": "it adds the bits below element 0, of which there are none",
    "spad_hash_accumulate:86 dropped term: drained | -> nothing": "exactly one bit of lowest is set while it matters",
    "spad_hash_accumulate:86 off by one: int i = 0; i < Depth; -> int i = 1; i < Depth;": "slot 0 adds no bit",
    "stream_register:32 dropped term: valid_i && -> nothing": "the register then takes data that is not valid, which "
    "no one may look at: nothing changes at the ports while valid_o is high (argued, not proven)",
}
"""By name of a survivor, why nothing sees it."""


def save(entries: Sequence[Entry], per_module: int) -> None:
    """mutation.json and mutation.md."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    records = ",\n".join(json.dumps(asdict(entry)) for entry in entries)
    text = f'{{"per_module": {per_module}, "entries": [\n{records}\n]}}\n'
    (REPORTS / "mutation.json").write_text(text, encoding="utf-8")
    (REPORTS / "mutation.md").write_text(report(entries, per_module), encoding="utf-8")


def saved() -> tuple[list[Entry], int]:
    """Entries of mutation.json, and what they were made with."""
    found = json.loads((REPORTS / "mutation.json").read_text(encoding="utf-8"))
    return [Entry(**{**each, "fate": Fate(each["fate"])}) for each in found["entries"]], found["per_module"]


def main() -> None:
    """Run it; exit code 1 when fewer than LEAST_SHARE are killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="modules of rtl/; all of them when none is given")
    parser.add_argument("--per-module", type=int, default=PER_MODULE, help="faults a module")
    parser.add_argument("--jobs", type=int, default=1, help="modules at a time")
    parser.add_argument("--again", action="store_true", help="write mutation.md from mutation.json")
    arguments = parser.parse_args()
    if arguments.again:
        save(*saved())
        return
    os.environ.update(environment())
    modules = arguments.modules or sorted(BLOCKS)
    entries = [Entry.of(outcome) for outcome in run(chosen(modules, arguments.per_module), arguments.jobs)]
    if arguments.modules:
        print(report(entries, arguments.per_module))
    else:
        save(entries, arguments.per_module)
    sys.exit(share(entries) < LEAST_SHARE)


if __name__ == "__main__":
    main()
