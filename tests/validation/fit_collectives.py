# SPDX-License-Identifier: Apache-2.0
"""Fit the kernels of collectives of a link to half of a table of NCCL times, and report errors on the other half.

    python tests/validation/fit_collectives.py nccl_table.csv.gz h200 345
    python tests/validation/fit_collectives.py nccl_table.csv.gz h200 326 tests/validation/data/gpu/h200_x2_nvlink.jsonl

The table is that of AIConfigurator (columns gpu, op_name, nccl_dtype, num_gpus, message_size in elements, latency in
ms); the last argument is what a GPU's link carries in each direction, GB/s, with both busy. A row is fitted when the
checksum of its name is even. With a file of rows ``nccl`` the fit is of two GPUs alone: of the table's rows of two
GPUs, and of every other size of the file from 16 MiB, where the host does not matter. Prints the section
``collectives`` of the link's part. The arithmetic is that of simsparse.lowering.collectives.kernels, over arrays.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

SIZES = {"half": 2, "int8": 1}
GUESS = np.log([4.3e-6, 0.8e-6, 20e9, 5e-6, 1e-6, 150e9, 15e-6, 0.7e-6, 380e9, 0.6,
                6e-6, 0.3e-6, 20e9, 13e-6, 0.2e-6, 300e9, 30e-6, 260e9])  # fmt: skip
"""Start, hop and rate of ring LL, LL128 and Simple; turn; those of exchange LL and Simple; start and rate in switch."""
RANKS_IN_SWITCH = 8
STARTS, SPREAD, PRIOR, LEAST_BYTES = 25, 0.3, 0.003, 1024
LEAST_PAIR_BYTES = 16 << 20


def rows_of(path: str, gpu: str) -> Iterator[tuple[bool, str, bool, int, int, float]]:
    """Whether a row is fitted; its collective, whether of floats, ranks, bytes of the message, seconds."""
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            size = int(row["message_size"]) * SIZES[row["nccl_dtype"]]
            if row["gpu"] == gpu and size >= LEAST_BYTES:
                yield is_fitted(row), row["op_name"], row["nccl_dtype"] == "half", int(row["num_gpus"]), size, (
                    float(row["latency"]) * 1e-3)  # fmt: skip


def pair_rows(path: str) -> Iterator[tuple[bool, str, bool, int, int, float]]:
    """The same of rows ``nccl``: two GPUs, and sizes of one rank's input."""
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["section"] == "nccl" and row["op"] != "send_recv" and row["bytes"] >= LEAST_PAIR_BYTES:
            whole = row["bytes"] * (2 if row["op"] == "all_gather" else 1)
            fitted = row["bytes"] in (16 << 20, 256 << 20)
            yield fitted, row["op"].replace("all_to_all", "alltoall"), True, 2, whole, row["s"]


def is_fitted(row: dict[str, str]) -> bool:
    """Whether a row is one of the half that is fitted."""
    name = ",".join(row[key] for key in ("op_name", "nccl_dtype", "num_gpus", "message_size"))
    return zlib.crc32(name.encode()) % 2 == 0


class Rows:
    """Columns of rows, and what a set of parameters predicts for them."""

    def __init__(self, rows: list[tuple[bool, str, bool, int, int, float]], link: float, in_switch: bool) -> None:
        _, ops, floats, ranks, sizes, seconds = zip(*rows, strict=True)
        self.op, self.ranks, self.bytes = np.array(ops), np.array(ranks, float), np.array(sizes, float)
        self.seconds, self.link = np.array(seconds), link
        summed = (self.op == "all_reduce") & np.array(floats)
        self.in_switch = summed & (self.ranks >= RANKS_IN_SWITCH) & in_switch
        self.steps = np.where(self.op == "all_reduce", 2 * (self.ranks - 1), self.ranks - 1)

    def predicted(self, logs: np.ndarray) -> np.ndarray:
        p, share, steps = np.exp(logs), self.bytes / self.ranks, self.steps
        wire = share * steps / self.link
        ring = [p[k] + steps * p[k + 1] + np.maximum(share * (steps + p[9]) / p[k + 2], wire) for k in (0, 3, 6)]
        exchange = [p[k] + steps * p[k + 1] + np.maximum(share * steps / p[k + 2], wire) for k in (10, 13)]
        found = np.where(self.op == "alltoall", np.min(exchange, 0), np.min(ring, 0))
        switch = p[16] + np.maximum(self.bytes / p[17], self.bytes / self.link)
        return np.where(self.in_switch, np.minimum(found, switch), found)

    def error(self, logs: np.ndarray) -> float:
        return float(np.abs(self.predicted(logs) / self.seconds - 1).mean())


def fitted(rows: Rows) -> np.ndarray:
    """The best of several starts: a robust least-squares fit of log ratios, held weakly to the guess."""
    random, scale = np.random.default_rng(0), GUESS + np.log(rows.link / 345e9) * np.isin(np.arange(18), (8, 15))
    best = None
    for start in range(STARTS):
        begin = scale + (random.normal(0, SPREAD, len(scale)) if start else 0)
        found = least_squares(
            lambda p: np.append(np.log(rows.predicted(p) / rows.seconds), PRIOR * (p - scale)),
            begin, bounds=(scale - 4, scale + 4), loss="soft_l1", f_scale=0.05,
        )  # fmt: skip
        best = found if best is None or found.cost < best.cost else best
    p = best.x.copy()
    if p[2] > p[5]:  # the two are told apart by their rates alone
        p[0:3], p[3:6] = best.x[3:6], best.x[0:3]
    return p


def section(p: np.ndarray, in_switch: bool) -> str:
    """The fitted values as YAML."""
    value = np.exp(p)

    def number(text: str) -> str:
        return f"{{value: {text}, source: nccl-table, basis: measured}}"

    def protocol(name: str, k: int) -> str:
        return (f"    {name}:\n      start: {number(f'{value[k] * 1e6:.4g} us')}\n"
                f"      hop: {number(f'{value[k + 1] * 1e9:.4g} ns')}\n"
                f"      rate: {number(f'{value[k + 2] / 1e9:.4g} GB/s')}\n")  # fmt: skip

    text = "collectives:\n  ring:\n" + protocol("ll", 0) + protocol("ll128", 3) + protocol("simple", 6)
    text += f"    turn: {number(f'{value[9]:.4g}')}\n  exchange:\n" + protocol("ll", 10) + protocol("simple", 13)
    if in_switch:
        text += (f"  in_switch:\n    start: {number(f'{value[16] * 1e6:.4g} us')}\n"
                 f"    rate: {number(f'{value[17] / 1e9:.4g} GB/s')}\n"
                 f"    ranks: {{value: {RANKS_IN_SWITCH}, source: nccl-table, basis: measured}}\n")  # fmt: skip
    return text


def main(path: str, gpu: str, link: str, pair: str = "") -> None:
    rows, in_switch = list(rows_of(path, gpu)), gpu != "a100" and not pair
    if pair:
        rows = [*(row for row in rows if row[3] == 2), *pair_rows(pair)]
    parts = ([row for row in rows if row[0] is flag] for flag in (True, False))
    half, other = (Rows(part, float(link) * 1e9, in_switch) for part in parts)
    found = fitted(half)
    print(section(found, in_switch))
    print(f"# {gpu}: {half.error(found):.1%} on {len(half.seconds)} rows of the fit, "
          f"{other.error(found):.1%} on {len(other.seconds)} others")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
