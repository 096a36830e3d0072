# SPDX-License-Identifier: Apache-2.0
"""Masks that a model gives to attention are traced: tensors of SDPA, BlockMasks of FlexAttention."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch.nn.attention.flex_attention import create_block_mask, flex_attention  # noqa: E402
from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

import simsparse as ss  # noqa: E402
from simsparse.core import Op  # noqa: E402
from simsparse.core.kinds.attention import GIVEN_MASK  # noqa: E402

ROWS, COLS = torch.arange(512)[:, None], torch.arange(512)[None]
X = torch.randn(2, 4, 512, 32)


class Masked(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Attention of a tensor on itself under ``mask``."""

    def __init__(self, mask: Any) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, x: Any) -> Any:
        return scaled_dot_product_attention(x, x, x, attn_mask=self.mask)


class Flex(Masked):
    def forward(self, x: Any) -> Any:
        return flex_attention(x, x, x, block_mask=self.mask)


def attention_of(model: Any, **fields: Any) -> Op:
    trace = ss.trace_model(model, X, **fields)
    found: tuple[Op, ...] = tuple(op for op in trace.ops if "attention" in op.kind)
    assert len(found) == 1
    return found[0]


def blocks_of(mask: Any) -> int:
    return int(mask.reshape(8, 64, 8, 64).any(dim=3).any(dim=1).sum())


def test_a_mask_of_truths_keeps_its_blocks() -> None:
    near = (ROWS - COLS).abs() < 100
    op = attention_of(Masked(near))
    assert (op.kind, op.dims["kept_blocks"], op.dims["block"]) == ("block_sparse_attention", blocks_of(near), 64)


def test_heads_that_differ_keep_their_mean() -> None:
    both = torch.stack([COLS <= ROWS, (ROWS - COLS).abs() < 64])[None].repeat(1, 2, 1, 1)
    op = attention_of(Masked(both))
    rows = [each.reshape(8, 64, 8, 64).any(dim=3).any(dim=1).sum(-1).double() for each in both[0, :2]]
    assert op.dims["kept_blocks"] == int(((rows[0] + rows[1]) / 2).ceil().sum())


def test_additions_to_scores_mask_where_they_leave_nothing() -> None:
    low = torch.zeros(512, 512).masked_fill(COLS > ROWS, float("-inf"))
    op = attention_of(Masked(low))
    assert op.kind == "attention" and op.dims["causal"] == 1
    bias = attention_of(Masked(torch.randn(512, 512)))
    assert bias.kind == "attention" and bias.dims["causal"] == 0


@pytest.mark.parametrize("mask", [None, torch.ones(512, 512, dtype=torch.bool)])
def test_what_keeps_all_is_dense(mask: Any) -> None:
    assert attention_of(Masked(mask)).dims["causal"] == 0


def test_a_mask_on_the_meta_device_can_not_be_read() -> None:
    mask = torch.ones(512, 512, dtype=torch.bool, device="meta")
    trace = ss.trace_model(Masked(mask), torch.empty(2, 4, 512, 32, device="meta"))
    assert [op.kind for op in trace.ops] == ["attention"]


def test_a_block_mask_keeps_its_blocks_and_the_output_is_torchs() -> None:
    def near(batch: Any, head: Any, query: Any, key: Any) -> Any:
        del batch, head
        return (query - key).abs() < 100

    mask = create_block_mask(near, None, None, 512, 512, device="cpu", BLOCK_SIZE=64)
    op = attention_of(Flex(mask))
    assert (op.kind, op.dims["kept_blocks"]) == ("block_sparse_attention", blocks_of((ROWS - COLS).abs() < 100))
    assert flex_attention.__module__.startswith("torch")


def test_a_training_step_keeps_fewer_blocks_both_ways() -> None:
    class Layer(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(32, 32)

        def forward(self, x: Any) -> Any:
            y = self.inner(x)
            return scaled_dot_product_attention(y, y, y, attn_mask=(ROWS - COLS).abs() < 100).sum()

    trace = ss.trace_model(Layer(), X, phase="train")
    assert [op.dims["kept_blocks"] for op in trace.ops if op.kind == "block_sparse_attention"] == [34, 34]


def test_an_attention_names_the_form_of_its_mask_and_torchs_norm_is_one_kernel() -> None:
    layers = torch.nn.RMSNorm(32), torch.nn.TransformerEncoderLayer(32, 2, batch_first=True).train()
    given = {form: attention_of(Masked(mask)).stats[GIVEN_MASK] for form, mask in MASKS.items()}
    assert given == {form: form for form in MASKS}
    norm, *others = ss.trace_model(torch.nn.Sequential(*layers), torch.randn(2, 8, 32)).ops
    assert [call.name for call in norm.kernels] == ["_fused_rms_norm"]
    assert [op.stats[GIVEN_MASK] for op in others if op.kind == "attention"] == ["none"]


MASKS = {"none": None, "bool": ROWS >= COLS, "float": torch.where(ROWS >= COLS, 0.0, float("-inf"))}
