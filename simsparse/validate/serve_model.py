# SPDX-License-Identifier: Apache-2.0
"""The small server whose runs were measured: Llama-3-8B's layers as plain PyTorch and one Triton kernel launch them.

Source: the rule of the measurements (rules/serve.py of the measured sets), read for what each line launches: a fused
RMS norm, one product for queries, keys and values, a rotary embedding of five kernels, keys and values written by
index, attention on slots in two Triton kernels, one product for gate and up, SiLU and product apart.

Left out: the Triton kernel has no model of its own; attention of one token takes the seconds of the framework's, and
its second kernel those of an elementwise one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simsparse.core import DType, KernelCall, Op, ops
from simsparse.core.kinds.launched import launched
from simsparse.serving.model import Repeated, ServedModel

D, FF, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 4096, 14336, 32, 8, 128, 128256
SIZE = 2
"""Bytes of a bf16 value."""
INDEX = 8
"""Bytes of an index."""


class LoopServer(ServedModel):
    """``layers`` decoder layers and the language head."""

    def __init__(self, layers: int) -> None:
        self.name, self._layers = f"llama3-8b, {layers} layers", layers
        matrices = D * ((HEADS + 2 * KV_HEADS) * HEAD_DIM + HEADS * HEAD_DIM + 3 * FF)
        self.weight_bytes = SIZE * (layers * matrices + 2 * VOCAB * D)
        self.kv_bytes_per_token = layers * 2 * KV_HEADS * HEAD_DIM * SIZE

    def token_ops(self, tokens: int) -> Sequence[Repeated]:
        start = [
            _copied("embedding", tokens, D),
            _copied("index", tokens, HEAD_DIM),
            _copied("index", tokens, HEAD_DIM),
        ]
        return [*(Repeated(op, 1) for op in start), *(Repeated(op, self._layers) for op in _layer(tokens))]

    def head_ops(self, rows: int) -> Sequence[Repeated]:
        sampled = launched(KernelCall("argmax", rows * VOCAB * SIZE, rows * INDEX, 0, DType.BF16, rows, VOCAB))
        return [Repeated(op, 1) for op in (_norm(rows), ops.linear(rows, VOCAB, D, name="head"), sampled)]

    def attention_ops(self, batch: int, queries: int, keys: int) -> Sequence[Repeated]:
        own = ops.attention(batch, HEADS, KV_HEADS, HEAD_DIM, queries, keys, name="attention")
        if queries == 1:
            others = [_moved("attend_join", 2 * batch * D * SIZE, batch * D * SIZE)]
        else:
            written = batch * queries
            others = [_moved("clone", written * width * SIZE, strided=True) for width in (KV_HEADS * HEAD_DIM, D)]
        return [Repeated(op, self._layers) for op in (own, *others)]


def _layer(tokens: int) -> Iterator[Op]:
    """What one layer launches beside attention."""
    row = tokens * D * SIZE
    inner = tokens * FF * SIZE
    yield _norm(tokens)
    yield ops.linear(tokens, (HEADS + 2 * KV_HEADS) * HEAD_DIM, D, name="qkv")
    yield from _rope(tokens, HEADS)
    yield from _rope(tokens, KV_HEADS)
    for _ in ("keys", "values"):
        yield _moved("index_put_", tokens * KV_HEADS * HEAD_DIM * SIZE, strided=True)
    yield ops.linear(tokens, D, HEADS * HEAD_DIM, name="o")
    yield _moved("add", 2 * row, row, fresh=row)
    yield _norm(tokens)
    yield ops.linear(tokens, 2 * FF, D, name="gate_up")
    yield _moved("silu", inner, strided=True)
    yield _moved("mul", 2 * inner, inner, strided=True, fresh=inner)
    yield ops.linear(tokens, D, FF, name="down")
    yield _moved("add", 2 * row, row, fresh=row)


def _rope(tokens: int, heads: int) -> Iterator[Op]:
    """``x * cos + cat(-x2, x1) * sin``; queries and keys lie between each other's rows."""
    turned, table = tokens * heads * HEAD_DIM * SIZE, tokens * HEAD_DIM * SIZE
    yield _moved("mul", turned + table, turned, strided=True)
    yield _moved("neg", turned // 2, strided=True)
    yield _moved("cat", turned)
    yield _moved("mul", turned + table, turned, strided=True, fresh=turned)
    yield _moved("add", 2 * turned, turned, fresh=turned)


def _norm(rows: int) -> Op:
    size = rows * D * SIZE
    return launched(KernelCall("_fused_rms_norm", size, size, 0, DType.BF16, rows, D), size)


def _moved(name: str, read: int, write: int | None = None, *, strided: bool = False, fresh: int = 0) -> Op:
    written = read if write is None else write
    return launched(KernelCall(name, read, written, 0, DType.BF16, written // SIZE, 1, strided), fresh)


def _copied(name: str, rows: int, width: int) -> Op:
    return launched(KernelCall(name, rows * width * SIZE, rows * width * SIZE, 0, DType.BF16, rows, width))
