# SPDX-License-Identifier: Apache-2.0
"""Masks that a model gives to attention: which blocks of scores they keep, read from tensors and from BlockMasks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import flex_attention as flex
from torch.nn.functional import pad

from simsparse.core.attention_mask import BLOCK

NO_SCORE = -1e4
"""Additions to scores below this leave nothing of them after the softmax."""
MOST_SCORES = 1 << 28
"""Elements of a mask above which it is not read, and counts as one that keeps all."""


@dataclass(frozen=True)
class TracedMask:
    """What an attention masks besides, where it is causal, the keys after a query.

    ``window``: keys further back than so many. ``chunk``: keys of earlier chunks of so many positions. ``top_left``:
    query i sees keys 0 to i, as torch's own function has it; else the last query sees the last key. ``kept``: blocks
    of ``block`` keys that each block of queries keeps, the mean over heads and sequences; None where the rest says all.
    """

    window: int | None = None
    chunk: int | None = None
    top_left: bool = False
    kept: tuple[int, ...] | None = None
    block: int = BLOCK


BOTTOM_RIGHT, TOP_LEFT = TracedMask(), TracedMask(top_left=True)


def mask_of(given: torch.Tensor | None, queries: int, keys: int) -> tuple[bool, TracedMask]:
    """Whether an ``attn_mask`` is causal, and what else it masks. One on the meta device keeps all that it might."""
    if given is None or given.device.type == "meta" or given.numel() > MOST_SCORES:
        return False, BOTTOM_RIGHT
    kept = given.detach() if given.dtype is torch.bool else given.detach() > NO_SCORE
    if kept.dim() < 2 or queries == 1 or bool(kept.all()):
        return False, BOTTOM_RIGHT
    kept = kept.expand(*kept.shape[:-2], queries, keys).reshape(-1, queries, keys)
    for mask, first in ((BOTTOM_RIGHT, keys - queries), (TOP_LEFT, 0)):
        if bool((kept == torch.ones(queries, keys, dtype=torch.bool).tril(first)).all()):
            return True, mask
    blocks = _blocks(kept)
    if bool(blocks.all()):
        return False, BOTTOM_RIGHT
    mean = blocks.sum(-1).double().mean(0).ceil()
    return False, TracedMask(kept=tuple(int(count) for count in mean))


def _blocks(kept: torch.Tensor) -> torch.Tensor:
    """Blocks of (heads, queries, keys) that hold a kept score."""
    heads, queries, keys = kept.shape
    padded = pad(kept, (0, -keys % BLOCK, 0, -queries % BLOCK))
    rows, cols = padded.shape[1] // BLOCK, padded.shape[2] // BLOCK
    return padded.reshape(heads, rows, BLOCK, cols, BLOCK).any(dim=4).any(dim=2)


def block_mask_of(given: Any) -> TracedMask:
    """What a BlockMask of FlexAttention masks; all is kept without one, or with one whose blocks are not square."""
    if given is None or given.kv_num_blocks.device.type == "meta" or given.BLOCK_SIZE[0] != given.BLOCK_SIZE[1]:
        return BOTTOM_RIGHT
    counts = given.kv_num_blocks.double()
    if given.full_kv_num_blocks is not None:
        counts = counts + given.full_kv_num_blocks
    mean = counts.reshape(-1, counts.shape[-1]).mean(0).ceil()
    return TracedMask(kept=tuple(int(count) for count in mean), block=int(given.BLOCK_SIZE[0]))


@contextmanager
def flex_calls(attend: Callable[..., Any]) -> Iterator[None]:
    """``attend`` in place of FlexAttention in every module that has imported it."""
    original = flex.flex_attention
    holders = [module for module in list(sys.modules.values()) if vars(module).get("flex_attention") is original]
    for module in holders:
        module.flex_attention = attend  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in holders:
            module.flex_attention = original  # type: ignore[attr-defined]
