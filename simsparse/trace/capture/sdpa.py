# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention as one op, whoever calls it and however the device would run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from simsparse.core import Op
from simsparse.core.kinds.attention import CACHED_BY, CACHED_KEYS, WINDOW, attention
from simsparse.trace.capture.event import EventRole
from simsparse.trace.capture.kernel import Gradients, Kernel
from simsparse.trace.capture.label import path_join

if TYPE_CHECKING:
    from simsparse.trace.capture.recorder import Capture

_SDPA = functional.scaled_dot_product_attention
_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


@dataclass(frozen=True)
class AttentionMask:
    """What a causal attention masks besides the keys after a query.

    ``window``: keys further back than so many. ``chunk``: keys of earlier chunks of so many positions. ``top_left``:
    query i sees keys 0 to i, as torch's own function has it; else the last query sees the last key.
    """

    window: int | None = None
    chunk: int | None = None
    top_left: bool = False


BOTTOM_RIGHT, TOP_LEFT = AttentionMask(), AttentionMask(top_left=True)


class AttentionCalls(TorchFunctionMode):  # type: ignore[misc]
    """Records each call of scaled_dot_product_attention as one op."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if self._capture.is_paused:
            return func(*args, **given)
        if func is _SDPA:
            return self._attend(*args, **given)
        if func is functional.multi_head_attention_forward:
            with self._inside():
                return func(*args, **given)
        return func(*args, **given)

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Catches the call inside multi_head_attention_forward, which a function mode does not see."""
        functional.scaled_dot_product_attention = self._attend
        try:
            yield
        finally:
            functional.scaled_dot_product_attention = _SDPA

    def _attend(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        given = dict(zip(_ARGUMENTS, args, strict=False)) | kwargs
        query, key, value = (given.pop(name) for name in ("query", "key", "value"))
        causal = bool(given.get("is_causal", False))
        kernel = Kernel(
            self._capture,
            compute=lambda q, k, v: _SDPA(q, k, v, **given),
            empty=lambda q, _, v: q.new_empty(*q.shape[:-1], v.shape[-1]),
            record=lambda heads, out: record_attention(self._capture, heads, out, causal=causal, mask=TOP_LEFT),
            record_backward=lambda heads, upstream, gradients: record_attention_backward(
                self._capture, heads, upstream, gradients, causal=causal, mask=TOP_LEFT
            ),
        )
        return kernel.run(query, key, value)


def record_attention(
    capture: Capture, heads: Sequence[torch.Tensor], out: torch.Tensor, *, causal: bool,
    mask: AttentionMask = BOTTOM_RIGHT, facts: Mapping[str, Any] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Record the attention of query, key and value, one op or those that a sliding window splits it into; none of
    nothing.

    Further ``heads`` are tensors that the kernel reads beside them, such as a bias of the scores.
    Shapes: query (..., heads, q_len, head_dim), key and value (..., kv_heads, kv_len, head_dim).
    """
    query, key, value = heads[:3]
    if not (query.numel() and key.numel() and value.numel()):
        capture.fresh(out)
        return
    parts = attention_ops(capture, query, key, value, causal=causal, mask=mask)
    ops = [op.with_(stats={**op.stats, **facts}) for op in parts] if facts else parts
    reads = [capture.access(tensor) for tensor in heads]
    for i, op in enumerate(ops):
        before = [capture.access(out, 0)] if i else []
        capture.add(EventRole.OWN, "attention", [*reads, *before], [out], op=op)


def attention_ops(
    capture: Capture, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, causal: bool,
    mask: AttentionMask = BOTTOM_RIGHT,
) -> list[Op]:  # fmt: skip
    """The ops of one attention, without names of their own.

    A causal window of w keys over several queries is cut as a kernel that skips masked tiles would
    see it: the queries that see fewer than w keys are a causal op; the others, which see w keys each,
    go in runs of w queries on the w keys that they move past. Query-key pairs are exact; so are the
    bytes of keys and values where w divides the number of those queries. A window of w keys to each
    side goes in runs of 2 w + 1, its ends counted like its middle. Chunks of c positions are causal ops
    of c queries on c keys, the first and the last as long as they are.
    """
    kv_heads = key.shape[-3] if key.dim() > 3 else 1
    q_heads = query.shape[-3] if query.dim() > 3 else 1
    batch = query.shape[:-3].numel() if query.dim() > 3 else query.shape[:-2].numel()
    q_len, kv_len, window = query.shape[-2], key.shape[-2], mask.window

    def op(queries: int, keys: int, masked: bool, copies: int = 1) -> Op:
        return attention(
            batch * copies, q_heads, kv_heads, query.shape[-1], queries, keys, masked, capture.dtype(query),
            v_head_dim=value.shape[-1], name=path_join(capture.module, "attention"), module=capture.module,
            label=capture.label(""), stats={WINDOW: window} if window else {},
        )  # fmt: skip

    if causal and mask.chunk:
        chunks = _chunks(q_len, kv_len, mask.chunk)
        last = chunks[-1]
        return _cached_last([op(queries, keys, True, copies) for queries, keys, copies in chunks], last[1], last[2])
    if causal and mask.top_left and q_len != kv_len:
        both = min(q_len, kv_len)
        return [op(both, both, True), *([op(q_len - kv_len, kv_len, False)] if q_len > kv_len else [])]
    if window and not causal:
        window = 2 * window + 1
    if not window or window >= kv_len:
        return [op(q_len, kv_len, causal)]
    if q_len == 1:
        return [op(1, window, causal)]
    growing = min(q_len, max(0, window - (kv_len - q_len))) if causal else 0
    runs, rest = divmod(q_len - growing, window)
    parts = [
        op(growing, kv_len - q_len + growing, True) if growing else None,
        op(window, window, False, runs) if runs else None,
        op(rest, window, False) if rest else None,
    ]
    found = [part for part in parts if part is not None]
    return _cached_last(found, window, 1 if rest else max(1, runs)) if causal else found


def _cached_last(parts: Sequence[Op], keys: int, copies: int) -> list[Op]:
    """The ops of an attention after which ``keys`` keys stay cached, those of the last of them."""
    if len(parts) == 1 and copies == 1 and parts[0].dims["kv_len"] == keys:
        return list(parts)
    others = [part.with_(stats={**part.stats, CACHED_KEYS: 0}) for part in parts[:-1]]
    by = {CACHED_BY: copies} if copies > 1 else {}
    return [*others, parts[-1].with_(stats={**parts[-1].stats, CACHED_KEYS: keys, **by})]


def _chunks(q_len: int, kv_len: int, chunk: int) -> list[tuple[int, int, int]]:
    """Queries, keys and number of the pieces of a causal attention within chunks of ``chunk`` positions."""
    before = (kv_len - q_len) % chunk
    first = min(q_len, chunk - before)
    whole, rest = divmod(q_len - first, chunk)
    pieces = [(first, before + first, 1), (chunk, chunk, whole), (rest, rest, 1 if rest else 0)]
    return [piece for piece in pieces if piece[2]]


def record_attention_backward(
    capture: Capture, heads: Sequence[torch.Tensor], upstream: torch.Tensor, gradients: Gradients, *, causal: bool,
    mask: AttentionMask = BOTTOM_RIGHT,
) -> None:  # fmt: skip
    """Record the gradient of an attention as fused kernels compute it.

    It does five products where the forward pass does two: the scores again, and the gradients of
    probabilities, values, queries and keys (Dao et al., FlashAttention, arXiv:2205.14135, algorithm
    4). As an ATTENTION op of three times the head dim and twice that of the values it has their
    multiply-accumulates exactly, and reads and writes the elements of queries and keys of one head
    dim more than the kernel moves.
    """
    query, key, value = heads[:3]
    if not (query.numel() and key.numel() and value.numel()):
        return
    reads = [capture.access(tensor) for tensor in (upstream, *heads)]
    made = [gradient for gradient in gradients if gradient is not None]
    for i, part in enumerate(attention_ops(capture, query, key, value, causal=causal, mask=mask)):
        dims = {**part.dims, "head_dim": 3 * part.dims["head_dim"], "v_head_dim": 2 * part.dims["v_head_dim"]}
        op = part.with_(name=path_join(capture.module, "bwd.attention"), dims=dims)
        before = [capture.access(made[0], 0)] if i else []
        capture.add(EventRole.OWN, "attention_backward", [*reads, *before], made, op=op)
