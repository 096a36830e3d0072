# SPDX-License-Identifier: Apache-2.0
"""Predictions for a table of expert layers whose exchanges run inside the kernels of their products (bytedance/flux).

Columns config (M, K, N, TP, EP, num_experts, topk), layer, gpu, torch_ms, flux_ms, over eight GPUs. ``layer0`` gathers
tokens and multiplies (K to N / TP), ``layer1`` multiplies (N / TP to K), sums each token's results and scatters them.
Tiles that are there are multiplied while others come, so that a layer takes the longer of product and exchange, and one
rank's share of the other. Left out: what the fused kernels lose over a plain grouped product, ``torch_ms`` (a loop in
Python), and the L20, whose links are PCIe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from simsparse.config.hardware import System
from simsparse.core import DType, ops
from simsparse.devices.gpu import Gpu
from simsparse.lowering.collectives import collective_fs
from simsparse.lowering.machine import Machine, machine_of
from simsparse.units import fs_to_seconds
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.parallel_rows import gpu_of
from simsparse.validate.sparse_rows import grouped_seconds
from simsparse.validate.tables import TABLES, TableSchema

SECTION = "overlap_table"
KEYS = ("M", "K", "N", "TP", "EP", "num_experts", "topk")

TABLES.register("flux_moe")(TableSchema(
    frozenset(("config", "layer", "gpu", "torch_ms", "flux_ms")), lambda _: SECTION, lambda row: row["flux_ms"] * 1e-3,
))  # fmt: skip


def predict_overlap(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row; in its stead the reason why not."""
    machine = machine_of(system)
    return [_predicted(machine, row) for row in rows]


def _predicted(machine: Machine, row: Measurement) -> Prediction | str:
    card = row.text("gpu").lower()
    if card not in machine.system.name:
        return f"measured on {card}"
    said = {key: int(value) for key, value in re.findall(r"(\w+)=(\d{1,9})", row.text("config"))}
    if missing := [key for key in KEYS if not said.get(key)]:
        raise row.error("config", f"{row.text('config')!r:.80} does not say {', '.join(missing)}")
    found = _seconds(machine, gpu_of(machine), said, row.text("layer"))
    return found if isinstance(found, str) else Prediction(row, row.number("s"), found)


def _seconds(machine: Machine, gpu: Gpu, said: Mapping[str, int], layer: str) -> float | str:
    own, inner, ranks = said["num_experts"] // said["EP"], said["N"] // said["TP"], said["TP"] * said["EP"]
    rows, size = said["M"] * said["topk"] // said["EP"], said["M"] * said["K"] * DType.BF16.bits // 8
    first = layer == "layer0"
    n, k = (inner, said["K"]) if first else (said["K"], inner)
    product = grouped_seconds(gpu, [rows // own] * own, n, k, DType.BF16)
    if isinstance(product, str):
        return product
    label, each = ("all_gather", size // ranks) if first else ("reduce_scatter", size)
    op = ops.collective(label, each, ranks, dtype="bf16")
    exchange = fs_to_seconds(collective_fs(op, machine))
    if first:
        return max(product, exchange + product / ranks)
    rates = gpu.copy_rates
    added = 0.0 if rates is None else rows * said["K"] * 2 / rates.read + size / rates.write
    return max(product + added, exchange) + exchange / ranks
