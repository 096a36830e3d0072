# SPDX-License-Identifier: Apache-2.0
"""Fit attention kernels by their tiles to a public table of sparse attention.

``python tests/validation/fit_gpu_tiled_attention.py TABLE`` prints YAML for hw_models/kernels/nsa-triton and, of each
kernel, the mean error with every row fitted and with every second row left out. TABLE is described in
simsparse.validate.tables.sparse_prompts; half of its rows were at hand.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu import GpuPart
from simsparse.devices.gpu_card import Card
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import read_table
from simsparse.validate.tables.sparse_prompts import kernel_name, tiles_of

Floats = NDArray[np.float64]
CARDS = {"A100": "gpu/a100-sxm4-80gb", "H100": "gpu/h100-sxm5-80gb"}


def design(rows: Sequence[Measurement], card: Card) -> Floats:
    """What launch (us), unit and step (1,000 cycles) each add to a row, as shares of its seconds."""
    tiles = [tiles_of(row) for row in rows]
    columns = [(1e-6, 1e3 * own.rows[0] / card.cycles_per_s, 1e3 * own.steps[0] / card.cycles_per_s) for own in tiles]
    shares: Floats = np.array(columns) / np.array([[row.number("s")] for row in rows])
    return shares


def main(table: str) -> None:
    found: dict[tuple[str, str], list[Measurement]] = {}
    for row in read_table(table):
        found.setdefault((row.text("gpu"), kernel_name(row)), []).append(row)
    for (gpu, name), rows in sorted(found.items()):
        part = load_hardware(CARDS[gpu])
        assert isinstance(part, GpuPart)
        rows.sort(key=lambda row: (row.whole("seq_len"), row.text("kernel")))
        shares = design(rows, Card.of(part))
        values, _ = nnls(shares, np.ones(len(rows)))
        half, _ = nnls(shares[::2], np.ones(len(shares[::2])))
        own, left = (100 * np.abs(part @ fit - 1).mean() if len(part) else 0.0
                     for part, fit in ((shares, values), (shares[1::2], half)))  # fmt: skip
        launch, unit, step = (float(f"{value:.4g}") for value in (values[0], 1e3 * values[1], 1e3 * values[2]))
        print(f"{gpu} {name}: {len(rows)} rows, {own:.1f} % in the mean, {left:.1f} % on every second one left out")
        source = "source: nsa-fit, basis: measured"
        print(f"  {name}:\n    launch: {{value: {launch:g} us, {source}}}\n    unit: {{value: {unit:g}, {source}}}")
        print(f"    step: {{value: {step:g}, {source}}}")


if __name__ == "__main__":
    main(sys.argv[1])
