# SPDX-License-Identifier: Apache-2.0
"""Linear layers that read the weights of active inputs alone: sizes, choosing, memory, texts."""

from __future__ import annotations

import pytest

import simsparse as ss
from simsparse.core import TraceBuilder, ops
from simsparse.core.active_channels import ActiveChannels
from simsparse.errors import SpecError

GPU = "gpu/a100-sxm4-80gb"


def traced(tokens: int) -> ss.Trace:
    builder = TraceBuilder("layers").add(ops.linear(tokens, 11008, 4096, name="up"))
    return (
        builder.add(ops.linear(tokens, 4096, 11008, name="down"))
        .add(ops.linear(tokens, 32000, 4096, name="lm_head"))
        .build()
    )


def test_half_of_the_inputs_are_half_of_the_bytes_and_all_of_the_memory() -> None:
    dense, half = traced(1), traced(1).with_active_channels("0.5", exclude=("lm_head",))
    assert [op.dims["k"] for op in half.ops] == [2048, 5504, 4096]
    assert sum(op.weight_bytes for op in half.ops[:2]) == sum(op.weight_bytes for op in dense.ops[:2]) / 2
    found = [ss.simulate(trace, GPU, level=0) for trace in (dense, half)]
    assert found[0].memory["gpu0"]["weights"] == found[1].memory["gpu0"]["weights"]
    assert 1.15 < found[0].latency_s / found[1].latency_s < 2


def test_tokens_of_a_step_read_what_any_of_them_uses() -> None:
    assert [op.dims["k"] for op in traced(3).with_active_channels("0.5").ops] == [3584, 9664, 3584]
    assert traced(17).with_active_channels("0.5") == traced(17)


def test_sorting_and_the_rest_of_low_rank_are_operators() -> None:
    made = traced(1).with_active_channels("0.6 topk rank=64")
    assert [op.kind for op in made.ops][:4] == ["topk", "linear", "linear", "linear"]
    assert made.ops[0].dims == {"rows": 1, "cols": 4096, "kept": 2458}
    assert [op.dims["n"] for op in made.ops[1:4]] == [64, 11008, 11008]
    assert (
        ss.simulate(made, GPU, level=0).latency_s
        > ss.simulate(traced(1).with_active_channels("0.6"), GPU, level=0).latency_s
    )


def test_layers_of_the_same_inputs_sort_them_once() -> None:
    builder = TraceBuilder("qkv").add(ops.norm(1, 4096, name="norm"))
    for name in ("q", "k", "v"):
        builder.add(ops.linear(1, 4096, 4096, name=name), deps=["norm"])
    kinds = [op.kind for op in builder.build().with_active_channels("0.5 topk").ops]
    assert kinds == ["norm", "topk", "linear", "linear", "linear"]


@pytest.mark.parametrize("text", ["", "0", "1.5", "half", "0.5 sorted", "0.5 rank=", "0.5 rank=4 topk"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="is no share of channels"):
        ActiveChannels.parse(text)


def test_a_text_is_read_back_as_it_is_written() -> None:
    for text in ("0.5 threshold", "0.25 topk", "0.5 threshold rank=128"):
        assert str(ActiveChannels.parse(text)) == text
