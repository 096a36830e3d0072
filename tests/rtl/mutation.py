"""Plants faults in rtl/, one at a time, and says which of them the verification sees.

``python -m tests.rtl.mutation`` writes reports/rtl/mutation.json and mutation.md; modules as arguments are done anew
and the others stay as they were.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from simsparse.rtl.toolchain import build_root, environment, sources
from simsparse.rtl.verify import TILES
from tests.rtl.mutants import Mutant, mutants, sample
from tests.rtl.trial import FEW, Fate, Outcome, relevant, trial

REPORTS = Path(__file__).resolve().parents[2] / "reports" / "rtl"
LEAST_SHARE = 0.95
PER_RULE = 2


def chosen(modules: Iterable[str], per_rule: int) -> list[Mutant]:
    """At most ``per_rule`` mutants of each rule in each of ``modules``."""
    return sample([each for module in modules for each in mutants(sources() / f"{module}.sv")], per_rule)


def run(planted: Sequence[Mutant]) -> list[Outcome]:
    """Every mutant's outcome. Raises AssertionError when a module fails without any fault."""
    folder = build_root() / "mutants"
    folder.mkdir(parents=True, exist_ok=True)
    holders = {module: relevant(module) for module in sorted({each.module for each in planted})}
    for module, blocks in holders.items():
        sound = trial(unchanged(module), folder, blocks[:1], deep=False)
        assert sound.fate is Fate.SURVIVED, f"{module} without a fault: {sound.by}"
    outcomes = []
    for mutant in planted:
        start = time.monotonic()
        outcomes.append(trial(mutant, folder, holders[mutant.module]))
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
        by = _killer(outcome.by) if outcome.fate is Fate.KILLED else outcome.by
        return cls(outcome.mutant.module, outcome.mutant.rule, outcome.mutant.name, outcome.fate, by)


def _killer(by: str) -> str:
    if by.startswith(("proof", "cocotb")):
        return by.partition(" ")[0]
    return f"{TILES} tiles" if by.endswith(f"({TILES} tiles)") else f"{FEW} tiles"


def share(entries: Sequence[Entry]) -> float:
    """Killed of those that build and are not proven to be equivalent."""
    fates = Counter(entry.fate for entry in entries)
    return fates[Fate.KILLED] / (fates[Fate.KILLED] + fates[Fate.SURVIVED])


def report(entries: Sequence[Entry]) -> str:
    """The result as Markdown."""
    return "\n".join([*_head(entries), *_by_rule(entries), *_rest(entries)]) + "\n"


def _head(entries: Sequence[Entry]) -> list[str]:
    fates = Counter(entry.fate for entry in entries)
    killers = Counter(entry.by for entry in entries if entry.fate is Fate.KILLED)
    return [
        "# Mutation of the RTL", "",
        f"{len(entries)} faults planted one at a time: {fates[Fate.KILLED]} of "
        f"{fates[Fate.KILLED] + fates[Fate.SURVIVED]} that count were killed ({share(entries):.1%}), "
        f"{fates[Fate.SURVIVED]} survived. {fates[Fate.EQUIVALENT]} are proven to change nothing and "
        f"{fates[Fate.INVALID]} do not elaborate; neither counts.", "",
        f"At most {PER_RULE} faults of each rule in each module (tests/rtl/mutants.py). A fault is killed when "
        f"{FEW} random tiles of one parameter set differ from the model in a value or a cycle, else when {TILES} do, "
        "else when a proof fails or a cocotb test does. Lint kills nothing here: its findings are switched off for "
        "mutants. Equivalence is proven by induction over all registers, with data of three bits, at every verified "
        "parameter set.", "",
        f"Killed by: {', '.join(f'{what} {count}' for what, count in killers.most_common())}.", "",
        "Remake: `make mutation` (or `python -m tests.rtl.mutation [MODULE]...`).", "",
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
    "stream_register:32 dropped term: valid_i && -> nothing": "the register then takes data that is not valid, which "
    "no one may look at: nothing changes at the ports while valid_o is high (argued, not proven)",
}
"""By name of a survivor, why nothing sees it."""


def kept(modules: Sequence[str]) -> list[Entry]:
    """Entries of earlier runs on modules that still exist and are not among ``modules``."""
    path = REPORTS / "mutation.json"
    if not path.is_file():
        return []
    entries = [Entry(**{**each, "fate": Fate(each["fate"])}) for each in json.loads(path.read_text(encoding="utf-8"))]
    return [each for each in entries if each.module not in modules and (sources() / f"{each.module}.sv").is_file()]


def main() -> None:
    """Run it; exit code 1 when fewer than LEAST_SHARE are killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="modules of rtl/; all of them when none is given")
    arguments = parser.parse_args()
    os.environ.update(environment())
    modules = arguments.modules or sorted(path.stem for path in sources().glob("*.sv"))
    entries = [Entry.of(outcome) for outcome in run(chosen(modules, PER_RULE))]
    entries = sorted([*kept(modules), *entries], key=lambda entry: entry.module)
    REPORTS.mkdir(parents=True, exist_ok=True)
    records = ",\n".join(json.dumps(asdict(entry)) for entry in entries)
    (REPORTS / "mutation.json").write_text(f"[\n{records}\n]\n", encoding="utf-8")
    (REPORTS / "mutation.md").write_text(report(entries), encoding="utf-8")
    sys.exit(share(entries) < LEAST_SHARE)


if __name__ == "__main__":
    main()
