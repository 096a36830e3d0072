# SPDX-License-Identifier: Apache-2.0
"""Attention kernels that operators run on a GPU: their shapes, what they read, multiply and write, their seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simsparse.config.parts.gpu import GpuPart
from simsparse.core import DType, Op, OpKind
from simsparse.core.kinds.block_sparse_attention import BLOCK_SPARSE_ATTENTION
from simsparse.devices.gpu_attention import AttentionShapes, decode_seconds, prefill_seconds
from simsparse.devices.gpu_attention_paged import paged_seconds
from simsparse.devices.gpu_card import Card, KernelTimes
from simsparse.devices.gpu_counts import READ, WRITE, GpuCounts, Indexes, count_macs, mac_action
from simsparse.devices.gpu_rates import peak

ATTENTION_KINDS = (OpKind.ATTENTION, BLOCK_SPARSE_ATTENTION.name)


@dataclass(frozen=True)
class Attention:
    """Attention kernels of one ``dtype``, ``decode`` with one query token per sequence."""

    decode: bool
    dtype: DType
    shapes: AttentionShapes


def attention_kernels(ops: Sequence[Op], counts: GpuCounts) -> list[tuple[Indexes, Attention]]:
    """Attention kernels by dtype: decode with one query token per sequence, prefill with more."""
    kinds: dict[tuple[bool, DType], list[int]] = {}
    for i, op in enumerate(ops):
        if op.kind in ATTENTION_KINDS:
            kinds.setdefault((op.dims["q_len"] == 1, op.dtype), []).append(i)
    found = []
    for (decode, dtype), places in kinds.items():
        own, owner = [ops[i] for i in places], np.array(places, np.int64)
        shapes = _attention_shapes(own)
        cached = shapes.kv_heads * shapes.kv_len * shapes.kv_row
        elements = shapes.heads * shapes.q_len * shapes.head_dim + cached
        counts.add(READ, owner, shapes.batch * shapes.value_bytes * elements)
        counts.add(WRITE, owner, shapes.batch * shapes.value_bytes * shapes.heads * shapes.q_len * shapes.v_head_dim)
        macs = np.array([op.dense_macs for op in own], np.float64)
        count_macs(owner, [mac_action(dtype)] * len(own), macs, counts)
        found.append((owner, Attention(decode, dtype, shapes)))
    return found


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


def attention_seconds(part: GpuPart, attention: Attention) -> KernelTimes:
    card, kernels = Card.of(part), part.kernels
    if kernels.paged is not None and attention.dtype is not DType.FP32:
        return paged_seconds(attention.shapes, kernels.paged, card)
    if attention.decode:
        return decode_seconds(attention.shapes, kernels.sdpa.decode, card)
    flops_per_s = np.full(len(attention.shapes.batch), peak(part, attention.dtype))
    return prefill_seconds(attention.shapes, kernels.sdpa.prefill, card, flops_per_s)
