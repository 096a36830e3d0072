# SPDX-License-Identifier: Apache-2.0
"""Pruned weights in memory that multiplies: writes reports/pim-sparsity (points.csv, two plots).

python tests/validation/pim_sparsity.py FOLDER
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.pim import PimPart, PimSelect
from simsparse.core import ops
from simsparse.devices.pim import Pim

PARTS = {"pim/bank-pim": "banks", "pim/bank-group-pim": "bank groups", "pim/logic-pim": "logic die"}
UNITS = {
    "zeros stored": None,
    "zero columns passed over": PimSelect(gathers=False, sorted=False),
    "index selector": PimSelect(gathers=True, sorted=False),
    "index selector, outputs sorted": PimSelect(gathers=True, sorted=True),
}
KEPT = (0.5, 0.25, 0.125)
PATTERNS = ("N:M", "bank16", "block32", "unstructured")
OUTPUTS, INPUTS = 4096, 4096
CAUSES = ("weights", "indexes", "zeros and idle banks", "rows and vectors", "refresh")


def pattern(name: str, kept: float) -> str:
    """The text of a sparsity: N:M is 1 of 1 / kept."""
    return f"{round(8 * kept)}:8" if name == "N:M" else f"{name}:{kept}"


def points() -> Iterator[dict[str, Any]]:
    """A row for each part, kind of units, pattern and share of kept weights: FP16, one token, one stack."""
    for name, level in PARTS.items():
        part = load_hardware(name, {"memory.stacks": "1"})
        assert isinstance(part, PimPart)
        for units, select in UNITS.items():
            device = Pim(part.model_copy(update={"select": select}))
            dense = device.cycles(ops.linear(1, OUTPUTS, INPUTS, "fp16"))
            for kept in KEPT:
                for kind in PATTERNS:
                    op = ops.linear(1, OUTPUTS, INPUTS, "fp16", weight_sparsity=pattern(kind, kept))
                    found = device.cycles(op)
                    yield {
                        "units at": level, "units": units, "pattern": kind, "kept": kept, "cycles": found.cycles,
                        "speed-up": round(dense.cycles / found.cycles, 3),
                        "rows opened": found.counts.of("bank", "activate"),
                        "bytes read": found.counts.of("bank", "internal_byte"),
                        **{cause: found.causes[cause] for cause in CAUSES},
                    }  # fmt: skip


def draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Speed-up by pattern at a quarter of the weights, and where the cycles of an index selector go."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), sharey=True)
    for axis, level in zip(axes, PARTS.values(), strict=True):
        for number, units in enumerate(UNITS):
            own = {r["pattern"]: r["speed-up"] for r in rows
                   if (r["units at"], r["units"], r["kept"]) == (level, units, 0.25)}  # fmt: skip
            places = [place + 0.2 * (number - 1.5) for place in range(len(PATTERNS))]
            axis.bar(places, [own[kind] for kind in PATTERNS], 0.2, label=units)
        axis.axhline(4, color="black", linewidth=0.8, linestyle=":")
        axis.set_xticks(range(len(PATTERNS)), PATTERNS)
        axis.set_title(f"units at the {level}" if level != "logic die" else "units on the logic die")
    axes[0].set_ylabel("speed-up over dense weights (x)\none weight in four kept; dotted: 4 x")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(out / "speedup.png", dpi=110)
    figure, axes = plt.subplots(1, 3, figsize=(13, 4))
    for axis, level in zip(axes, PARTS.values(), strict=True):
        chosen = [r for r in rows if (r["units at"], r["units"], r["kept"]) == (level, "index selector", 0.25)]
        bottom = [0.0] * len(chosen)
        for cause in CAUSES:
            heights = [r[cause] / 1000 for r in chosen]
            axis.bar([r["pattern"] for r in chosen], heights, bottom=bottom, label=cause)
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        axis.set_title(f"units at the {level}" if level != "logic die" else "units on the logic die")
    axes[0].set_ylabel("thousand cycles, index selector\none weight in four kept")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=5, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(out / "cycles.png", dpi=110)


def main() -> None:
    """Write points.csv and the plots."""
    out = Path(sys.argv[1])
    rows = list(points())
    with (out / "points.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, out)


if __name__ == "__main__":
    main()
