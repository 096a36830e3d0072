# SPDX-License-Identifier: Apache-2.0
"""Fit what hw_models/spatial/gemmini-16x16.yaml says of port and control to half of the layers of the FireSim runs.

    python tests/validation/fit_gemmini.py dse_dosa_gemmini_firesim.csv.gz

The table is that of ucb-bar/dosa (docs/howto/validate.md). Layers, not rows, are split, so that no layer is in both
halves. Cycles are fitted by the logarithm of their ratio, with a loss that forgives single rows that are far off.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import spearmanr

from simsparse.mapper.cost import evaluate
from simsparse.mapper.mapping import nest_of
from simsparse.validate.gemmini import MappedRow, mapped_row, was_fitted
from simsparse.validate.tables import read_rows

NAMES = ("beat_cycles", "l2.miss", "llc.miss", "store_cycles", "issue_gemm", "issue_conv", "start", "overlap", "ramp")
FIRST = (1.8, 4.0, 10.0, 5.0, 126.0, 260.0, 700.0, 3.0, 0.1)
Floats = NDArray[np.float64]


def parts(row: MappedRow) -> list[float]:
    """Beats, missed lines by cache, stored pieces, tiles, array cycles, and whether the row is a product."""
    dram, *others = row.machine.stores
    assert dram.port is not None
    loads = []
    for which in range(3):
        caches = tuple(replace(c, miss=float(i == which - 1)) for i, c in enumerate(dram.port.caches))
        port = replace(dram.port, beat_cycles=float(which == 0), store_cycles=1.0, caches=caches)
        machine = replace(row.machine, stores=(replace(dram, port=port), *others), issue_gemm=1.0, issue_conv=1.0)
        found = evaluate(nest_of(row.layer, machine, [row.mapping])).parts
        loads.append(float(found["load"][0]))
    rest = [float(found[name][0]) for name in ("store", "control", "array")]
    return [*loads, *rest, float(row.layer.is_gemm)]


def cycles(values: Floats, table: Floats) -> Floats:
    """Cycles of rows of ``parts`` with the fitted ``values``; as simsparse.mapper.cost.evaluate."""
    beat, near, far, store, gemm, conv, start, overlap, ramp = values
    beats, l2, llc, pieces, tiles, array, product = table.T
    load, stored = beat * beats + near * l2 + far * llc, store * pieces
    control = np.where(product > 0, gemm, conv) * tiles
    every = np.stack([load, stored, array, control])
    total = (every**overlap).sum(axis=0) ** (1 / overlap)
    return np.asarray(total + start + ramp * (load + stored + array) / tiles)


def main(path: str) -> None:
    rows = read_rows(path, lambda fields: str(fields["set"]))
    fitted = np.array([was_fitted(row) for row in rows])
    measured = np.array([row.number("gemmini_cycle") for row in rows])
    table = np.array([parts(mapped_row(row)) for row in rows])

    def residuals(logs: Floats) -> Floats:
        return np.asarray(np.log(cycles(np.exp(logs), table[fitted]) / measured[fitted]))

    found = np.exp(least_squares(residuals, np.log(FIRST), loss="soft_l1", f_scale=0.2).x)
    print(dict(zip(NAMES, found.round(3).tolist(), strict=True)))
    shipped = np.array([row.section != "train" for row in rows])
    for name, own in (
        ("fitted half", fitted),
        ("other half", ~fitted),
        ("other half, 16 x 16", ~fitted & shipped),
    ):
        error = cycles(found, table[own]) / measured[own] - 1
        rank = spearmanr(cycles(found, table[own]), measured[own]).statistic
        print(f"{name}: {own.sum()} rows, mean error {abs(error).mean():.1%}, rank correlation {rank:.4f}")


if __name__ == "__main__":
    main(sys.argv[1])
