# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows that time one kernel or one copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.link import LinkPart
from simsparse.core import DENSE, ActionCounts, DType, Op, OpCost, Sparsity, ops
from simsparse.devices.gpu import SAVED, Gpu
from simsparse.devices.gpu_attention_kernels import attention_kernels, attention_seconds
from simsparse.devices.gpu_card import Card, Floats
from simsparse.devices.gpu_counts import GpuCounts
from simsparse.devices.link import HostMemory, copy_counts, copy_seconds, duplex_rate, link_prices
from simsparse.errors import MappingError
from simsparse.lowering.energy import op_energy
from simsparse.validate.comparison import Prediction, Unsupported
from simsparse.validate.kernel_rows import conv_op
from simsparse.validate.measurement import Measurement

GEMMS_PER_CALL = 20
"""GEMMs in the loop body of an energy row ``gemm_x20``."""


def linear_op(row: Measurement) -> Op:
    """The linear operator of a GEMM row, 2:4 where ``sparse24`` says so."""
    sparsity = Sparsity.parse("2:4") if row.fields.get("sparse24") is True else DENSE
    return ops.linear(row.whole("m"), row.whole("n"), row.whole("k"), row.dtype(), weight_sparsity=sparsity)


def attention_op(row: Measurement) -> Op:
    """The attention operator of a row: decode has one query token, prefill as many as keys, causal or in full."""
    length = row.whole("L")
    heads, kv_heads = row.whole("H"), row.whole("KV")
    if heads % kv_heads:
        raise row.error("KV", f"{kv_heads} does not divide H = {heads}")
    queries = 1 if row.text("op") == "sdpa_decode" else length
    causal = row.text("op") != "sdpa_prefill_full"
    return ops.attention(row.whole("B"), heads, kv_heads, row.whole("D"), queries, length, causal)


