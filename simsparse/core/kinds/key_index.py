# SPDX-License-Identifier: Apache-2.0
"""An index of cached keys: a cheap score of every key for each query, and the best of them, which attention reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS, Gemm, Kind, Unit, flag, positive
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of

SCORE_BYTES = 4
"""Bytes of a score: fp32."""
SUM_FLOPS = 3
"""Vector operations per score of a head: cut below zero, weighted, summed. Source: DeepSeek-V3.2's index."""


def key_index(
    batch: int, heads: int, head_dim: int, q_len: int, kv_len: int, selected: int, causal: bool = True,
    dtype: str | DType = "fp8", *, name: str = "key_index", **fields: Any,
) -> Op:  # fmt: skip
    """The ``selected`` best (fewer where fewer are there) of ``kv_len`` cached keys for each of ``q_len`` queries.

    A key's score is the weighted sum over ``heads`` of its product with the query, cut below zero; all heads share one
    key of ``head_dim`` per token. With ``causal``, query i chooses among the keys up to kv_len - q_len + i. Raises
    SpecError on a bad dim or dtype.
    """
    dims = {**positive(batch=batch, heads=heads, head_dim=head_dim, q_len=q_len, kv_len=kv_len, selected=selected),
            "causal": flag("causal", causal)}  # fmt: skip
    return Op(KEY_INDEX.name, name, dims, DType.parse(dtype), **fields).checked()


class KeyIndexKind(Kind):
    """Products of all heads of a query with one key per token, summed over the heads, of which the best are chosen."""

    name = "key_index"
    dims = ("batch", "heads", "head_dim", "q_len", "kv_len", "selected", "causal")
    batch_dims = ("batch",)
    flags = frozenset({"causal"})
    unit = Unit.MATRIX

    @property
    def factory(self) -> Callable[..., Op]:
        return key_index

    def examples(self, dtype: str) -> list[Op]:
        return [
            key_index(4, 64, 128, 1, 4096, 2048, dtype=dtype, name="decode"),
            key_index(1, 32, 64, 512, 512, 64, dtype=dtype, name="of-a-prompt"),
        ]

    def products(self, op: Op) -> tuple[Gemm, ...]:
        """One product per sequence, every score computed; scores are written to be chosen from."""
        d, size = op.dims, op.dtype.bits / 8
        rows, keys, width = d["heads"] * d["q_len"], d["kv_len"], d["head_dim"]
        written = d["q_len"] * keys * SCORE_BYTES
        return (Gemm(d["batch"], rows, keys, width, keys * width * size, rows * width * size, written),)

    def scores(self, op: Op) -> int:
        """Keys that are scored: one per query and key that it may see, in all sequences."""
        d = op.dims
        queries, keys = d["q_len"], d["kv_len"]
        if not d["causal"]:
            return d["batch"] * queries * keys
        seen = queries * keys - queries * (queries - 1) // 2 if queries <= keys else keys * (keys + 1) // 2
        return d["batch"] * seen

    def dense_macs(self, op: Op) -> int:
        """Multiply-accumulates of the scores."""
        return self.scores(op) * op.dims["heads"] * op.dims["head_dim"]

    def useful_macs(self, op: Op) -> int:
        return self.dense_macs(op)

    def vector_flops(self, op: Op) -> int:
        """Sums over heads, and a comparison of each score with the chosen ones, by binary search (a lower bound)."""
        return self.scores(op) * (SUM_FLOPS * op.dims["heads"] + op.dims["selected"].bit_length())

    def kv_bytes(self, op: Op) -> int:
        """The keys of all cached tokens."""
        return bytes_of(op.dims["batch"] * op.dims["kv_len"] * op.dims["head_dim"], op.dtype)

    def after_tokens(self, op: Op, tokens: int) -> Op:
        """With ``tokens`` more cached keys."""
        return op.with_(dims={**op.dims, "kv_len": op.dims["kv_len"] + tokens})

    def input_bytes(self, op: Op) -> int:
        d = op.dims
        return bytes_of(d["batch"] * d["q_len"] * d["heads"] * d["head_dim"], op.dtype) + self.kv_bytes(op)

    def output_bytes(self, op: Op) -> int:
        """The places of the chosen keys."""
        return op.dims["batch"] * op.dims["q_len"] * op.dims["selected"] * INDEX_BYTES


INDEX_BYTES = 4
"""Bytes of the place of a chosen key. Source: vLLM 0.22, int32."""
KEY_INDEX = KeyIndexKind()
KINDS.register(KEY_INDEX.name)(KEY_INDEX)
