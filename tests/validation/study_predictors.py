# SPDX-License-Identifier: Apache-2.0
"""Traces of decoding with predictors of heads and neurons beside the exchanges. No torch needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simsparse.core import Trace, TraceBuilder, ops
from simsparse.core.kinds.collective import collective

HALF = 2
"""Bytes of a value of 16 bits."""


@dataclass(frozen=True)
class Rank:
    """One of eight ranks of OPT-30B with half of its heads and neurons, a cache of ``kv_len`` tokens.

    ``ahead``: one predictor in the first layer serves all layers (ShadowLLM), in place of two in each (Deja Vu). Sizes
    are those of OPT-30B and of ShadowLLM's repository: whole numbers of heads on each rank, predictors 2,048 wide. A
    quarter of the 48 layers stands for all, without the head, so that a run takes seconds.
    """

    ahead: bool
    ranks: int = 8
    layers: int = 12
    width: int = 7168
    head_dim: int = 128
    heads: int = 7
    used_heads: int = 3
    neurons: int = 3584
    used_neurons: int = 1792
    predictor: int = 2048
    kv_len: int = 192


def step(name: str, r: Rank) -> Trace:
    """A token of one sequence on a rank; a predictor starts with the exchange, and the next op waits for both."""
    builder = TraceBuilder(name, phase="decode", batch=1, kv_len=r.kv_len, written="study_predictors.py")
    for i in range(r.layers):
        at = f"layers.{i}"
        _moved(builder, f"{at}.norm1", r.width)
        used = r.used_heads * r.head_dim
        _linear(builder, f"{at}.qkv", 3 * used, r.width)
        _moved(builder, f"{at}.kv_append", 2 * used)
        builder.add(ops.attention(1, r.heads, r.heads, r.head_dim, 1, r.kv_len + 1, dtype="fp16",
                                  name=f"{at}.attention", module=at))  # fmt: skip
        _linear(builder, f"{at}.out", r.width, used)
        _exchanged(builder, r, at, i, "heads", r.heads, r.used_heads)
        _linear(builder, f"{at}.up", r.used_neurons, r.width)
        _moved(builder, f"{at}.relu", r.used_neurons)
        _linear(builder, f"{at}.down", r.width, r.used_neurons)
        _exchanged(builder, r, at, i, "neurons", r.neurons, r.used_neurons)
    return builder.build()


def _exchanged(builder: TraceBuilder, r: Rank, at: str, layer: int, what: str, held: int, used: int) -> None:
    """An all-reduce, beside it the predictor of ``what`` if any, then the sum, a norm and the choice of the largest."""
    product = builder.last
    builder.add(collective("all_reduce", HALF * r.width, r.ranks, group="node", name=f"{at}.{what}.sum", dtype="fp16"))
    both = [builder.last]
    if layer == 0 or not r.ahead:
        outputs = held * (r.layers - 1) if r.ahead else held
        _linear(builder, f"{at}.{what}.predict_down", r.predictor, r.width, [product])
        _linear(builder, f"{at}.{what}.predict_up", outputs, r.predictor)
        both.append(builder.last)
    builder.add(ops.topk(1, held, used, "fp16", name=f"{at}.{what}.chosen", module=at), both)
    _moved(builder, f"{at}.{what}.add_norm", 2 * r.width)


def _linear(builder: TraceBuilder, name: str, n: int, k: int, deps: list[str] | None = None) -> None:
    builder.add(ops.linear(1, n, k, "fp16", name=name, module=name), deps)


def _moved(builder: TraceBuilder, name: str, elements: int) -> None:
    builder.add(ops.elementwise(HALF * elements, HALF * elements, elements, "fp16", name=name))


PREDICTED: Mapping[str, Callable[[], Trace]] = {
    "opt-30b-deja-vu": lambda: step("opt-30b-deja-vu", Rank(False)),
    "opt-30b-shadowllm": lambda: step("opt-30b-shadowllm", Rank(True)),
}
