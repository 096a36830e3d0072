# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention as one op, whoever calls it and however the device would run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

import torch
from torch._C import DisableTorchFunction
from torch.nn import functional
from torch.nn.attention import flex_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from simsparse.core import Op
from simsparse.core.kinds.attention import CACHED_BY, CACHED_KEYS, GIVEN_MASK, WINDOW, attention
from simsparse.core.kinds.block_sparse_attention import block_sparse_attention
from simsparse.errors import TraceError
from simsparse.trace.capture.event import EventRole
from simsparse.trace.capture.kernel import Gradients, Kernel
from simsparse.trace.capture.label import path_join
from simsparse.trace.capture.masked import (
    BOTTOM_RIGHT,
    TOP_LEFT,
    TracedMask,
    block_mask_of,
    flex_calls,
    mask_of,
)
from simsparse.trace.capture.norm import RMS_NORMS, record_rms_norm

if TYPE_CHECKING:
    from simsparse.trace.capture.recorder import Capture

_SDPA = functional.scaled_dot_product_attention
_FLEX = flex_attention.flex_attention
_FLEX_ARGUMENTS = ("query", "key", "value", "score_mod", "block_mask", "scale", "enable_gqa", "return_lse")
_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


class FunctionCalls(TorchFunctionMode):  # type: ignore[misc]
    """Records each call of scaled_dot_product_attention as one op, and of torch's RMS norm as one kernel."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture
        self._last: tuple[torch.Tensor | None, tuple[bool, TracedMask]] = (None, (False, BOTTOM_RIGHT))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if self._capture.is_paused:
            return func(*args, **given)
        if func is _SDPA:
            return self._attend(*args, **given)
        if func in RMS_NORMS and not self._capture.stage:
            return record_rms_norm(self._capture, func, args, given)
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

    @contextmanager
    def flex(self) -> Iterator[None]:
        """Records each call of FlexAttention as one op, too."""
        with flex_calls(self._attend_in_blocks):
            yield

    def _attend(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        given = dict(zip(_ARGUMENTS, args, strict=False)) | kwargs
        query, key, value = (given.pop(name) for name in ("query", "key", "value"))
        if query.is_nested:
            raise TraceError("attends to sequences of several lengths in one nested tensor; pad them to one length",
                             key=self._capture.module or "model")  # fmt: skip
        causal, mask = True, TOP_LEFT
        if not given.get("is_causal", False):
            causal, mask = self._mask_of(given.get("attn_mask"), query.shape[-2], key.shape[-2])
        form = given_mask(given.get("attn_mask"))
        return self._run(partial(_SDPA, **given), (query, key, value), causal, mask, form)

    def _mask_of(self, given: torch.Tensor | None, queries: int, keys: int) -> tuple[bool, TracedMask]:
        """As ``mask_of``, once for the layers that share a mask."""
        if given is None or given is not self._last[0]:
            with self._capture.paused():
                self._last = given, mask_of(given, queries, keys)
        return self._last[1]

    def _attend_in_blocks(self, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(_FLEX_ARGUMENTS, args, strict=False)) | kwargs
        if self._capture.is_paused or given.get("return_lse"):
            return _FLEX(**given)
        heads = tuple(given.pop(name) for name in ("query", "key", "value"))
        with self._capture.paused():
            mask = block_mask_of(given.get("block_mask"))

        def compute(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            with _disable_current_modes(), DisableTorchFunction(), catch_warnings():
                simplefilter("ignore")  # that it is not compiled, which a trace does not need
                out: torch.Tensor = _FLEX(query, key, value, **given)
            return out

        return self._run(compute, heads, False, mask, given_mask(None))

    def _run(
        self, compute: Callable[..., torch.Tensor], heads: Sequence[torch.Tensor], causal: bool, mask: TracedMask,
        facts: Mapping[str, Any],
    ) -> torch.Tensor:  # fmt: skip
        """The attention of query, key and value, recorded with ``facts``."""
        kernel = Kernel(
            self._capture,
            compute=compute,
            empty=lambda q, _, v: q.new_empty(*q.shape[:-1], v.shape[-1]),
            record=lambda read, out: record_attention(self._capture, read, out, causal=causal, mask=mask, facts=facts),
            record_backward=lambda read, upstream, gradients: record_attention_backward(
                self._capture, read, upstream, gradients, causal=causal, mask=mask
            ),
        )
        return kernel.run(*heads)


def given_mask(mask: torch.Tensor | None) -> dict[str, str]:
    """The fact that torch's function was given ``mask``."""
    return {GIVEN_MASK: "none" if mask is None else "bool" if mask.dtype is torch.bool else "float"}


def record_attention(
    capture: Capture, heads: Sequence[torch.Tensor], out: torch.Tensor, *, causal: bool,
    mask: TracedMask = BOTTOM_RIGHT, facts: Mapping[str, Any] = MappingProxyType({}),
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
    mask: TracedMask = BOTTOM_RIGHT,
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

    if mask.kept is not None:
        return [block_sparse_attention(
            batch, q_heads, kv_heads, query.shape[-1], q_len, kv_len, mask.block, mask.kept,
            dtype=capture.dtype(query), v_head_dim=value.shape[-1], name=path_join(capture.module, "attention"),
            module=capture.module, label=capture.label(""),
        )]  # fmt: skip
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
    mask: TracedMask = BOTTOM_RIGHT,
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
