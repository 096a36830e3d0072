"""Scaled dot-product attention as one op, whoever calls it and however the device would run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from simsparse.core.ops import attention
from simsparse.trace.event import Role
from simsparse.trace.label import path_join

if TYPE_CHECKING:
    from simsparse.trace.capture import Capture

_SDPA = functional.scaled_dot_product_attention
_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


class AttentionCalls(TorchFunctionMode):  # type: ignore[misc]
    """Records each call of scaled_dot_product_attention as one op."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
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
        query, key, value = given["query"], given["key"], given["value"]
        with self._capture.paused():
            if query.device.type == "meta":
                out = query.new_empty(*query.shape[:-1], value.shape[-1])
            else:
                out = _SDPA(*args, **kwargs)
        record_attention(self._capture, query, key, value, out, causal=bool(given.get("is_causal", False)))
        return out


def record_attention(
    capture: Capture, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, out: torch.Tensor, *, causal: bool,
    window: int | None = None,
) -> None:  # fmt: skip
    """Record one attention op.

    Shapes: query (..., heads, q_len, head_dim), key and value (..., kv_heads, kv_len, head_dim).
    A single query sees at most ``window`` keys; a window over several queries is not modelled, and
    stands in the op's stats.
    """
    heads, kv_heads = (tensor.shape[-3] if tensor.dim() > 3 else 1 for tensor in (query, key))
    batch = query.shape[:-3].numel() if query.dim() > 3 else query.shape[:-2].numel()
    q_len, kv_len = query.shape[-2], key.shape[-2]
    stats = {"window": window} if window and window < kv_len else {}
    if window and q_len == 1:
        kv_len = min(kv_len, window)
    op = attention(
        batch, heads, kv_heads, query.shape[-1], q_len, kv_len, causal, capture.dtype(query),
        v_head_dim=value.shape[-1], name=path_join(capture.module, "attention"), module=capture.module, stats=stats,
    )  # fmt: skip
    capture.add(Role.OWN, "attention", [capture.access(t) for t in (query, key, value)], [out], op=op)
