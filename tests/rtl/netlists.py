# SPDX-License-Identifier: Apache-2.0
"""Proofs at the widths that are verified, too long for the tests: netlists of standard cells do what sources say.

``python -m tests.rtl.netlists`` writes reports/rtl/netlists.md, in about a quarter of an hour.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from simsparse.errors import SimulationError
from simsparse.rtl.equivalence import netlist_equals_sources
from simsparse.rtl.toolchain import build_root
from tests.rtl.test_netlist import ONE_WRONG_GATE

REPORT = Path(__file__).resolve().parents[2] / "reports" / "rtl" / "netlists.md"
LIMIT_S = 600
ARRAY = {"Rows": 2, "Cols": 2, "N": 1, "M": 4, "DataWidth": 8, "AccWidth": 32}
WIDE: tuple[tuple[str, Mapping[str, int]], ...] = (
    ("stream_register", {"Width": 8}), ("skid_buffer", {"Width": 33}), ("stream_fifo", {"Width": 8, "Depth": 5}),
    ("nm_select", {"N": 2, "M": 4, "DataWidth": 8}), ("nm_decompress", {"N": 4, "M": 8, "DataWidth": 8}),
    ("nm_encode24", {"Groups": 8, "DataWidth": 8}), ("nm_prune", {"N": 4, "M": 8, "DataWidth": 8}),
    ("bitmap_intersect", {"Width": 16, "Matches": 1}), ("fp32_add", {}), ("fp16_mul", {}),
    ("spad_hash_accumulate", {"Depth": 16, "KeyWidth": 8, "ValueWidth": 8, "AccWidth": 32}),
    ("dot_accumulate", {"Lanes": 2, "DataWidth": 8, "AccWidth": 32}),
    ("dense_pe", {"Lanes": 2, "DataWidth": 8, "AccWidth": 32}),
    ("nm_dot_pe", {"N": 2, "M": 4, "DataWidth": 8, "AccWidth": 32}), ("nm_dot_pe_fp16", {"N": 2, "M": 4}),
    ("nm_systolic_array", ARRAY), ("nm_systolic_array", {**ARRAY, "OutputStationary": 1}),
    ("sparse_tensor_core_24", {"TileM": 1, "TileN": 1, "TileK": 8, "StepK": 4, "DataWidth": 8, "AccWidth": 32}),
    ("nm_gemm_top", {**ARRAY, "MaxTokens": 2}),
)  # fmt: skip
HEAD = """# Netlists at full width

Mapped to standard cells, each module does what its sources say after synthesis' passes on words, at every time from
registers of zero on (ABC's `dsec`, `cec` for what has no registers), and the netlist with one wrong gate does not.
Remade by `python -m tests.rtl.netlists`; the same at narrower widths, most of it from the plain sources, is in the
tests.

| module | parameters | equal | wrong gate seen | seconds |
| --- | --- | --- | --- | --- |
"""


def line(module: str, parameters: Mapping[str, int]) -> str:
    """One row: what was proven, or that nothing was decided."""
    start = time.monotonic()
    folder = build_root() / "netlists" / module
    try:
        equal, faulty = netlist_equals_sources(
            module, dict(parameters), folder, [ONE_WRONG_GATE], lowered=True, limit_s=LIMIT_S
        )
        found = f"{'yes' if equal else 'NO'} | {'NO' if faulty else 'yes'}"
    except SimulationError as error:
        found = f"not decided: {error} | "
    shape = " ".join(f"{name}={value}" for name, value in parameters.items())
    return f"| `{module}` | {shape} | {found} | {time.monotonic() - start:.0f} |"


def main() -> None:
    """Prove all of WIDE."""
    lines = []
    for module, parameters in WIDE:
        lines.append(line(module, parameters))
        print(lines[-1], file=sys.stderr, flush=True)
    REPORT.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
