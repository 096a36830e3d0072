"""Plants faults in rtl/, one at a time, and says which of them the verification sees.

``python -m tests.rtl.mutation`` writes reports/rtl/mutation.md; with modules as arguments it prints only.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from simsparse.rtl.toolchain import build_root, environment, sources
from simsparse.rtl.verify import TILES
from tests.rtl.mutants import Mutant, mutants, sample
from tests.rtl.trial import FEW, Fate, Outcome, relevant, trial

REPORT = Path(__file__).resolve().parents[2] / "reports" / "rtl" / "mutation.md"
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


def share(outcomes: Sequence[Outcome]) -> float:
    """Killed of those that build and are not proven to be equivalent."""
    fates = Counter(outcome.fate for outcome in outcomes)
    return fates[Fate.KILLED] / (fates[Fate.KILLED] + fates[Fate.SURVIVED])


def report(outcomes: Sequence[Outcome], per_rule: int) -> str:
    """The result as Markdown."""
    return "\n".join([*_head(outcomes, per_rule), *_by_rule(outcomes), *_rest(outcomes)]) + "\n"


def _head(outcomes: Sequence[Outcome], per_rule: int) -> list[str]:
    fates = Counter(outcome.fate for outcome in outcomes)
    counted = fates[Fate.KILLED] + fates[Fate.SURVIVED]
    return [
        "# Mutation of the RTL", "",
        f"{len(outcomes)} faults planted one at a time: {fates[Fate.KILLED]} of {counted} that count were killed "
        f"({share(outcomes):.1%}), {fates[Fate.SURVIVED]} survived. {fates[Fate.EQUIVALENT]} are proven to change "
        f"nothing and {fates[Fate.INVALID]} do not elaborate; neither counts.", "",
        f"At most {per_rule} faults of each rule in each module (tests/rtl/mutants.py). A fault is killed when "
        f"{FEW} random tiles of one parameter set differ from the model in a value or a cycle, else when {TILES} do, "
        "else when a proof fails or a cocotb test does. Lint kills nothing here: its findings are switched off for "
        "mutants. Equivalence is proven by induction over all registers, with data of three bits, at every verified "
        "parameter set.", "",
        "Remake: `make mutation` (or `python -m tests.rtl.mutation`).", "",
    ]  # fmt: skip


def _by_rule(outcomes: Sequence[Outcome]) -> list[str]:
    modules = sorted({outcome.mutant.module for outcome in outcomes})
    rules = sorted({outcome.mutant.rule for outcome in outcomes})
    lines = ["| killed / counted | " + " | ".join(modules) + " |", "| --- |" + " --- |" * len(modules)]
    for rule in rules:
        cells = []
        for module in modules:
            fates = Counter(o.fate for o in outcomes if (o.mutant.module, o.mutant.rule) == (module, rule))
            counted = fates[Fate.KILLED] + fates[Fate.SURVIVED]
            cells.append(f"{fates[Fate.KILLED]}/{counted}" if counted else "")
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _rest(outcomes: Sequence[Outcome]) -> list[str]:
    lines = []
    for fate, title in ((Fate.SURVIVED, "Survived"), (Fate.EQUIVALENT, "Equivalent"), (Fate.INVALID, "Not elaborated")):
        found = [outcome for outcome in outcomes if outcome.fate is fate]
        if found:
            lines += [f"## {title}", "", *(f"- `{_plain(each.mutant.name)}`{_why(each)}" for each in found), ""]
    killers = Counter(_killer(outcome) for outcome in outcomes if outcome.fate is Fate.KILLED)
    lines += ["## What killed", "", *(f"- {what}: {count}" for what, count in killers.most_common())]
    return lines


def _plain(text: str) -> str:
    return text.replace("`", "'")


def _why(outcome: Outcome) -> str:
    if outcome.fate is Fate.EQUIVALENT:
        return f": proven equal at {outcome.by}"
    if outcome.fate is Fate.SURVIVED:
        return f": {SURVIVORS.get(outcome.mutant.name, 'no reason known')}"
    return ""


def _killer(outcome: Outcome) -> str:
    if outcome.by.startswith(("proof", "cocotb")):
        return outcome.by.split()[0]
    return f"bulk, {outcome.by.partition(': ')[2].split(':')[-1].split('(')[0].strip() or 'stopped'}"


SURVIVORS: dict[str, str] = {}
"""By name of a survivor, why nothing sees it."""


def main() -> None:
    """Run it; exit code 1 when fewer than LEAST_SHARE are killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="modules of rtl/; all of them when none is given")
    parser.add_argument("--per-rule", type=int, default=PER_RULE, help="faults of each rule in each module")
    arguments = parser.parse_args()
    os.environ.update(environment())
    modules = arguments.modules or sorted(path.stem for path in sources().glob("*.sv"))
    outcomes = run(chosen(modules, arguments.per_rule))
    text = report(outcomes, arguments.per_rule)
    if arguments.modules:
        print(text)
    else:
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(text, encoding="utf-8")
    sys.exit(share(outcomes) < LEAST_SHARE)


if __name__ == "__main__":
    main()
