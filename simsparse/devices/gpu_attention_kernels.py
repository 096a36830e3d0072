# SPDX-License-Identifier: Apache-2.0
"""Attention kernels that operators run on a GPU: their shapes, what they read, multiply and write, their seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_kernels import KernelLibrary
from simsparse.core import DType, Op, OpKind
from simsparse.core.kinds.attention import MASK_BYTES, WINDOW, cache_type, seen_keys
from simsparse.core.kinds.block_sparse_attention import BLOCK_SPARSE_ATTENTION, query_blocks
from simsparse.core.kinds.selected_attention import SELECTED_ATTENTION
from simsparse.core.varying_arrays import filled
from simsparse.devices.gpu_attention import TILE, AttentionShapes, decode_seconds, prefill_seconds
from simsparse.devices.gpu_attention_paged import paged_seconds
from simsparse.devices.gpu_attention_sparse import flex_seconds
from simsparse.devices.gpu_card import Card, Floats, KernelTimes
from simsparse.devices.gpu_counts import READ, WRITE, GpuCounts, Indexes, count_macs, mac_action
from simsparse.devices.gpu_latent import LatentShapes, latent_seconds
from simsparse.devices.gpu_rates import peak
from simsparse.devices.gpu_tiled_attention import KEYS, ROW, Tiles, causal_tiles, selected_tiles, tiled_seconds

WINDOW_DIM = 128
"""Head dim of the windows that were measured."""
ATTENTION_KINDS = (OpKind.ATTENTION, BLOCK_SPARSE_ATTENTION.name, SELECTED_ATTENTION.name)


@dataclass(frozen=True)
class Attention:
    """Attention kernels of one ``dtype``, ``decode`` with one query token per sequence.

    ``blocks``: of a mask that FlexAttention takes in blocks, rows of blocks of all heads, kept blocks, and 1 with
    blocks of 128. ``window``: the mask is a window, which attention on paged caches has kernels for. ``latent``: the
    same attentions as kernels of latent attention take them. ``tiled``: the kernel of a library of sparse attention
    that takes the ``ops``; empty where none does.
    """

    decode: bool
    dtype: DType
    shapes: AttentionShapes
    blocks: tuple[Floats, Floats, Floats] | None = None
    window: bool = False
    latent: LatentShapes | None = None
    tiled: str = ""
    ops: tuple[Op, ...] = ()


def attention_kernels(ops: Sequence[Op], counts: GpuCounts) -> list[tuple[Indexes, Attention]]:
    """Attention kernels by dtype: decode with one query token per sequence, prefill with more."""
    kinds: dict[tuple[bool, DType, bool, bool, bool, str], list[int]] = {}
    for i, op in enumerate(ops):
        if op.kind in ATTENTION_KINDS:
            alone = op.dims["q_len"] == 1 or op.kind == SELECTED_ATTENTION.name
            key = (alone, op.dtype, takes_blocks(op), takes_window(op), alone and op.latent_kv, _tiled(op))
            kinds.setdefault(key, []).append(i)
    found = []
    for (decode, dtype, flex, window, latent, tiled), places in kinds.items():
        own, owner = [ops[i] for i in places], np.array(places, np.int64)
        shapes = _attention_shapes(own)
        cached = np.array([op.kv_bytes for op in own], np.float64)
        queries = shapes.batch * shapes.value_bytes * shapes.heads * shapes.q_len * shapes.head_dim
        counts.add(READ, owner, queries + cached)
        counts.add(WRITE, owner, shapes.batch * shapes.value_bytes * shapes.heads * shapes.q_len * shapes.v_head_dim)
        macs = np.array([op.dense_macs for op in own], np.float64)
        count_macs(owner, [mac_action(dtype)] * len(own), macs, counts)
        blocks = _blocks(own) if flex else _window_blocks(own) if window else None
        latents = _latent(own) if latent else None
        found.append((owner, Attention(decode, dtype, shapes, blocks, window, latents, tiled, tuple(own))))
    return found


def takes_blocks(op: Op) -> bool:
    """Whether FlexAttention was measured on such a mask: blocks of 64 or 128, many queries, head dim 128, 16 bits."""
    d = op.dims
    masked = op.kind == BLOCK_SPARSE_ATTENTION.name and d["block"] in (64, 128) and d["q_len"] > 1
    return masked and d["head_dim"] == d["v_head_dim"] == 128 and op.dtype.bits == 16


def takes_window(op: Op) -> bool:
    """Whether FlexAttention was measured on such a window: many queries, which do not see all keys, head dim 128."""
    d = op.dims
    if op.kind != OpKind.ATTENTION or d["q_len"] == 1 or not d["causal"] or op.dtype.bits != 16:
        return False
    return d["kv_len"] > op.stats.get(WINDOW, 2**62) and d["head_dim"] == d["v_head_dim"] == WINDOW_DIM


def _window_blocks(ops: Sequence[Op]) -> tuple[Floats, Floats, Floats]:
    """Blocks of 128 that hold a score which the window keeps."""
    heads = np.array([op.dims["batch"] * op.dims["heads"] for op in ops], np.float64)
    rows, kept = (np.array(column, np.float64) for column in zip(*map(_kept_by_window, ops), strict=True))
    return heads * rows, heads * kept, np.ones(len(ops))


def _kept_by_window(op: Op) -> tuple[int, int]:
    """Rows of blocks of one head, and the blocks that they keep."""
    d, window = op.dims, int(op.stats[WINDOW])
    first = np.arange(0, d["q_len"], TILE) + (d["kv_len"] - d["q_len"])
    last = np.minimum(first + TILE - 1, d["kv_len"] - 1)
    kept = last // TILE - np.maximum(first - window + 1, 0) // TILE + 1
    return len(first), int(kept.sum())


def _blocks(ops: Sequence[Op]) -> tuple[Floats, Floats, Floats]:
    heads = np.array([op.dims["batch"] * op.dims["heads"] for op in ops], np.float64)
    rows, kept, side = (np.array(column, np.float64) for column in zip(
        *((query_blocks(op), op.dims["kept_blocks"], op.dims["block"]) for op in ops), strict=True))  # fmt: skip
    return heads * rows, heads * kept, np.where(side == 128, 1.0, 0.0)


def _attention_shapes(ops: Sequence[Op]) -> AttentionShapes:
    names = ("batch", "heads", "kv_heads", "head_dim", "v_head_dim", "q_len", "kv_len", "causal")
    full = [_unmasked(op) for op in ops]
    dims = {name: np.array([each[name] for each in full], np.float64) for name in names}
    size, cache = (np.array([dtype(op).bits / 8 for op in ops]) for dtype in (_own_type, _cached_type))
    seen = np.array([seen_keys(op) if op.kind == OpKind.ATTENTION else each["kv_len"]
                     for op, each in zip(ops, full, strict=True)], np.float64)  # fmt: skip
    cached = np.array([_read_by(op) for op in ops], np.float64)
    window = np.array([op.stats.get(WINDOW, 0) for op in ops], np.float64)
    return AttentionShapes(
        **dims, value_bytes=size, cache_bytes=cache, kv_row=cached / (dims["batch"] * dims["kv_heads"] * seen * cache),
        window=window, sets=np.full(len(ops), np.inf),
        mask_bytes=np.array([op.stats.get(MASK_BYTES, 0) for op in ops], np.float64),
    )  # fmt: skip


def _unmasked(op: Op) -> dict[str, int]:
    """Dims of an attention without a mask that computes as many pairs; selections are queries alone."""
    if op.kind == OpKind.ATTENTION:
        return dict(op.dims)
    if op.kind == BLOCK_SPARSE_ATTENTION.name:
        return _without_blocks(op)
    return {
        **op.dims,
        "batch": op.dims["batch"] * op.dims["q_len"],
        "q_len": 1,
        "kv_len": op.dims["selected"],
        "causal": 0,
    }


def _read_by(op: Op) -> int:
    """Bytes of the cache that the sequences of ``_unmasked`` read."""
    if op.kind != SELECTED_ATTENTION.name:
        return op.kv_bytes
    return op.dims["q_len"] * SELECTED_ATTENTION.cache_bytes(op, op.dims["selected"])


def _latent(ops: Sequence[Op]) -> LatentShapes:
    """Queries alone on cached latents; of a selection all slots are taken, filled or not."""
    whole = np.array([op.kind == OpKind.ATTENTION for op in ops])
    dims = {
        name: np.array([op.dims[name] for op in ops], np.float64) for name in ("batch", "heads", "q_len", "head_dim")
    }
    slots = np.array([seen_keys(op) if op.kind == OpKind.ATTENTION else op.dims["selected"] for op in ops], np.float64)
    size = np.array([_cached_type(op).bits / 8 for op in ops])
    return LatentShapes(
        dims["batch"] * dims["q_len"], dims["heads"], slots, dims["head_dim"] * size, size, whole.astype(np.float64),
        (dims["q_len"] > 1).astype(np.float64),
    )  # fmt: skip


def _own_type(op: Op) -> DType:
    return op.dtype


def _cached_type(op: Op) -> DType:
    return op.dtype if op.kind == BLOCK_SPARSE_ATTENTION.name else cache_type(op)


def _without_blocks(op: Op) -> dict[str, int]:
    """Dims of the attention, without a mask, in which each query sees as many keys as in a block-sparse one."""
    keys = -(-BLOCK_SPARSE_ATTENTION.pairs(op) // (op.dims["batch"] * op.dims["q_len"]))
    return {**op.dims, "kv_len": keys, "causal": 0}


def attention_seconds(part: GpuPart, card: Card, attention: Attention) -> KernelTimes:
    """Seconds of each kernel; ``card`` is that of the part."""
    kernels = part.kernels
    if attention.latent is not None and kernels.latent is not None:
        return latent_seconds(attention.latent, kernels.latent, card)
    if kernels.tiled is not None and attention.tiled:
        own = {"dense": kernels.tiled.dense, "blocks": kernels.tiled.blocks, "selected": kernels.tiled.selected}
        return tiled_seconds(_tiles(attention.tiled, attention.ops), own[attention.tiled], card)
    paged = None if attention.dtype is DType.FP32 else kernels.paged
    if attention.blocks is not None and kernels.flex is not None and not (attention.window and paged):
        return flex_seconds(*attention.blocks, kernels.flex, card)
    if paged is not None:
        return paged_seconds(attention.shapes, paged, card)
    if attention.decode:
        return decode_seconds(attention.shapes, kernels.sdpa.decode, card)
    flops_per_s = filled(len(attention.shapes.batch), peak(part, attention.dtype))
    return prefill_seconds(attention.shapes, kernels.sdpa.prefill, card, flops_per_s)


def _tiled(op: Op) -> str:
    """The kernel of a library of sparse attention that runs ``op``; empty where none does."""
    if op.dtype.bits != 16 or op.dims["q_len"] == 1 or takes_window(op):
        return ""
    if op.kind == SELECTED_ATTENTION.name:
        return "selected"
    if op.kind == BLOCK_SPARSE_ATTENTION.name:
        return "blocks" if op.dims["block"] == KEYS else ""
    return "dense"


def _tiles(name: str, ops: Sequence[Op]) -> Tiles:
    """Rows of tiles and tiles of each attention."""
    counted = [_counted(name, op) for op in ops]
    rows, steps = (np.array(column, np.float64) for column in zip(*counted, strict=True))
    return Tiles(rows, steps, np.array([op.dims["head_dim"] for op in ops], np.float64))


def _counted(name: str, op: Op) -> tuple[int, int]:
    d = op.dims
    heads, queries, keys = d["batch"] * d["heads"], d["q_len"], d["kv_len"]
    if name == "selected":
        groups = d["batch"] * d["kv_heads"]
        return groups * queries, groups * selected_tiles(queries, keys, -(-d["selected"] // KEYS))
    if name == "blocks":
        return heads * query_blocks(op), heads * d["kept_blocks"]
    rows = -(-queries // ROW)
    return heads * rows, heads * (causal_tiles(queries, keys) if d["causal"] else rows * -(-keys // KEYS))


def narrow_cache(op: Op, kernels: KernelLibrary) -> str | None:
    """Why no kernel of the library takes the cached type of ``op``; None where one does."""
    if op.kind not in (OpKind.ATTENTION, SELECTED_ATTENTION.name) or (cached := cache_type(op)) is op.dtype:
        return None
    if kernels.paged is None:
        return f"{kernels.name} has attention kernels for caches of the type of the queries alone, not for {cached}"
    if cached is DType.FP8:
        return None
    return f"{kernels.name} has attention kernels for fp8 caches and those of the type of the queries, not for {cached}"
