# SPDX-License-Identifier: Apache-2.0
"""Seconds of a serving engine's own all-reduce over NVLink, by ranks: two starts and a rate.

Usage: python tests/validation/fit_engine_all_reduce.py TABLE CARD. ``TABLE``: aiconfigurator's comm tables of vLLM as
CSV (``gpu``, ``kernel_source``, ``num_gpus``, ``message_size`` in elements of 16 bits, ``latency`` in ms). Of rows of
``CARD`` under graphs every second one is fitted; the others, and those of other cards, judge.
"""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from simsparse.serving.all_reduce import RankAllReduce

GRAPH, ELEMENT, MOST = "vLLM_custom_graph", 2, 8 << 20


def rows_of(path: str) -> list[tuple[str, int, int, float]]:
    """Card, ranks, bytes and seconds of each row under graphs, up to the largest message that the engine takes."""
    text = gzip.decompress(Path(path).read_bytes()).decode() if path.endswith(".gz") else Path(path).read_text()
    found = [
        (row["gpu"], int(row["num_gpus"]), ELEMENT * int(row["message_size"]), 1e-3 * float(row["latency"]))
        for row in csv.DictReader(text.splitlines()) if row["kernel_source"] == GRAPH
    ]  # fmt: skip
    return sorted(each for each in found if each[2] <= MOST)


def errors(model: RankAllReduce, ranks: int, rows: list[tuple[str, int, int, float]]) -> np.ndarray:
    """Relative errors."""
    return np.array([model.seconds(size, ranks) / seconds - 1 for _, _, size, seconds in rows])


def fitted(ranks: int, rows: list[tuple[str, int, int, float]]) -> RankAllReduce:
    """The values with the least sum of squared relative errors."""

    def loss(logs: np.ndarray) -> float:
        return float((errors(RankAllReduce(*np.exp(logs)), ranks, rows) ** 2).sum())

    start = np.log([4.5e-6, 8e-6, 150e9])
    options = {"xatol": 1e-4, "fatol": 1e-9, "maxiter": 2000}
    return RankAllReduce(*np.exp(minimize(loss, start, method="Nelder-Mead", options=options).x))


def main(path: str, card: str) -> None:
    """Fit each number of ranks, and print values and errors."""
    rows = rows_of(path)
    for ranks in (2, 4, 8):
        own = [row for row in rows if row[1] == ranks and row[0].startswith(card)]
        model = fitted(ranks, own[::2])
        print(f"{ranks}: once {model.once_s * 1e6:.3g} us, twice {model.twice_s * 1e6:.3g} us, "
              f"rate {model.bytes_per_s / 1e9:.4g} GB/s; fitted {abs(errors(model, ranks, own[::2])).mean():.1%}, "
              f"left out {abs(errors(model, ranks, own[1::2])).mean():.1%}")  # fmt: skip
        for other in sorted({row[0] for row in rows} - {own[0][0]}):
            judged = [row for row in rows if row[:2] == (other, ranks)]
            if judged:
                print(f"   {other}: {abs(errors(model, ranks, judged)).mean():.1%} of {len(judged)} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
