# SPDX-License-Identifier: Apache-2.0
"""Core types: patterns, operators' work and traffic, counts, timelines, traces."""

from __future__ import annotations

import inspect
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsparse.core import KINDS, ActionCounts, Op, Routing, Span, Sparsity, Timeline, Trace, TraceBuilder, ops
from simsparse.core.kinds.attention import ATTENTION
from simsparse.errors import SpecError, TraceError, nearest
from simsparse.trace.file import load_trace

LLAMA_7B = {"d": 4096, "ff": 11008, "layers": 32}


@pytest.mark.parametrize("text", ["dense", "2:4", "1:8", "unstructured:0.1", "block32:0.25", "bank16:0.0625"])
def test_sparsity_text_round_trips(text: str) -> None:
    assert str(Sparsity.parse(text)) == text
    assert Sparsity.parse(str(Sparsity.parse(text))) == Sparsity.parse(text)


@pytest.mark.parametrize(
    "text", ["2:3:4", "4:2", "0:4", "", "unstructured", "unstructured:0", "block:0.5", "x", "2:4 "]
)
def test_bad_sparsity_is_refused_with_what_is_allowed(text: str) -> None:
    if text.strip() == "2:4":
        assert Sparsity.parse(text).m == 4
        return
    with pytest.raises(SpecError, match="expected dense, N:M"):
        Sparsity.parse(text)


@pytest.mark.parametrize(
    ("pattern", "bits", "ratio"),
    [("1:2", 16, 0.53125), ("2:4", 16, 0.5625), ("2:4", 8, 0.625), ("1:4", 16, 0.28125), ("1:8", 16, 0.1484375),
     ("2:8", 16, 0.296875), ("2:16", 16, 0.15625), ("8:32", 16, 0.3125)],
)  # fmt: skip
def test_nm_storage_equals_the_published_ratios(pattern: str, bits: int, ratio: float) -> None:
    assert Sparsity.parse(pattern).stored_bits(64, 1024, bits) / (64 * 1024 * bits) == ratio


@given(rows=st.integers(1, 64), cols=st.integers(1, 64), n=st.integers(1, 8), m=st.integers(1, 8))
def test_kept_never_exceeds_the_operand(rows: int, cols: int, n: int, m: int) -> None:
    if n > m:
        return
    assert 0 < Sparsity.parse(f"{n}:{m}").kept(rows, cols) <= rows * cols


def test_linear_work_and_traffic() -> None:
    op = ops.linear(m=8, n=4096, k=11008, dtype="bf16")
    assert op.flops == 2 * 8 * 4096 * 11008
    assert op.min_bytes == 2 * (8 * 11008 + 4096 * 11008 + 8 * 4096)


def test_sparse_linear_keeps_half_the_macs_and_pays_for_its_metadata() -> None:
    op = ops.linear(m=8, n=64, k=64, weight_sparsity="2:4")
    assert op.useful_macs * 2 == op.dense_macs
    assert op.weight_bytes == 64 * 64 * 2 * 9 // 16


@given(q=st.integers(1, 12), kv=st.integers(1, 12))
def test_causal_pairs_equal_a_count_of_the_mask(q: int, kv: int) -> None:
    if q > kv:
        return
    op = ops.attention(batch=1, heads=1, kv_heads=1, head_dim=8, q_len=q, kv_len=kv, causal=True)
    assert ATTENTION.pairs(op) == sum(j <= kv - q + i for i in range(q) for j in range(kv))


def test_moe_reads_only_the_experts_that_are_hit() -> None:
    op = ops.moe_ffn(tokens=3, d_model=64, d_ff=128, experts=8, gated=True, routing=[[0, 1], [0, 2], [1, 0]])
    assert op.routing is not None
    assert op.routing.counts == (3, 2, 1, 0, 0, 0, 0, 0)
    assert op.weight_bytes == 3 * 3 * 64 * 128 * 2
    assert op.dense_macs == 6 * 3 * 64 * 128


