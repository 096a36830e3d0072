# SPDX-License-Identifier: Apache-2.0
"""A trace in another type or for another batch is the trace that would have been taken so."""

from __future__ import annotations

from pathlib import Path

import pytest

import simsparse as ss
from simsparse.core import KINDS, DType, Op, Trace, TraceBuilder, ops
from simsparse.core.kernel import KernelCall
from simsparse.errors import SpecError, TraceError
from simsparse.trace import load_trace

TRACES = Path(__file__).resolve().parents[2] / "traces"
IDS = [[0, 1], [2, 3], [0, 3], [1, 2]]


def small(**meta: object) -> Trace:
    trace = TraceBuilder("t", **{"batch": 4, "phase": "decode", **meta})
    for op in (
        ops.linear(4, 16, 8), ops.matmul(4, 1, 8, 8), ops.matmul(3, 4, 8, 8, name="shared"), ops.norm(4, 16),
        ops.attention(4, 2, 2, 8, 1, 32), ops.moe_ffn(4, 8, 8, 4, routing=IDS), ops.elementwise(64, 32, 8, "fp32"),
        ops.linear(4, 4, 8, "fp32", name="router"), ops.collective("all_reduce", 64, 2),
    ):  # fmt: skip
        trace.add(op)
    return trace.build()


def without_experts(trace: Trace) -> Trace:
    return (
        TraceBuilder("t", **trace.meta)
        .build()
        .__class__("t", tuple(op.with_(deps=()) for op in trace.ops if op.kind != "moe_ffn"), trace.meta)
    )


def test_a_larger_batch_has_the_sizes_of_a_larger_run() -> None:
    found = {op.name: op.dims for op in without_experts(small()).with_batch(8).ops}
    assert found["linear"] == {"m": 8, "n": 16, "k": 8}
    assert (found["matmul"]["batch"], found["shared"]["batch"], found["norm"]["rows"]) == (8, 6, 8)
    assert (found["attention"]["batch"], found["collective"]["bytes"]) == (8, 128)
    assert found["elementwise"] == {"read_bytes": 128, "write_bytes": 64, "flops": 16}


def test_a_product_whose_batch_does_not_divide_has_fewer_rows() -> None:
    found = {op.name: op.dims for op in without_experts(small()).with_batch(2).ops}
    assert (found["shared"]["batch"], found["shared"]["m"]) == (3, 2)


def test_a_committed_trace_for_another_batch_is_the_other_committed_trace() -> None:
    """Both are decode steps of one model, with caches of other lengths."""
    one, eight = (load_trace(TRACES / f"llama2-7b-decode-b{batch}.trace") for batch in (1, 8))
    grown = one.with_batch(8)
    linears = [[op.dims for op in trace.ops if op.kind == "linear"] for trace in (grown, eight)]
    assert linears[0] == linears[1]
    assert {op.dims["batch"] for op in grown.ops if op.kind == "attention"} == {8}
    assert eight.with_batch(1).weight_bytes == one.weight_bytes


def test_drawn_routing_is_drawn_for_the_tokens_there_are_and_recorded_routing_refused() -> None:
    mixtral = load_trace(TRACES / "mixtral-8x7b-decode-b1.trace").with_batch(16)
    moe = next(op for op in mixtral.ops if op.kind == "moe_ffn")
    assert moe.routing is not None and sum(moe.routing.counts) == 16 * 2 and len(moe.routing.hit) > 2
    with pytest.raises(TraceError, match="its routing is given, which can't be drawn"):
        small().with_batch(8)


@pytest.mark.parametrize(
    ("meta", "batch", "error", "says"),
    [
        ({"batch": None}, 8, TraceError, "does not say its batch"),
        ({"phase": "train"}, 8, TraceError, "training step"),
        ({}, 0, SpecError, "not a positive"), ({}, "8", SpecError, "not a positive"),
        ({"batch": 8}, 1, TraceError, "linear: m 4 can't be 1/8 times as much"),
    ],
)  # fmt: skip
def test_a_batch_that_can_not_be_made_is_refused(
    meta: dict[str, object], batch: int, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        small(**meta).with_batch(batch)


def test_every_kind_says_what_grows_with_the_batch_or_is_refused() -> None:
    known = {name for name in KINDS if KINDS.get(name).batch_dims}
    assert known >= {"linear", "conv2d", "matmul", "attention", "moe_ffn", "elementwise", "other", "norm", "scan"}
    op = ops.launched(KernelCall("k", 8, 8, 1, DType.BF16))
    with pytest.raises(TraceError, match="launched ops do not say what grows"):
        Trace("t", (op,), {"batch": 1}).with_batch(2)


def test_another_type_changes_the_main_one_and_leaves_the_others() -> None:
    trace = small()
    found = {op.name: op for op in trace.with_dtype("fp8").ops}
    assert {op.dtype for op in found.values()} == {DType.FP8, DType.FP32, DType.INT8}
    assert (found["linear"].dtype, found["router"].dtype, found["collective"].dims["bytes"]) == ("fp8", "fp32", 32)
    assert found["elementwise"].dims["read_bytes"] == 64
    assert found["linear"].weight_bytes * 2 == trace.ops[0].weight_bytes


def test_weights_of_a_type_of_their_own_keep_it() -> None:
    op: Op = ops.linear(4, 16, 8, weight_dtype="int4", output_dtype="fp32")
    (made,) = Trace("t", (op,)).with_dtype("fp16").ops
    assert (made.dtype, made.w_dtype, made.out_dtype) == ("fp16", "int4", "fp32")


def test_type_and_batch_are_axes_of_a_sweep(tmp_path: Path) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text(
        f"name: s\nworkload: {{trace: {TRACES}/llama2-7b-decode-b1.trace}}\nsystem: systems/h100-pcie5\nlevel: 0\n"
        "axes:\n  dtype: [as traced, fp32]\n  batch: [0, 4]\n"
    )
    rows = ss.run_sweep(spec, out=tmp_path / "out", jobs=1)
    assert set(rows["error"]) == {""}
    seconds = {(row.dtype, row.batch): row.latency_s for row in rows.itertuples()}
    assert seconds["as traced", 0] < seconds["as traced", 4] < seconds["fp32", 4]
