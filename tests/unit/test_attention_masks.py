# SPDX-License-Identifier: Apache-2.0
"""Attention masks: texts, kept blocks against masks drawn score by score, what finding them adds, layers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simsparse as ss
from simsparse.core import Op, Trace, TraceBuilder, ops
from simsparse.core.attention_mask import BLOCK, AttentionMask
from simsparse.core.attention_masks.positions import seen_blocks
from simsparse.errors import SpecError

PROMPT = ops.attention(2, 8, 2, 64, 1000, 1000, name="layers.0.attention", module="layers.0.attention")
STEP = ops.attention(2, 8, 2, 64, 1, 4096, name="layers.0.attention", module="layers.0.attention")


def kept(op: Op, mask: str) -> int:
    """Blocks of one head that are read under ``mask``."""
    (*_, read) = AttentionMask.parse(mask).applied(op)
    return read.dims["kept_blocks"] if "kept_blocks" in read.dims else int(seen_blocks(read).sum())


def drawn(op: Op, seen: np.ndarray) -> int:
    """Blocks that hold a score which ``seen`` (queries, keys) has."""
    return sum(
        bool(seen[row : row + BLOCK, col : col + BLOCK].any())
        for row in range(0, op.dims["q_len"], BLOCK) for col in range(0, op.dims["kv_len"], BLOCK)
    )  # fmt: skip


@given(st.integers(2, 400), st.integers(0, 300))
def test_a_causal_prompt_sees_blocks_up_to_its_own(queries: int, before: int) -> None:
    op = ops.attention(1, 2, 2, 64, queries, queries + before)
    mask = np.tril(np.ones((queries, queries + before), bool), before)
    assert int(seen_blocks(op).sum()) == drawn(op, mask)


@pytest.mark.parametrize(("sink", "window"), [(64, 128), (4, 256), (128, 64)])
def test_sinks_and_windows_read_what_a_drawn_mask_holds(sink: int, window: int) -> None:
    queries, keys = np.arange(1000)[:, None], np.arange(1000)[None, :]
    mask = (keys <= queries) & ((keys < sink) | (keys > queries - window))
    assert 0 <= kept(PROMPT, f"a-shape:{sink}+{window}") - drawn(PROMPT, mask) <= 16


def test_strides_read_local_blocks_and_every_other_one() -> None:
    rows = range(1, 17)
    assert kept(PROMPT, "strided:2+3") == sum(min(n, 2) + -(-max(n - 2, 0) // 3) for n in rows)
    (read,) = AttentionMask.parse("strided:8+4").applied(STEP)
    assert read.dims["kv_len"] == 64 * (8 + (64 - 8) // 4)


def test_diagonals_in_longer_runs_cross_fewer_blocks() -> None:
    op = ops.attention(1, 8, 8, 128, 65536, 65536)
    counts = [kept(op, f"vertical-slash:100+2000x8/{run}") for run in (1, 16, 64, 512)]
    assert counts == sorted(counts, reverse=True)
    assert kept(op, "vertical-slash:100+2000x8/1") <= int(seen_blocks(op).sum())


def test_expected_blocks_of_diagonals_agree_with_drawn_ones() -> None:
    """Runs of 64 diagonals placed at random in 4,096; the mean over 60 draws, counted score by score."""
    op, run, runs = ops.attention(1, 1, 1, 64, 4096, 4096), 64, 12
    rng = np.random.default_rng(0)
    counted = []
    for _ in range(60):
        offsets = {first + i for first in rng.integers(0, 4096 - run, runs) for i in range(run)} | set(range(100))
        rows = np.arange(0, 4096, BLOCK)[:, None]
        low = (rows - np.array(sorted(offsets))) // BLOCK
        high = (rows + BLOCK - 1 - np.array(sorted(offsets))) // BLOCK
        counted.append(sum(len({*a[a >= 0], *b[b >= 0]}) for a, b in zip(low, high, strict=True)))
    assert kept(op, f"vertical-slash:0+{100 + run * runs}x1/{run}") == pytest.approx(np.mean(counted), rel=0.1)


def test_spans_are_the_mean_window_of_the_heads() -> None:
    (read,) = AttentionMask.parse("spans:0+0.25x4,0+0.75x4").applied(STEP)
    assert read.dims["kv_len"] == 2048 and read.kind == "attention"


def test_finding_costs_and_reading_keeps_the_cache() -> None:
    found = AttentionMask.parse("tokens:256/16").applied(STEP)
    assert [op.kind for op in found] == ["matmul", "softmax", "topk", "selected_attention"]
    assert found[0].dims == {"batch": 16, "m": 1, "n": 4096, "k": 16}
    assert found[-1].dims["selected"] == 256
    assert found[-1].definition.resident_kv_bytes(found[-1]) == STEP.definition.resident_kv_bytes(STEP)
    pooled = AttentionMask.parse("blocks:0.1").applied(PROMPT)
    assert [op.kind for op in pooled] == ["reduce", "reduce", "matmul", "softmax", "topk", "block_sparse_attention"]


def test_a_tree_of_chunks_scores_ever_fewer_keys() -> None:
    """Of 4,096 keys, 64 chunks of 64 keep 1,024 keys, which make 128 chunks of 8; of these 256 keys are read."""
    found = AttentionMask.parse("hierarchical:64>1024,8>256").applied(STEP)
    assert [op.kind for op in found] == ["matmul", "topk", "matmul", "topk", "selected_attention"]
    assert found[0].dims["n"] == 64 * 7 and found[2].dims["n"] == 128 * 4
    assert found[1].dims["kept"] == 16 and found[3].dims["kept"] == 32 and found[-1].dims["selected"] == 256
    prompt = AttentionMask.parse("hierarchical:64>128").applied(PROMPT)
    assert prompt[0].dims["m"] == 16 * 16 and kept(PROMPT, "hierarchical:64>128") == 1 + 2 * 15


def layers(count: int) -> Trace:
    builder = TraceBuilder("layers")
    for layer in range(count):
        builder.add(STEP.with_(name=f"layers.{layer}.attention", module=f"layers.{layer}.attention"))
    return builder.build()


def test_layers_stay_dense_or_read_what_others_found() -> None:
    made = layers(4).with_attention_mask("tokens:256 dense=0 choose=1")
    kinds = [op.kind for op in made.ops]
    assert kinds == ["attention", "matmul", "softmax", "topk", *["selected_attention"] * 3]
    assert made.ops[1].deps == ("layers.0.attention",)
    assert made.ops[4].name == "layers.1.attention" and made.ops[5].deps == ("layers.1.attention",)
    dense, masked = (ss.simulate(each, "gpu/a100-sxm4-80gb").latency_s for each in (layers(4), made))
    assert masked > 0 and dense > 0


def test_keys_that_were_found_before_cost_nothing_to_find() -> None:
    assert len(AttentionMask.parse("blocks:0.1 found").applied(PROMPT)) == 1


def test_all_keys_is_the_dense_attention() -> None:
    for mask in ("a-shape:0+1000", "blocks:1", "tokens:1000", "strided:99+1"):
        (*_, read) = AttentionMask.parse(mask).applied(PROMPT)
        assert read == PROMPT, mask
    (full,) = AttentionMask.parse("full").applied(PROMPT)
    assert full.dims["causal"] == 0


@pytest.mark.parametrize(
    "text", ["", "tokens", "tokens:0", "blocks:0", "blocks:1.5", "a-shape:4", "a-shape:4+0", "vertical-slash:1+2x3",
             "vertical-slash:1+2x0/4", "spans:0+2x1", "strided:0+2", "hierarchical:8>4",
             "tokens:4 layers=1", "full dense=a"],
)  # fmt: skip
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"attention mask|dense=LAYERS"):
        AttentionMask.parse(text)


def test_a_trace_without_attention_is_refused() -> None:
    trace = TraceBuilder("one").add(ops.linear(1, 64, 64)).build()
    with pytest.raises(SpecError, match="one has no attention"):
        trace.with_attention_mask("full")
