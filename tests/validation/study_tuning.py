# SPDX-License-Identifier: Apache-2.0
"""Traces of tuning with adapters, where most tokens use a part of the frozen weights. No torch needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simsparse.core import Op, Trace, TraceBuilder, ops
from simsparse.models.gpt import backward

HALF = 2
"""Bytes of a value of 16 bits."""
RANK, SVD_RANK = 32, 8
"""Of an adapter and of the estimator. Source: SparseLoRA's repository."""
WIDTH, KV, FFN, VOCABULARY, LAYERS, HEADS, KV_HEADS = 4096, 1024, 14_336, 128_256, 32, 32, 8
"""Llama-3-8B. Source: arXiv:2407.21783, table 3."""
SPARSE_FFN = range(3, 31)
SPARSE_ATTENTION = tuple(i for i in range(14, 30) if i not in (20, 24))
"""Layers that use a part of their weights. Source: SparseLoRA's repository, llama3-8b-math10k.yaml."""


@dataclass(frozen=True)
class Tuning:
    """A step on ``sequences`` of ``length`` tokens, of which the last ``answer`` always use all weights.

    ``ffn`` and ``attention``: the share of channels that the others use in the layers above; 1 is plain LoRA. Lengths
    are those that the repository times for Math10K.
    """

    ffn: float = 1.0
    attention: float = 1.0
    sequences: int = 8
    length: int = 512
    answer: int = 128

    @property
    def tokens(self) -> int:
        return self.sequences * self.length

    @property
    def whole(self) -> int:
        """Tokens that use all weights."""
        return self.sequences * self.answer


class _Step:
    """Collects the forward pass; ``trained`` names what gets gradients of weights."""

    def __init__(self, t: Tuning) -> None:
        self.t, self.ops, self.trained = t, list[Op](), set[str]()

    def linear(self, name: str, m: int, n: int, k: int, weight: str = "") -> None:
        self.ops.append(ops.linear(m, n, k, name=name, module=name, weight=f"{weight or name}.weight", label="fwd"))

    def moved(self, name: str, read: int, written: int) -> None:
        """An elementwise op; sizes in elements."""
        self.ops.append(ops.elementwise(HALF * read, HALF * written, written, label="fwd moved", name=name))

    def adapter(self, name: str, n: int, k: int) -> None:
        for part, rows, cols in (("lora_a", RANK, k), ("lora_b", n, RANK)):
            self.linear(f"{name}.{part}", self.t.tokens, rows, cols)
            self.trained.add(f"{name}.{part}")
        self.moved(f"{name}.lora_add", 2 * self.t.tokens * n, self.t.tokens * n)

    def projection(self, name: str, n: int, k: int, used: tuple[int, int]) -> None:
        """A product of all tokens, or of most with ``used`` (n, k) and of the others with all."""
        t = self.t
        if used == (n, k):
            self.linear(name, t.tokens, n, k)
            return
        few = t.tokens - t.whole
        self.moved(f"{name}.gathered", used[0] * used[1], used[0] * used[1])
        if used[1] < k and not name.endswith("down_proj"):  # whose inputs are narrow already
            self.moved(f"{name}.inputs", few * used[1], few * used[1])
        self.linear(name, t.whole, n, k)
        self.linear(f"{name}.part", few, *used, weight=name)

    def estimate(self, at: str, rows: int, n: int, products: int, chosen: int) -> None:
        """The estimator: factors of low rank, norms and a sort."""
        for part in range(products):
            self.linear(f"{at}.estimate{part}.down", rows, SVD_RANK, WIDTH)
            self.linear(f"{at}.estimate{part}.up", rows, n, SVD_RANK)
        self.ops.append(ops.topk(1, n, chosen, name=f"{at}.chosen"))