def test_convolution_counts_as_its_im2col_gemm() -> None:
    op = ops.conv2d(batch=2, c_in=16, c_out=32, h_in=8, w_in=8, kh=3, kw=3, padding=1, groups=4)
    assert op.flops == 2 * 2 * 32 * 8 * 8 * (16 // 4) * 9


@pytest.mark.parametrize(
    "build",
    [
        lambda: ops.linear(m=0, n=1, k=1),
        lambda: ops.linear(m=1, n=1, k=True),
        lambda: ops.linear(m=1, n=1, k=1, dtype="bf17"),
        lambda: ops.attention(batch=1, heads=6, kv_heads=4, head_dim=8, q_len=1, kv_len=1),
        lambda: ops.moe_ffn(tokens=2, d_model=4, d_ff=4, experts=2, routing=[[0], [2]]),
        lambda: ops.moe_ffn(tokens=2, d_model=4, d_ff=4, experts=2, routing=[[0], [1], [1]]),
        lambda: ops.collective("all_two_all", 8, 2),
    ],
)
def test_bad_arguments_are_spec_errors(build: object) -> None:
    with pytest.raises(SpecError):
        build()  # type: ignore[operator]


ODD: tuple[Any, ...] = (
    0, -1, 2**63, 10**400, 1.5, 2.0, float("nan"), None, True, "", "4", "2:4", [], [1], (2, 1), {}, b"x", object(),
    np.int64(4), np.float32(2), np.array([1, 2]), np.array(4), np.bool_(True), [[0, 1]], [[0, 0]], [[0.5, 1]],
    np.array([[0, 1]]), [[0, 1], [1]], [[10**30, 1]], np.array([[np.nan, 1]]), "uniform",
)  # fmt: skip


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "launched"])
def test_odd_arguments_end_in_an_op_or_a_spec_error(kind: str) -> None:
    rng, factory = random.Random(kind), getattr(ops, kind)
    given = {
        name: parameter.default if parameter.default is not parameter.empty else 2
        for name, parameter in inspect.signature(factory).parameters.items() if name != "fields"
    }  # fmt: skip
    given |= {"routing": [[0, 1], [1, 0]]} if "routing" in given else {}
    refused = 0
    for _ in range(400):
        arguments = {name: rng.choice(ODD) if rng.random() < 0.25 else value for name, value in given.items()}
        try:
            op = factory(**arguments).checked()
            assert op.flops >= 0 and op.min_bytes >= 0 and hash(op.signature)
            assert all(type(value) is int for value in op.dims.values())
        except SpecError:
            refused += 1
    assert refused


def test_integers_of_numpy_are_sizes() -> None:
    assert ops.linear(np.int64(4), np.int32(8), np.uint8(2)) == ops.linear(4, 8, 2)
    assert ops.elementwise(np.int64(4), 8).dims["read_bytes"] == 4
    ids = np.array([[0, 2], [1, 2]], dtype=np.int16)
    assert ops.moe_ffn(np.int64(2), 8, 8, np.int64(3), np.bool_(False), routing=ids).dims["gated"] == 0


