# SPDX-License-Identifier: Apache-2.0
"""Models as a serving engine runs them: the operators of a step by what is in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from simsparse.core import DType, Op, OpKind, Trace
from simsparse.core.kinds.attention import CACHED_ELEMENTS, WINDOW, AttentionKind, cache_type
from simsparse.core.rescale import resize
from simsparse.core.tensor import bytes_of
from simsparse.errors import TraceError

HEAD = "lm_head"
"""What the language head is called: the only op that runs on the tokens that are sampled, not on all."""


class Repeated(NamedTuple):
    """An operator and how often a step runs it."""

    op: Op
    times: int


class ServedModel(ABC):
    """The operators of a step of a model.

    A step reads ``tokens`` tokens, of prompts and of sequences that decode. All but attention and the language head
    depend on their number alone; attention on each sequence's queries and cached keys, the head on the ``rows`` that
    a next token is sampled from.
    """

    name: str
    weight_bytes: int
    kv_bytes_per_token: int

    @abstractmethod
    def token_ops(self, tokens: int) -> Sequence[Repeated]:
        """The operators on all tokens of a step."""

    @abstractmethod
    def head_ops(self, rows: int) -> Sequence[Repeated]:
        """The operators on the tokens that the next ones are sampled from."""

    @abstractmethod
    def attention_ops(self, batch: int, queries: int, keys: int) -> Sequence[Repeated]:
        """Attention of ``batch`` sequences with ``queries`` tokens each, on ``keys`` tokens with their own."""


class TracedModel(ServedModel):
    """A model from a trace of one of its decode steps, whose operators are resized to the tokens of a step.

    Operators of equal signature are one, with a count. Routing is drawn anew for the tokens, the same draw in every
    layer of equal shape. Raises TraceError where the trace is no decode step of causal language model, or its
    routing was recorded and can't be drawn.
    """

    def __init__(self, trace: Trace) -> None:
        if trace.meta.get("phase") != "decode":
            raise TraceError("is no decode step; a serving engine needs one", key=trace.name)
        self.trace = self._one = resize(trace, 1)
        self.head_names = frozenset(op.name for op in trace.ops if _is_head(op))
        self.name = str(trace.meta.get("model", trace.name))
        attention = [op for op in self._one.ops if op.kind == OpKind.ATTENTION]
        if not attention:
            raise TraceError("has no attention op, which a step of a serving engine needs", key=trace.name)
        self._attention = _counted(attention)
        self._head = [Repeated(op, 1) for op in self._one.ops if _is_head(op)]
        others = [op for op in self._one.ops if op.kind != OpKind.ATTENTION and not _is_head(op)]
        self._others = _counted(others)
        self.weight_bytes = sum({op.weight or op.name: _resident_bytes(op) for op in self._one.ops}.values())
        self.kv_bytes_per_token = sum(_row_bytes(op) for op in attention)

    @cached_property
    def _token_trace(self) -> Trace:
        ops = tuple(each.op.with_(deps=()) for each in self._others)
        return Trace(self.name, ops, {**self._one.meta, "batch": 1})

    def token_ops(self, tokens: int) -> Sequence[Repeated]:
        resized = resize(self._token_trace, tokens).ops
        return [Repeated(op, each.times) for op, each in zip(resized, self._others, strict=True)]

    def head_ops(self, rows: int) -> Sequence[Repeated]:
        return [Repeated(on_rows(each.op, rows), 1) for each in self._head]

    def attention_ops(self, batch: int, queries: int, keys: int) -> Sequence[Repeated]:
        return [Repeated(_attending(each.op, batch, queries, keys), each.times) for each in self._attention]


def _attending(op: Op, batch: int, queries: int, keys: int) -> Op:
    window = int(op.stats.get(WINDOW, keys))
    seen = min(keys, max(window, queries)) if queries == 1 else keys
    return op.with_(dims={**op.dims, "batch": batch, "q_len": queries, "kv_len": seen, "causal": 1})


def on_rows(op: Op, rows: int, of: int = 1) -> Op:
    """An op of the head, which is of ``of`` rows, on ``rows``."""
    size = {"m": rows} if op.kind == OpKind.LINEAR else {"bytes": op.dims["bytes"] // of * rows}
    return op.with_(dims={**op.dims, **size})


def _is_head(op: Op) -> bool:
    return op.kind in (OpKind.LINEAR, OpKind.COLLECTIVE) and HEAD in (op.label, op.module)


def with_weights(trace: Trace, dtype: str) -> Trace:
    """``trace`` with the products of its layers in another type, results as they were; head and routers stay.

    Activations are quantized on their way, which costs nothing here. Raises SpecError on an unknown type.
    """
    new = DType.parse(dtype)

    def changed(op: Op) -> Op:
        named = f"{op.module} {op.name} {op.label}"
        if op.kind not in (OpKind.LINEAR, OpKind.MOE_FFN) or HEAD in named or "router" in named:
            return op
        return op.with_(dtype=new, weight_dtype=None, output_dtype=op.out_dtype)

    return trace.map(changed)


def _counted(ops: Sequence[Op]) -> list[Repeated]:
    """``ops`` without those that do the same; a layer's routing does not tell it from others of its shape."""
    found: dict[object, tuple[Op, int]] = {}
    for op in ops:
        key = (
            op.kind, op.label, op.dtype, op.w_dtype, op.out_dtype, tuple(op.dims.items()), op.weight_sparsity,
            op.weight_format, op.bias, op.latent_kv, tuple(sorted(op.stats.items(), key=str)), op.kernels,
        )  # fmt: skip
        first, times = found.get(key, (op, 0))
        found[key] = first, times + 1
    return [Repeated(op, times) for op, times in found.values()]


def _resident_bytes(op: Op) -> int:
    stated = op.stats.get("parameter_bytes")
    return int(stated) if stated is not None else int(op.definition.resident_bytes(op))


def _row_bytes(op: Op) -> int:
    """Bytes that one token of one sequence adds to the cache of an attention."""
    kept = op.stats.get(CACHED_ELEMENTS)
    if kept is not None:
        return bytes_of(int(kept), cache_type(op))
    return AttentionKind().cache_bytes(op, 1) // op.dims["batch"]
