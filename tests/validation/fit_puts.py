# SPDX-License-Identifier: Apache-2.0
"""Fit one-sided exchanges of experts' rows over NVLink to half of two tables of DeepEP times, by card.

    python tests/validation/fit_puts.py deepep_ll.csv.gz deepep_normal.csv.gz h200

The tables are those of AIConfigurator (comm/sglang, one node of eight GPUs; columns of TABLES in
simsparse.validate.puts). A row is fitted when the checksum of its shape is even. Prints the section ``puts`` of a link,
and the mean errors on both halves. The arithmetic is that of simsparse.lowering.collectives.puts, over arrays.
"""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections.abc import Iterator

import numpy as np
from scipy.optimize import least_squares

RANKS, SCALED, WIDE = 8, 33 / 32, 2
"""Ranks of a node; bytes of an 8-bit value with its share of a scale, and of a 16-bit value."""


def rows(path: str, gpu: str) -> Iterator[tuple[bool, dict[str, float]]]:
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            if row["gpu"] == gpu:
                shape = ",".join(row[key] for key in ("hidden_size", "num_token", "num_topk", "num_experts"))
                sms = row.get("dispatch_sms", "")
                yield (
                    zlib.crc32(f"{shape},{sms}".encode()) % 2 == 0,
                    {key: float(value) for key, value in row.items() if key != "gpu"},
                )


def copies(row: dict[str, float], once: bool) -> float:
    """Rows that leave a rank per token: to other ranks, one per rank with ``once``, else one per expert."""
    k = row["num_topk"]
    return (RANKS - 1) * (1 - (1 - 1 / RANKS) ** k) if once else k


def column(rows: list[dict[str, float]], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows])


def fit(rows: list[tuple[bool, dict[str, float]]], key: str, size: float, once: bool) -> tuple[str, str]:
    """YAML of one direction, and its errors."""
    halves = [[row for own, row in rows if own is flag] for flag in (True, False)]

    def predicted(p: np.ndarray, part: list[dict[str, float]]) -> np.ndarray:
        sent = column(part, "num_token") * column(part, "hidden_size") * size
        sent *= np.array([copies(row, once) for row in part])
        rate = np.full(len(part), p[2])
        if once:
            rate = np.minimum(rate, p[3] * column(part, "dispatch_sms" if "dispatch" in key else "combine_sms"))
        return p[0] + p[1] * column(part, "num_experts") + sent / rate

    begin = np.log([12e-6, 1e-8, 300e9, 18e9])
    seconds = [column(part, key) * 1e-6 for part in halves]
    found = least_squares(lambda x: np.log(predicted(np.exp(x), halves[0]) / seconds[0]), begin, loss="soft_l1",
                          f_scale=0.05)  # fmt: skip
    p = np.exp(found.x)
    errors = [float(np.abs(predicted(p, part) / own - 1).mean()) for part, own in zip(halves, seconds, strict=True)]
    names = (("start", f"{p[0] * 1e6:.4g} us"), ("expert", f"{p[1] * 1e9:.4g} ns"), ("rate", f"{p[2] / 1e9:.4g} GB/s"),
             ("block", f"{p[3] / 1e9:.4g} GB/s"))[: 4 if once else 3]  # fmt: skip
    text = "".join(
        f"      {name}: {{value: {value}, source: deepep-table, basis: measured}}\n" for name, value in names
    )
    return text, f"{errors[0]:.1%} on {len(halves[0])} rows of the fit, {errors[1]:.1%} on {len(halves[1])} others"


def main(low: str, normal: str, gpu: str) -> None:
    print("puts:")
    for section, path, once, keys in (
        ("low_latency", low, False, ("dispatch_avg_t_us", "combine_avg_t_us")),
        ("throughput", normal, True, ("dispatch_transmit_us", "combine_transmit_us")),
    ):
        own = list(rows(path, gpu))
        print(f"  {section}:")
        for name, key, size in zip(("dispatch", "combine"), keys, (SCALED, WIDE), strict=True):
            text, errors = fit(own, key, size, once)
            print(f"    {name}:\n{text}", end="")
            print(f"{gpu} {section} {name}: {errors}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
