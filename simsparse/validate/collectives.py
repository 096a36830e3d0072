# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows that time collectives over the GPUs of a system.

Rows ``nccl`` are calls of torch.distributed one after another: a call ends when the kernel does, and the host issues
the next one meanwhile, so a row is the longer of the kernel and the host's call. Rows ``nccl_table``
(ai-dynamo/aiconfigurator, comm/nccl: columns gpu, nccl, op_name, nccl_dtype, num_gpus, message_size in elements,
latency in ms) and ``nccl_apex`` (microsoft/apex_plus, one file per collective, whole microseconds) are kernels alone by
nccl-tests, whose size is that of the whole message: of an all-gather, what all ranks together put in.

Left out: rows of other cards, of several nodes, and of less than 1 KiB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from simsparse.config.hardware import System
from simsparse.core import DType, Op, ops
from simsparse.errors import MappingError
from simsparse.lowering.collectives import collective_fs
from simsparse.lowering.machine import Machine, machine_of
from simsparse.units import fs_to_seconds
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema

EAGER, TABLE, APEX = "nccl", "nccl_table", "nccl_apex"
LABELS: Mapping[str, str] = {
    "alltoall": "all_to_all", "sendrecv": "send_recv",
    **{name: name for name in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv")},
}  # fmt: skip
LEAST_BYTES = 1024
EAGER_RANKS = 2
"""Ranks of the rows ``nccl``, which do not say them."""

TABLES.register("aic_nccl")(TableSchema(
    frozenset(("nccl_dtype", "op_name", "num_gpus", "message_size", "latency")), lambda _: TABLE,
    lambda row: row["latency"] * 1e-3,
))  # fmt: skip
TABLES.register("apex_nccl")(TableSchema(
    frozenset(("num_nodes", "num_gpus_per_node", "size(kb)", "time(us)")), lambda _: APEX,
    lambda row: row["time(us)"] * 1e-6,
))  # fmt: skip


def predict_collectives(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row on the first GPUs of ``system``; in its stead the reason why not."""
    machine = machine_of(system)
    return [_predicted(machine, row) for row in rows]


def _predicted(machine: Machine, row: Measurement) -> Prediction | str:
    op = {EAGER: _eager, TABLE: _of_table, APEX: _of_apex}[row.section](machine, row)
    if isinstance(op, str):
        return op
    try:
        seconds = fs_to_seconds(collective_fs(op, machine))
        if row.section == EAGER:
            seconds = max(seconds, fs_to_seconds(machine.call_fs(machine.processors[0], op)))
    except MappingError as error:
        return str(error)
    return Prediction(row, row.number("s"), seconds)


def _eager(machine: Machine, row: Measurement) -> Op | str:
    del machine
    return _op(row, row.text("op"), row.whole("bytes"), EAGER_RANKS, DType.BF16)


def _of_table(machine: Machine, row: Measurement) -> Op | str:
    if reason := other_card(machine, row.text("gpu")):
        return reason
    dtype = row.dtype("nccl_dtype")
    size = row.whole("message_size") * dtype.bits // 8
    return _whole_message(row, row.text("op_name"), size, row.whole("num_gpus"), dtype)


def _of_apex(machine: Machine, row: Measurement) -> Op | str:
    if reason := other_card(machine, row.text("gpu").split("-")[0].lower()):
        return reason
    if row.whole("num_nodes") > 1:
        return "several nodes"
    label = Path(row.file).name.partition(".")[0].rpartition("__")[2]
    size = row.count("size(kb)") * 1024
    return _whole_message(row, label, size, row.whole("num_gpus_per_node"), row.dtype())


def other_card(machine: Machine, card: str) -> str | None:
    """Why a row of ``card`` is not compared; None when the system has that card."""
    part = machine.system.devices[machine.processors[0]].name
    return None if part.startswith(f"gpu/{card}-") else f"measured on {card}"


def _whole_message(row: Measurement, label: str, size: int, ranks: int, dtype: DType) -> Op | str:
    return _op(row, label, size // ranks if label == "all_gather" else size, ranks, dtype, size)


def _op(row: Measurement, label: str, size: int, ranks: int, dtype: DType, message: int | None = None) -> Op | str:
    if label not in LABELS:
        return f"op {label}"
    if (size if message is None else message) < LEAST_BYTES:
        return f"less than {LEAST_BYTES} bytes"
    with row.placed():
        return ops.collective(LABELS[label], size, ranks, dtype=dtype)