def predict_attention(gpu: Gpu, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's attention, ``copies`` sets of operands taken in turns; in its stead the reason why not."""
    found: list[Op | str] = [_supported(gpu, row, attention_op) for row in rows]
    places = [i for i, op in enumerate(found) if isinstance(op, Op)]
    sets = np.array([float(rows[i].whole("copies")) if "copies" in rows[i].fields else np.inf for i in places])
    seconds = dict(zip(places, looped_attention(gpu, [found[i] for i in places], sets), strict=True))  # type: ignore[misc]
    return [
        Prediction(row, row.number("s"), float(seconds[i])) if isinstance(op, Op) else op
        for i, (row, op) in enumerate(zip(rows, found, strict=True))
    ]


def looped_attention(gpu: Gpu, found: Sequence[Op], sets: Floats) -> Floats:
    """Seconds of attention in a loop over ``sets`` sets of operands."""
    seconds, card = np.empty(len(found)), Card.of(gpu.part)
    for place, kernel in attention_kernels(found, GpuCounts(len(found))):
        shapes = replace(kernel.shapes, sets=sets[place])
        seconds[place] = attention_seconds(gpu.part, card, replace(kernel, shapes=shapes)).latency_s
    return seconds


def predict_ops(gpu: Gpu, rows: Sequence[Measurement], op_of: Callable[[Measurement], Op]) -> list[Prediction | str]:
    """Seconds of each row's operator alone on ``gpu``; in its stead the reason why not."""
    found: list[Op | str] = [_supported(gpu, row, op_of) for row in rows]
    costs = iter(_costs(gpu, [op for op in found if isinstance(op, Op)]))
    outcome = [next(costs) if isinstance(op, Op) else op for op in found]
    return [
        Prediction(row, row.number("s"), cost.latency_s) if isinstance(cost, OpCost) else cost
        for row, cost in zip(rows, outcome, strict=True)
    ]


def _costs(gpu: Gpu, found: Sequence[Op]) -> list[OpCost | str]:
    """The cost of each op; the reason in place of that of one too large to count."""
    try:
        return list(gpu.costs(found))
    except MappingError as error:
        if len(found) == 1:
            return [str(error)]
        return [cost for op in found for cost in _costs(gpu, [op])]


def _supported(gpu: Gpu, row: Measurement, op_of: Callable[[Measurement], Op]) -> Op | str:
    try:
        with row.placed():
            op = op_of(row)
    except Unsupported as reason:
        return str(reason)
    return gpu.supports(op) or op


def predict_launches(part: GpuPart, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds from one empty kernel to the next."""
    known = {
        "tiny_kernel_graph": part.launch.graph, "tiny_kernel_eager_async": part.launch.eager,
        "tiny_kernel_sync": part.launch.sync,
    }  # fmt: skip
    return [
        Prediction(row, row.number("s"), known[name].si) if (name := row.text("op")) in known else f"op {name}"
        for row in rows
    ]


def predict_copies(link: LinkPart, gpu: GpuPart, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of copies over the link between host and GPU.

    Copies between two synchronizations take the time of a synchronized launch more; ``bidir`` moves
    ``bytes`` both ways at once.
    """
    return [_copy(link, gpu, row) for row in rows]


def _copy(link: LinkPart, gpu: GpuPart, row: Measurement) -> Prediction | str:
    size, name = row.whole("bytes"), row.text("op")
    if name == "bidir":
        return Prediction(row, row.number("s"), link.latency.si + 2 * size / duplex_rate(link))
    kind = name.removesuffix("_sync")
    if kind not in ("h2d_pinned", "d2h_pinned", "h2d_pageable", "d2h_pageable"):
        return f"op {name}"
    seconds = copy_seconds(link, size, HostMemory(kind.rpartition("_")[2]))
    return Prediction(row, row.number("s"), seconds + (gpu.launch.sync.si if name.endswith("_sync") else 0.0))


def predict_power(gpu: Gpu, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of a large GEMM after a rest, and in turns with rests.

    In turns, average power stays at the limit: GEMMs of ``duty`` of the time run faster by its
    inverse cube root (simsparse.lowering.power).
    """
    return [_power(gpu, row) for row in rows]


def _power(gpu: Gpu, row: Measurement) -> Prediction | str:
    budget, name = gpu.power_budget, row.text("op")
    if name not in ("gemm_after_rest", "gemm_duty"):
        return f"op {name}"
    if budget is None:
        return "rate with power to spare is not known"
    with row.placed():
        op = linear_op(row)
    if reason := gpu.supports(op):
        return reason
    cost = _costs(gpu, [op])[0]
    if isinstance(cost, str):
        return cost
    speed = budget.speed
    if name == "gemm_duty":
        duty = row.number("duty")
        if duty > 1:
            raise row.error("duty", f"{duty} is more than all of the time")
        speed = min(speed, duty ** (-1 / 3))
    return Prediction(
        row, row.number("s"), cost.latency_s - budget.saving_fraction(speed) * float(gpu.burst_gain([op])[0])
    )


def predict_energy(gpu: Gpu, link: LinkPart | None, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Joules of a call: priced actions and static power over the measured seconds, at most the power limit's."""
    return [_energy(gpu, link, row) for row in rows]


def _energy(gpu: Gpu, link: LinkPart | None, row: Measurement) -> Prediction | str:
    name = row.text("op")
    if name == "idle":
        return "power of a card that runs nothing"
    static = gpu.static_watts * row.number("s")
    if name.startswith("h2d_"):
        if link is None:
            return "no link to a host"
        size = row.whole("bytes")
        dynamic = op_energy(copy_counts(size), link_prices(link)) + _written(gpu, size)
        return Prediction(row, row.number("joule"), dynamic + static, "J")
    counts = full_counts(gpu, row)
    if isinstance(counts, str):
        return counts
    limit = gpu.part.power.limit.si * row.number("s")
    return Prediction(row, row.number("joule"), min(limit, op_energy(counts, gpu.prices) + static), "J")


def full_counts(gpu: Gpu, row: Measurement) -> ActionCounts | str:
    """What a call of an energy row does, at full clock; the reason why it can't be said."""
    with row.placed():
        op, times = _energy_op(row, row.text("op"))
    if isinstance(op, str):
        return op
    if reason := gpu.supports(op):
        return reason
    cost = _costs(gpu, [op])[0]
    if isinstance(cost, str):
        return cost
    return ActionCounts({action: times * count for action, count in cost.counts.items() if action != SAVED})


def _energy_op(row: Measurement, name: str) -> tuple[Op | str, int]:
    if name == "gemm_x20":
        return linear_op(row), GEMMS_PER_CALL
    if name == "sdpa_decode":
        return attention_op(row), 1
    if name == "conv2d":
        return conv_op(row), 1
    if name.startswith(("d2d_", "read_")):
        size = row.whole("bytes")
        return ops.elementwise(size, size if name.startswith("d2d_") else 4, 0, DType.FP32), 1
    return f"op {name}", 0


def _written(gpu: Gpu, size: int) -> float:
    return op_energy(ActionCounts({("hbm", "write_byte"): size}), gpu.prices)
