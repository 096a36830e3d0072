# SPDX-License-Identifier: Apache-2.0
"""Predictions for tables of one-sided exchanges of experts' rows.

``puts_table``: DeepEP within a node of eight GPUs (ai-dynamo/aiconfigurator, comm/sglang, low-latency and normal
kernels), dispatch and combine together. Rows are 8-bit with a scale per 32 values on the way out, 16-bit on the way
back. ``puts_nodes``: published times of DeepEP over 8 to 256 H800 (one row per phase); other libraries' rows, and rates
without a time, are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence

from simsparse.config.hardware import System
from simsparse.lowering.collectives.puts import PutShape, put_seconds
from simsparse.lowering.machine import Machine, machine_of
from simsparse.validate.collectives import other_card
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema

TABLE, NODES = "puts_table", "puts_nodes"
BOARD, SCALED, WIDE = 8, 33 / 32, 2
HIDDEN, TOP_K, EXPERTS = 7168, 8, 256
"""Of the published rows over nodes, from their notes; experts as in DeepSeek-V3, for which they were taken."""

TABLES.register("aic_deepep_ll")(TableSchema(
    frozenset(("num_token", "num_topk", "num_experts", "dispatch_avg_t_us", "combine_avg_t_us")), lambda _: TABLE,
    lambda row: (row["dispatch_avg_t_us"] + row["combine_avg_t_us"]) * 1e-6,
))  # fmt: skip
TABLES.register("aic_deepep_normal")(TableSchema(
    frozenset(("num_token", "num_topk", "num_experts", "dispatch_sms", "dispatch_transmit_us")), lambda _: TABLE,
    lambda row: (row["dispatch_transmit_us"] + row["combine_transmit_us"]) * 1e-6,
))  # fmt: skip
TABLES.register("ep_collectives")(TableSchema(
    frozenset(("library", "mode", "platform", "ep", "tokens_per_gpu", "phase", "us")), lambda _: NODES,
    lambda row: row["us"] * 1e-6 if row["us"] != "" else 1.0,
))  # fmt: skip


def predict_puts(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row; in its stead the reason why not."""
    machine = machine_of(system)
    return [(_in_node if row.section == TABLE else _over_nodes)(machine, row) for row in rows]


def _in_node(machine: Machine, row: Measurement) -> Prediction | str:
    if reason := other_card(machine, row.text("gpu")):
        return reason
    if row.whole("node_num") > 1:
        return "several nodes"
    seconds = 0.0
    for way, size in (("dispatch", SCALED), ("combine", WIDE)):
        blocks = row.whole(f"{way}_sms") if f"{way}_sms" in row.fields else 0
        shape = PutShape(row.whole("num_token"), row.whole("hidden_size") * size, row.whole("num_topk"),
                         row.whole("num_experts"), BOARD, BOARD, blocks)  # fmt: skip
        found = _seconds(machine, way, shape)
        if isinstance(found, str):
            return found
        seconds += found
    return Prediction(row, row.number("s"), seconds)


def _over_nodes(machine: Machine, row: Measurement) -> Prediction | str:
    if row.text("library") != "DeepEP v1":
        return f"library {row.text('library')}"
    if row.fields["us"] == "":
        return "a rate without a time"
    if "h800" not in machine.system.name:
        return "measured on h800"
    way = row.text("phase")
    width = HIDDEN * (SCALED if way == "dispatch" else WIDE)
    found = _seconds(machine, way, PutShape(row.whole("tokens_per_gpu"), width, TOP_K, EXPERTS, row.whole("ep"), BOARD))
    return found if isinstance(found, str) else Prediction(row, row.number("s"), found)


def _seconds(machine: Machine, way: str, shape: PutShape) -> float | str:
    first, second, *_ = machine.processors
    kernels = machine.collective_kernels((first, second))
    if kernels is None or kernels.puts is None:
        return "the links state no one-sided kernels"
    link = min(hop.rate(direction, True) for hop, direction in machine.hops(first, second))
    cluster, network = machine.system.cluster, 0.0
    if shape.ranks > shape.board:
        if cluster is None:
            return "over several nodes; the system is one"
        port = cluster.nic
        values = dict(port.quantities())
        network = values["bandwidth"].si * values["efficiency"].si * min(1.0, cluster.nics / shape.board)
    return put_seconds(kernels.puts, way, shape, link, network)
