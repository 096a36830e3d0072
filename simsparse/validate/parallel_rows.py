# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows that time layers over two GPUs: tensor-parallel decoder layers, expert-parallel layers.

Rows ``tp_layer`` are four equal decoder layers, laid out by ``simulate`` over ``tp`` ranks: norm, one QKV product,
attention, output product, all-reduce, sum; norm, one gate-up product, SiLU, product with up, down product, all-reduce,
sum. Rows ``ep_skew`` send rows by counts, gather them by expert, run two grouped products with SiLU between, and send
back; rows ``ep_moe`` the same with equal counts and batched products with ReLU, in ``chunks`` pieces, whose exchanges
are on a stream of their own. They gain nothing from it, in the measurements as here: the blocks of the products fill
the card, and an exchange's kernel waits for them. A layer of eager calls takes the longer of its kernels and its calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simsparse._simulate import simulate
from simsparse.config.hardware import System
from simsparse.core import DType, Op, Trace, TraceBuilder, ops
from simsparse.devices.base import device_for
from simsparse.devices.gpu import Gpu
from simsparse.errors import MappingError, SimulationError
from simsparse.lowering.collectives import collective_fs
from simsparse.lowering.machine import Machine, machine_of
from simsparse.units import fs_to_seconds
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.sparse_rows import grouped_seconds

TP_LAYER, EP_SKEW, EP_MOE = "tp_layer", "ep_skew", "ep_moe"
LAYERS = 4
CALLS_S: Mapping[str, float] = {TP_LAYER: 770e-6, EP_SKEW: 314e-6, EP_MOE: 176e-6}
"""Host seconds of one layer's calls, of a chunk in rows ``ep_moe``: medians of the rows that the host bounds of
``llama3_8b`` and ``qwen32b``, of 16 tokens, and of 512 tokens in pieces. The other rows judge. Calls of equal layers
differ by a factor of two from row to row."""

FORK_S = 7.7e-6
"""What an all-reduce by torch.distributed takes longer in a layer than in a loop of its own, on a stream that waits for
the layer's and for which the layer's waits. Median of the graph rows of ``llama3_8b`` and ``qwen32b``; those of
``llama70b`` judge."""


