# SPDX-License-Identifier: Apache-2.0
"""Structural coverage of the RTL by its tests: which lines and branches ran, and which bits rose and fell.

``python -m tests.rtl.coverage`` runs the tests of TESTS on simulators that count, in about five minutes of one
processor, and writes reports/rtl/coverage.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from simsparse.rtl.build import COVERAGE
from simsparse.rtl.toolchain import environment, sources
from tests.rtl.test_blocks import BY_HAND

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "reports" / "rtl" / "coverage.md"
LEAST_SHARE = 0.98
_BULK = "tests/rtl/test_blocks.py::test_bulk_values_and_cycles_are_those_of_model_and_core"
MORE = (
    "fp16_mul", "fp32_add", "nm_prune-N2-M16-DataWidth8-Floating0", "nm_prune-N2-M4-DataWidth16-Floating1-fp16",
    "nm_decompress-N3-M6-DataWidth8-Bitmap0",
    "nm_gemm_top-Rows4-Cols4-N2-M4-DataWidth8-AccWidth32-WeightWidth8-PipeStages0-MaxTokens16",
)  # fmt: skip
TESTS = (
    *(f"{_BULK}[{name}]" for name in (*BY_HAND, *MORE)),
    "tests/rtl/test_blocks.py::test_beats_by_hand_and_resets_in_the_middle", "tests/rtl/test_gemm_axi.py",
    "tests/rtl/test_gemm_control.py", "tests/rtl/test_gemm_counters.py",
)  # fmt: skip
"""Of every module a parameter set or two, and the top level's own tests."""
_FIELD = re.compile("\x01([^\x02]+)\x02([^\x01']*)")


class Point(NamedTuple):
    """Something that a simulator counts, wherever its module stands: a ``line`` (or branch) or a bit's ``toggle``."""

    module: str
    kind: str
    line: int
    column: int
    what: str


EXCEPTIONS: Mapping[tuple[str, str], str] = {
    (r".*", r"(.*\.)?unused\w*:.*"): "constant: gathers bits that nothing reads",
    ("nm_systolic_array", r"gen_pe_row\[0\].*\.above\[\d+\]:.*"): "constant: the first row adds to zero",
    (
        "bitmap_intersect",
        r"rank_\w+\[(0|1|2|3|5|6|7|10|11|14|15|19|23|27|31)\]:.*",
    ): "constant: the rank of element i is at most i (offsets of four bits)",
    ("fp32_add", r"(top|low)\[[012]\]:.*"): "constant: the places of guard, round and sticky bit",
    ("fp32_add", r"back\[[567]\]:.*"): "constant: at most 26 places",
    ("fp16_mul", r"(product_o|aligned)\[[01]\]:.*"): "constant: a product has at most 22 significant bits of 24",
    ("nm_dot_pe_fp16", r"gen_level\[0\]\.value_in\[(0|1|32|33)\]:.*"): "constant: the last bits of products",
    ("nm_gemm_axi", r"s_axis_\w+_tkeep_i\[\d+\]:.*"): "not read: all bytes of a beat count",
    ("nm_gemm_axi", r"s_axil_bresp_o\[0\]:.*|s_axil_rresp_o\[[01]\]:.*"): "constant: SLVERR answers writes alone, and "
    "reads always succeed",
    ("nm_gemm_top", r"status\[[567]\]:.*"): "constant: STATUS has no such bits",
}
"""By patterns of a module and of a point's name, why no test can reach it; what is reached is no exception."""


def points(text: str, modules: Iterable[str]) -> Counter[Point]:
    """Counts of a file that Verilator wrote, of ``modules`` alone, added up over all places of a module."""
    known, found = set(modules), Counter[Point]()
    for line in text.splitlines():
        if not line.startswith("C "):
            continue
        body, _, count = line.rpartition(" ")
        told = dict(_FIELD.findall(body))
        module = Path(told.get("f", "")).stem
        if module in known:
            kind = "toggle" if told.get("t") == "toggle" else "line"
            found[Point(module, kind, int(told["l"]), int(told["n"]), told.get("o", ""))] += int(count)
    return found


def reason(point: Point) -> str:
    """Why a point that was not reached is an exception; empty when it is none."""
    for (module, pattern), why in EXCEPTIONS.items():
        if re.fullmatch(module, point.module) and re.fullmatch(pattern, point.what):
            return why
    return ""


def report(found: Mapping[Point, int]) -> tuple[str, float]:
    """The result as Markdown, and the share of what counts that was reached."""
    rows, left, named = [], [], []
    counted = reached = 0
    for module in sorted({point.module for point in found}):
        cells = []
        for kind in ("line", "toggle"):
            own = [point for point in found if (point.module, point.kind) == (module, kind)]
            missed = [point for point in own if not found[point]]
            excepted = [point for point in missed if reason(point)]
            left += [point for point in missed if not reason(point)]
            named += excepted
            due = len(own) - len(excepted)
            hit = len(own) - len(missed)
            counted, reached = counted + due, reached + hit
            cells.append(f"{hit}/{due}" + (f" ({hit / due:.1%})" if due else ""))
        rows.append(f"| `{module}` | {' | '.join(cells)} |")
    share = reached / counted
    lines = [
        "# Structural coverage of the RTL", "",
        f"{reached} of {counted} lines, branches and bits that rise and fall were reached ({share:.2%}); "
        f"{len(named)} more are exceptions with a reason. A point counts once for its module, wherever the module "
        "stands and at whichever parameter set it was reached.", "",
        "Remake: `python -m tests.rtl.coverage`. It runs the bulk streams of one or two parameter sets of every "
        "module, the beats picked by hand, and the tests of the top level: registers, counters to their ends, the C "
        "driver.", "",
        "| module | lines and branches | toggles |", "| --- | --- | --- |", *rows,
    ]  # fmt: skip
    for title, chosen in (("Not reached", left), ("Exceptions", named)):
        if chosen:
            lines += ["", f"## {title}", "", *_listed(chosen)]
    return "\n".join(lines) + "\n", share


def _listed(chosen: list[Point]) -> list[str]:
    """One line for all bits of a signal."""
    groups: dict[tuple[str, str, int, str], int] = {}
    for point in chosen:
        key = (point.module, re.sub(r"\[\d+\]", "", point.what) or point.kind, point.line, reason(point))
        groups[key] = groups.get(key, 0) + 1
    return [
        f"- `{module}:{line}` {what.replace(':', ' ')}: {count}" + (f"; {why}" if why else "")
        for (module, what, line, why), count in sorted(groups.items(), key=lambda each: (each[0][0], each[0][2]))
    ]


def measured(tests: Iterable[str], folder: Path) -> Counter[Point]:
    """What ``tests`` reach. Raises CalledProcessError when one fails."""
    counts = folder / "counts"
    counts.mkdir(parents=True, exist_ok=True)
    told = {**os.environ, **environment(), COVERAGE: str(counts), "SIMSPARSE_RTL_BUILD": str(folder / "build")}
    subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, env=told, check=True)
    modules, found = {path.stem for path in sources().glob("*.sv")}, Counter[Point]()
    for path in sorted(counts.glob("*.dat")):
        for point, count in points(path.read_text(encoding="utf-8", errors="replace"), modules).items():
            found[point] += count
    return found


def main() -> None:
    """Run it; exit code 1 when less than LEAST_SHARE is reached."""
    with tempfile.TemporaryDirectory() as folder:
        text, share = report(measured(TESTS, Path(folder)))
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(text, encoding="utf-8")
    print(text)
    sys.exit(share < LEAST_SHARE)


if __name__ == "__main__":
    main()