def tuning(name: str, t: Tuning) -> Trace:
    """Forward pass, gradients of inputs and of the adapters, and Adam's updates of these."""
    step = _Step(t)
    for i in range(LAYERS):
        _attention(step, f"layers.{i}.self_attn", t.attention if i in SPARSE_ATTENTION else 1.0)
        _feed_forward(step, f"layers.{i}.mlp", t.ffn if i in SPARSE_FFN else 1.0)
    step.linear("lm_head", t.tokens, VOCABULARY, WIDTH)
    step.moved("loss", t.tokens * VOCABULARY, t.tokens)
    builder = TraceBuilder(name, phase="train", batch=t.sequences, written="study_tuning.py")
    for op in step.ops:
        builder.add(op)
    for op in reversed(step.ops):
        if "estimate" in op.name or op.name.endswith((".chosen", ".gathered")):
            continue
        for each in backward(op):
            if each.label != "bwd_weight" or op.name in step.trained:
                builder.add(each, [str(builder.last), op.name])
    for op in step.ops:
        if op.name in step.trained:
            size = 7 * op.resident_bytes
            builder.add(ops.elementwise(size, size, size, label="update", name=f"{op.name}.update", module=op.module))
    return builder.build()


def _attention(step: _Step, at: str, share: float) -> None:
    t, few = step.t, step.t.tokens - step.t.whole
    step.moved(f"{at}.norm", t.tokens * WIDTH, t.tokens * WIDTH)
    if share < 1:
        step.estimate(at, t.tokens, KV, 3, int(KV * share))
    for part, n in (("q_proj", WIDTH), ("k_proj", KV), ("v_proj", KV)):
        used = int(n * share)
        step.projection(f"{at}.{part}", n, WIDTH, (used, WIDTH))
        if share < 1:
            step.moved(f"{at}.{part}.scattered", few * used + t.tokens * n, (few + t.tokens) * n)
        step.adapter(f"{at}.{part}", n, WIDTH)
    step.moved(f"{at}.rope", t.tokens * (WIDTH + KV), t.tokens * (WIDTH + KV))
    step.ops.append(ops.attention(t.sequences, HEADS, KV_HEADS, WIDTH // HEADS, t.length, t.length, name=f"{at}.attend",
                                  module=at, label="fwd"))  # fmt: skip
    step.projection(f"{at}.o_proj", WIDTH, WIDTH, (WIDTH, int(WIDTH * share)))
    if share < 1:
        step.moved(f"{at}.joined", t.tokens * WIDTH, t.tokens * WIDTH)
    step.adapter(f"{at}.o_proj", WIDTH, WIDTH)
    step.moved(f"{at}.residual", 2 * t.tokens * WIDTH, t.tokens * WIDTH)


def _feed_forward(step: _Step, at: str, share: float) -> None:
    t, used = step.t, int(FFN * share)
    inner = t.whole * FFN + (t.tokens - t.whole) * used
    step.moved(f"{at}.norm", t.tokens * WIDTH, t.tokens * WIDTH)
    if share < 1:
        step.estimate(at, t.sequences, FFN, 2, used)
        step.moved(f"{at}.split", t.tokens * WIDTH, t.tokens * WIDTH)
    for part in ("gate_proj", "up_proj"):
        step.projection(f"{at}.{part}", FFN, WIDTH, (used, WIDTH))
    step.moved(f"{at}.act", 2 * inner, inner)
    step.projection(f"{at}.down_proj", WIDTH, FFN, (WIDTH, used))
    if share < 1:
        step.moved(f"{at}.joined", t.tokens * WIDTH, t.tokens * WIDTH)
    step.moved(f"{at}.residual", 2 * t.tokens * WIDTH, t.tokens * WIDTH)


TUNED: Mapping[str, Callable[[], Trace]] = {
    "llama3-8b-lora": lambda: tuning("llama3-8b-lora", Tuning()),
    "llama3-8b-sparselora": lambda: tuning("llama3-8b-sparselora", Tuning(0.01, 0.25)),
}