def predict_layers(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row on the first GPUs of ``system``; in its stead the reason why not."""
    predict = {TP_LAYER: _tensor_parallel, EP_SKEW: _skewed, EP_MOE: _balanced}
    return [predict[row.section](system, row) for row in rows]


def _tensor_parallel(system: System, row: Measurement) -> Prediction | str:
    with row.placed():
        trace = decoder_layers(row)
    try:
        result = simulate(trace, system, parallel={"tp": row.whole("tp")}, keep="summary")
    except (MappingError, SimulationError) as error:
        return str(error)
    seconds = result.latency_s / LAYERS + 2 * FORK_S
    return Prediction(row, row.number("s"), seconds if row.text("mode") == "graph" else max(seconds, CALLS_S[TP_LAYER]))


def decoder_layers(row: Measurement) -> Trace:
    """The layers of a row ``tp_layer``, on one GPU."""
    batch, seq, dtype = row.whole("batch"), row.whole("seq"), row.dtype()
    decode = row.text("phase") == "decode"
    tokens, builder = batch * (1 if decode else seq), TraceBuilder("layers", phase="forward")
    for layer in range(LAYERS):
        for op in _layer(row, f"layers.{layer}", tokens, dtype):
            builder.add(op)
    return builder.build()


def _layer(row: Measurement, module: str, tokens: int, dtype: DType) -> list[Op]:
    d, ff, heads, kv, dim = (row.whole(key) for key in ("d", "ff", "heads", "kv_heads", "head_dim"))
    batch, seq, one = row.whole("batch"), row.whole("seq"), row.text("phase") == "decode"

    def linear(name: str, n: int, k: int) -> Op:
        return ops.linear(tokens, n, k, dtype, name=f"{module}.{name}", module=f"{module}.{name}")

    def moved(name: str, width: int, read: int) -> Op:
        size = tokens * width * dtype.bits // 8
        return ops.elementwise(read * size, size, tokens * width, dtype, label=name, name=f"{module}.{name}",
                               module=module)  # fmt: skip

    def norm(name: str) -> Op:
        return ops.norm(tokens, d, dtype, name=f"{module}.{name}", module=module, label="norm")

    return [
        norm("norm"), linear("qkv", (heads + 2 * kv) * dim, d),
        ops.attention(batch, heads, kv, dim, 1 if one else seq, seq, causal=not one, dtype=dtype,
                      name=f"{module}.attention", module=module),
        linear("o", d, heads * dim), moved("add", d, 2), norm("norm2"), linear("gate_up", 2 * ff, d),
        moved("silu", ff, 1), moved("mul", ff, 2), linear("down", d, ff), moved("add", d, 2),
    ]  # fmt: skip


def _skewed(system: System, row: Measurement) -> Prediction | str:
    machine, ranks = machine_of(system), row.whole("ep")
    counts = _counts(row, ranks)
    own = row.whole("experts") // ranks
    rows = [[sum(sent[e] for sent in counts) for e in range(rank * own, (rank + 1) * own)] for rank in range(ranks)]
    d, dtype = row.whole("d"), row.dtype()
    away = [sum(each) - sum(each[rank * own : (rank + 1) * own]) for rank, each in enumerate(counts)]
    into = [sum(each) - sum(counts[rank][rank * own : (rank + 1) * own]) for rank, each in enumerate(rows)]
    heaviest = max(range(ranks), key=lambda rank: sum(rows[rank]))
    busiest = max(*away, *into) * ranks // (ranks - 1)
    exchange = _exchange_s(machine, max(1, busiest * d * dtype.bits // 8), ranks, dtype)
    gpu = gpu_of(machine)
    computed = _experts_s(gpu, row, rows[heaviest], dtype)
    if isinstance(exchange, str) or isinstance(computed, str):
        return str(exchange if isinstance(exchange, str) else computed)
    return Prediction(row, row.number("s"), max(2 * exchange + computed, CALLS_S[EP_SKEW]))


def _experts_s(gpu: Gpu, row: Measurement, counts: Sequence[int], dtype: DType) -> float | str:
    """Seconds to gather rows, and of two grouped products with SiLU and a product between them."""
    d, ff, rows, size = row.whole("d"), row.whole("ff"), max(1, sum(counts)), dtype.bits // 8
    grouped = [grouped_seconds(gpu, counts, n, k, dtype) for n, k in ((2 * ff, d), (d, ff))]
    wide = rows * ff * size
    others = [
        ops.elementwise(rows * d * size, rows * d * size, 0, dtype, label="gather"),
        ops.elementwise(wide, wide, rows * ff, dtype, label="silu"),
        ops.elementwise(2 * wide, wide, rows * ff, dtype, label="mul"),
    ]
    if reason := next((each for each in grouped if isinstance(each, str)), None):
        return reason
    return sum(float(each) for each in grouped) + sum(cost.latency_s for cost in gpu.costs(others))


def _balanced(system: System, row: Measurement) -> Prediction | str:
    machine, dtype, chunks = machine_of(system), DType.BF16, row.whole("chunks")
    ranks, d, ff = 2, row.whole("d"), row.whole("ff")
    own, rows = row.whole("experts") // ranks, row.whole("rows") // chunks
    each = max(1, rows // own)
    wide = own * each * ff * dtype.bits // 8
    kernels = [
        ops.matmul(own, each, ff, d, dtype), ops.elementwise(wide, wide, own * each * ff, dtype, label="relu"),
        ops.matmul(own, each, d, ff, dtype),
    ]  # fmt: skip
    exchange = _exchange_s(machine, rows * d * dtype.bits // 8, ranks, dtype)
    if isinstance(exchange, str):
        return exchange
    computed = sum(cost.latency_s for cost in gpu_of(machine).costs(kernels))
    alone = 2 * exchange + computed
    return Prediction(row, row.number("s"), alone if chunks == 1 else chunks * max(alone, CALLS_S[EP_MOE]))


def _exchange_s(machine: Machine, size: int, ranks: int, dtype: DType) -> float | str:
    try:
        return fs_to_seconds(collective_fs(ops.collective("all_to_all", size, ranks, dtype=dtype), machine))
    except MappingError as error:
        return str(error)


def gpu_of(machine: Machine) -> Gpu:
    """The model of a system's first processor, a GPU."""
    device = device_for(machine.system.devices[machine.processors[0]])
    assert isinstance(device, Gpu)
    return device


def _counts(row: Measurement, ranks: int) -> list[list[int]]:
    counts = row.fields.get("counts")
    experts = row.whole("experts")
    if not isinstance(counts, list) or len(counts) != ranks or experts % ranks or any(
        not isinstance(own, list) or len(own) != experts or not all(type(n) is int and 0 <= n < 2**40 for n in own)
        for own in counts
    ):  # fmt: skip
        raise row.error("counts", f"{counts!r:.80} are not rows by rank and expert")
    return counts
