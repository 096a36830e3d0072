# SPDX-License-Identifier: Apache-2.0
"""Table of one linear layer on a CPU by SRigL: dense, without ablated neurons, two CSR products, condensed.

Columns device, threads, in_features, out_features, sparsity_pct, batch, and microseconds of five modules
(calgaryml/condensed-sparsity, commit 14e20e7e, scripts/benchmarks_v2.py): one module in a loop, so that its weights
stay in the caches. Each column is a measurement of its own. The CPU is not named; the paper's is a Xeon W-2145.

The table leaves out how many neurons were ablated. ``ACTIVE`` is the ratio of the columns without ablated neurons and
dense at 1,024 tokens, where both are bound by arithmetic: the column of ablated neurons at that batch is no test of the
share. Rows of CSR that are empty cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simsparse.config.parts.cpu import CpuPart
from simsparse.core import Op, ops
from simsparse.devices.cpu import Cpu
from simsparse.validate.comparison import Prediction
from simsparse.validate.host_rows import with_threads
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema

SECTION = "cpu_sparse"
KERNELS: Mapping[str, str] = {
    "dense_us": "dense", "neuron_ablated_us": "smaller dense", "ablated_csr_us": "CSR of active rows", "csr_us": "CSR",
    "condensed_us": "condensed",
}  # fmt: skip
"""What each column of microseconds ran."""
ACTIVE: Mapping[int, float] = {99: 0.82, 95: 0.515, 90: 0.521, 80: 0.492}
"""Share of neurons that are left, by sparsity in percent."""

TABLES.register("srigl")(
    TableSchema(
        frozenset(("device", "threads", "in_features", "out_features", "sparsity_pct", "batch", *KERNELS)),
        lambda _: SECTION, lambda row: row["s"], spread=(KERNELS, 1e-6),
    )
)  # fmt: skip


def predict_sparse_layers(part: CpuPart, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's module on ``part``; in its stead the reason why not."""
    return [_predicted(part, row) for row in rows]


def right_signs(predictions: Sequence[Prediction]) -> Mapping[str, float]:
    """Share of layers and batches in which a sparse kernel beats the dense one in the table and in the model alike."""
    layers: dict[tuple[object, ...], dict[str, Prediction]] = {}
    for found in predictions:
        shape = tuple(found.row.whole(key) for key in ("in_features", "out_features", "sparsity_pct", "batch"))
        layers.setdefault(shape, {})[found.row.text("kernel")] = found
    shares = {}
    for kernel in ("condensed", "CSR"):
        both = [(own["dense"], own[kernel]) for own in layers.values() if {"dense", kernel} <= own.keys()]
        right = [(a.measured > b.measured) == (a.predicted > b.predicted) for a, b in both]
        if right:
            shares[f"right sign of {kernel} over dense"] = sum(right) / len(right)
    return shares


def _predicted(part: CpuPart, row: Measurement) -> Prediction | str:
    if row.text("device") != "cpu":
        return f"measured on {row.text('device')}"
    if row.whole("sparsity_pct") not in ACTIVE:
        return f"no share of active neurons is known at {row.whole('sparsity_pct')} %"
    placed = with_threads(part, row)
    if isinstance(placed, str):
        return placed
    return Prediction(row, row.number("s"), Cpu(placed, resident=True).costs([_op(row)])[0].latency_s)


def _op(row: Measurement) -> Op:
    """The layer with its active neurons alone: each keeps as many inputs, so that the whole has the row's sparsity."""
    kernel, outputs, inputs = row.text("kernel"), row.whole("out_features"), row.whole("in_features")
    active = round(outputs * ACTIVE[row.whole("sparsity_pct")])
    density = (1 - row.whole("sparsity_pct") / 100) * outputs / active
    fields: Mapping[str, str] = {
        "dense": {}, "smaller dense": {},
        "condensed": {"weight_sparsity": f"bank{inputs}:{density!r}", "weight_format": "fan_in"},
    }.get(kernel, {"weight_sparsity": f"unstructured:{density!r}", "weight_format": "csr"})  # fmt: skip
    rows = outputs if kernel == "dense" else active
    with row.placed():
        return ops.linear(row.whole("batch"), rows, inputs, row.dtype(), **fields)