def test_strides_padding_and_dilation_may_differ_by_direction() -> None:
    op = ops.conv2d(1, 3, 8, 20, 30, 3, 5, stride=(2, 3), padding=[1, 0], dilation=np.array([4, 2]))
    assert (op.dims["h_out"], op.dims["w_out"]) == ((20 + 2 - 8 - 1) // 2 + 1, (30 - 8 - 1) // 3 + 1)


@pytest.mark.parametrize(
    ("routing", "says"),
    [
        ([[0, 0]], "token 0 has an expert twice"), ([[0, 1.5]], "1.5 is not an expert id"),
        ([[0, 7]], "outside 0..3"), ([[0, 1], [2]], "differ in length"), ("uniform", "is not an int array"),
    ],
)  # fmt: skip
def test_routing_that_no_router_gives_is_refused(routing: Any, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        ops.moe_ffn(1, 8, 8, 4, routing=routing)


def test_experts_beyond_any_model_take_no_memory() -> None:
    with pytest.raises(SpecError, match="999999999999 experts; expected 1 to 1000000"):
        ops.moe_ffn(1, 8, 8, 999999999999, routing=[[0, 1]])


def test_equal_work_has_equal_signature_whatever_its_place() -> None:
    first, second = ops.linear(1, 2, 3, name="a", module="x"), ops.linear(1, 2, 3, name="b", deps=("a",))
    assert first.signature == second.signature
    assert first.signature != ops.linear(1, 2, 3, weight_sparsity="2:4").signature


def test_counts_add_and_scale() -> None:
    one = ActionCounts({("hbm", "read_byte"): 3, ("sm", "mac"): 0})
    assert dict(one + one * 2) == {("hbm", "read_byte"): 9}
    assert one.of("sm", "mac") == 0


def test_trace_refuses_repeated_names_and_forward_dependencies() -> None:
    op = ops.linear(1, 1, 1, name="a")
    with pytest.raises(TraceError, match="used twice"):
        Trace("t", (op, op))
    with pytest.raises(TraceError, match="not an earlier op"):
        Trace("t", (op.with_(deps=("b",)), op.with_(name="b")))


def test_builder_chains_and_renames() -> None:
    trace = (
        TraceBuilder("t").add(ops.linear(1, 1, 1)).add(ops.linear(1, 1, 1)).add(ops.linear(1, 1, 1), deps=[]).build()
    )
    assert [op.name for op in trace.ops] == ["linear", "linear.1", "linear.2"]
    assert [op.deps for op in trace.ops] == [(), ("linear",), ()]


def test_pruning_spares_what_is_excluded() -> None:
    names = ["layers.0.mlp.up_proj", "lm_head"]
    trace = Trace("t", tuple(ops.linear(1, 8, 8, name=name, module=name) for name in names))
    assert [str(op.weight_sparsity) for op in trace.with_weight_sparsity("2:4").ops] == ["2:4", "dense"]


def test_busy_time_counts_overlap_once() -> None:
    spans = [Span(0, 4, "gpu0", "a", "x", "op"), Span(2, 6, "gpu0", "b", "y", "op"), Span(8, 9, "gpu0", "a", "z", "op")]
    timeline = Timeline.of(spans)
    assert timeline.end_fs == 9
    assert timeline.busy_s("gpu0") == pytest.approx(7e-15)
    assert timeline.busy_s("gpu0", "a") == pytest.approx(5e-15)


def test_perfetto_file_holds_every_span(tmp_path: Path) -> None:
    spans = [Span(0, 10**9, "gpu0", "compute", "gemm", "linear"), Span(0, 2 * 10**9, "host", "pcie", "w", "copy", 5)]
    events = json.loads(Timeline.of(spans).to_perfetto(tmp_path / "t.json").read_text())["traceEvents"]
    drawn = [event for event in events if event["ph"] == "X"]
    assert sorted((event["name"], event["dur"]) for event in drawn) == [("gemm", 1.0), ("w", 2.0)]


def test_routing_hits() -> None:
    assert Routing((0, 2, 0, 1)).hit == (1, 3)


def test_op_refuses_dims_of_another_kind() -> None:
    with pytest.raises(SpecError, match="linear takes m, n, k"):
        Op(ops.linear(1, 1, 1).kind, "x", {"m": 1})


def test_a_name_is_completed_before_it_is_guessed() -> None:
    assert nearest("gpu/h100", ["gpu/a40", "gpu/h100-sxm5-80gb"]).startswith("did you mean gpu/h100-sxm5-80gb?")
    assert nearest("gpu/a4O", ["gpu/a40", "gpu/h100-sxm5-80gb"]).startswith("did you mean gpu/a40?")


def test_shipped_traces_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_trace("traces/cnn-small.trace").ops
    with pytest.raises(TraceError, match=r"traces/none\.trace"):
        load_trace("traces/none.trace")
