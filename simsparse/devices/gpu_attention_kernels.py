# SPDX-License-Identifier: Apache-2.0
"""Attention kernels that operators run on a GPU: their shapes, what they read, multiply and write, their seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simsparse.config.parts.gpu import GpuPart
from simsparse.core import DType, Op, OpKind
from simsparse.core.kinds.block_sparse_attention import BLOCK_SPARSE_ATTENTION, query_blocks
from simsparse.devices.gpu_attention import AttentionShapes, decode_seconds, prefill_seconds
from simsparse.devices.gpu_attention_paged import paged_seconds
from simsparse.devices.gpu_attention_sparse import flex_seconds
from simsparse.devices.gpu_card import Card, Floats, KernelTimes
from simsparse.devices.gpu_counts import READ, WRITE, GpuCounts, Indexes, count_macs, mac_action
from simsparse.devices.gpu_rates import peak

ATTENTION_KINDS = (OpKind.ATTENTION, BLOCK_SPARSE_ATTENTION.name)


@dataclass(frozen=True)
class Attention:
    """Attention kernels of one ``dtype``, ``decode`` with one query token per sequence.

    ``blocks``: of a mask of blocks that FlexAttention takes, rows of blocks of all heads, kept blocks, and 1 with
    blocks of 128.
    """

    decode: bool
    dtype: DType
    shapes: AttentionShapes
    blocks: tuple[Floats, Floats, Floats] | None = None


def attention_kernels(ops: Sequence[Op], counts: GpuCounts) -> list[tuple[Indexes, Attention]]:
    """Attention kernels by dtype: decode with one query token per sequence, prefill with more."""
    kinds: dict[tuple[bool, DType, bool], list[int]] = {}
    for i, op in enumerate(ops):
        if op.kind in ATTENTION_KINDS:
            kinds.setdefault((op.dims["q_len"] == 1, op.dtype, takes_blocks(op)), []).append(i)
    found = []
    for (decode, dtype, flex), places in kinds.items():
        own, owner = [ops[i] for i in places], np.array(places, np.int64)
        shapes = _attention_shapes(own)
        cached = shapes.kv_heads * shapes.kv_len * shapes.kv_row
        elements = shapes.heads * shapes.q_len * shapes.head_dim + cached
        counts.add(READ, owner, shapes.batch * shapes.value_bytes * elements)
        counts.add(WRITE, owner, shapes.batch * shapes.value_bytes * shapes.heads * shapes.q_len * shapes.v_head_dim)
        macs = np.array([op.dense_macs for op in own], np.float64)
        count_macs(owner, [mac_action(dtype)] * len(own), macs, counts)
        found.append((owner, Attention(decode, dtype, shapes, _blocks(own) if flex else None)))
    return found


def takes_blocks(op: Op) -> bool:
    """Whether FlexAttention was measured on such a mask: blocks of 64 or 128, many queries, head dim 128, 16 bits."""
    d = op.dims
    masked = op.kind == BLOCK_SPARSE_ATTENTION.name and d["block"] in (64, 128) and d["q_len"] > 1
    return masked and d["head_dim"] == d["v_head_dim"] == 128 and op.dtype.bits == 16


def _blocks(ops: Sequence[Op]) -> tuple[Floats, Floats, Floats]:
    heads = np.array([op.dims["batch"] * op.dims["heads"] for op in ops], np.float64)
    rows, kept, side = (np.array(column, np.float64) for column in zip(
        *((query_blocks(op), op.dims["kept_blocks"], op.dims["block"]) for op in ops), strict=True))  # fmt: skip
    return heads * rows, heads * kept, np.where(side == 128, 1.0, 0.0)


def _attention_shapes(ops: Sequence[Op]) -> AttentionShapes:
    names = ("batch", "heads", "kv_heads", "head_dim", "v_head_dim", "q_len", "kv_len", "causal")
    full = [op.dims if op.kind == OpKind.ATTENTION else _without_blocks(op) for op in ops]
    dims = {name: np.array([each[name] for each in full], np.float64) for name in names}
    size, none = np.array([op.dtype.bits / 8 for op in ops]), np.zeros(len(ops))
    cached = np.array([op.kv_bytes for op in ops], np.float64)
    row = cached / (dims["batch"] * dims["kv_heads"] * dims["kv_len"] * size)
    return AttentionShapes(**dims, value_bytes=size, cache_bytes=size, kv_row=row, window=none, warm=none)


def _without_blocks(op: Op) -> dict[str, int]:
    """Dims of the attention, without a mask, in which each query sees as many keys as in a block-sparse one."""
    keys = -(-BLOCK_SPARSE_ATTENTION.pairs(op) // (op.dims["batch"] * op.dims["q_len"]))
    return {**op.dims, "kv_len": keys, "causal": 0}


def attention_seconds(part: GpuPart, card: Card, attention: Attention) -> KernelTimes:
    """Seconds of each kernel; ``card`` is that of the part."""
    kernels = part.kernels
    if attention.blocks is not None and kernels.flex is not None:
        return flex_seconds(*attention.blocks, kernels.flex, card)
    if kernels.paged is not None and attention.dtype is not DType.FP32:
        return paged_seconds(attention.shapes, kernels.paged, card)
    if attention.decode:
        return decode_seconds(attention.shapes, kernels.sdpa.decode, card)
    flops_per_s = np.full(len(attention.shapes.batch), peak(part, attention.dtype))
    return prefill_seconds(attention.shapes, kernels.sdpa.prefill, card, flops_per_s)
