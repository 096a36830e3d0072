# SPDX-License-Identifier: Apache-2.0
"""Fit kernels that read what an index names: gathers of single elements, and MLPs that skip rows.

Run from the root: ``python tests/validation/fit_gpu_indexed.py``. Prints the sections ``indexed`` and ``skip_rows`` of
a kernel library, with the mean error on the rows fitted and on those left out, all rows of one size at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu import GpuPart
from simsparse.devices.gpu_card import Card
from simsparse.devices.gpu_indexed import element_times, skip_rows_times

DATA = Path(__file__).parent / "data/gpu/attention_h200_sxm5_141gb.jsonl"
PART = load_hardware("gpu/h200-sxm5-141gb")
assert isinstance(PART, GpuPart)
CARD = Card.of(PART)
Floats = NDArray[np.float64]
Rows = list[dict[str, Any]]
Model = Callable[[Floats, Rows], Floats]


def rows_of(op: str, **fields: str) -> Rows:
    """Rows of an op with some fields."""
    found = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    return [row for row in found if row.get("op") == op and all(row.get(key) == value for key, value in fields.items())]


def gathers(point: Floats, rows: Rows) -> Floats:
    """Seconds of two gathers; ``point``: launch in us, cycles per element."""
    elements = np.array([float(row["B"] * row["KV"] * row["top_k"] * row["D"]) for row in rows])
    return 2 * element_times(elements, point[0] * 1e-6, point[1], CARD).latency_s


def skipping(point: Floats, rows: Rows) -> Floats:
    """Seconds of an MLP that skips rows; ``point``: launch in us, share of the memory, cycles of steps and parts."""
    neurons, d_model = (np.array([float(row[key]) for row in rows]) for key in ("neurons", "d"))
    gated = np.array([float(row["mats"] == 3) for row in rows])
    names = ("launch", "memory", "step", "part")
    values = dict(zip(names, point * [1e-6, 1, 1, 1], strict=True))
    model: Any = SimpleNamespace(**{name: SimpleNamespace(si=value) for name, value in values.items()})
    return skip_rows_times(neurons, d_model, gated, model, CARD).latency_s


def fitted(model: Model, start: list[float], rows: Rows) -> Floats:
    """Least squares of relative errors."""
    seconds = np.array([row["s"] for row in rows])
    found = least_squares(lambda point: np.log(model(np.exp(point), rows) / seconds), np.log(start))
    return np.asarray(np.exp(found.x))


def error(model: Model, point: Floats, rows: Rows) -> Floats:
    """Absolute relative error of each row."""
    return np.asarray(np.abs(model(point, rows) / np.array([row["s"] for row in rows]) - 1))


def report(name: str, model: Model, start: list[float], rows: Rows, key: Callable[[dict[str, Any]], Any]) -> None:
    """Print the fit, its error and that on rows whose size was left out."""
    point = fitted(model, start, rows)
    held: list[float] = []
    for size in {key(row) for row in rows}:
        others = fitted(model, start, [row for row in rows if key(row) != size])
        held += error(model, others, [row for row in rows if key(row) == size]).tolist()
    print(f"{name}: {len(rows)} rows, {error(model, point, rows).mean():.3f}, sizes left out {np.mean(held):.3f}:",
          " ".join(f"{value:.4g}" for value in point))  # fmt: skip


def main() -> None:
    def gathered(row: dict[str, Any]) -> int:
        return int(row["B"] * row["top_k"])

    one = rows_of("topk_gather_only", indexes="one list a call")
    each = rows_of("topk_gather_only", indexes="one list a kv head")
    report("indexed.inner_launch (us), inner", gathers, [4.5, 0.7], one, gathered)
    report("indexed.each_launch (us), each", gathers, [1.7, 1.1], each, gathered)
    report("skip_rows.launch (us), memory, step, part", skipping, [6.5, 0.65, 1700, 750], rows_of("mlp_skip_rows"),
           lambda row: row["neurons"])  # fmt: skip


if __name__ == "__main__":
    main()
