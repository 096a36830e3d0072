# SPDX-License-Identifier: Apache-2.0
"""A small mixture-of-experts language model, trained here in minutes on one CPU thread.

Its router is trained and load-balanced, so that its routing may be called recorded. Bytes in, bytes
out; four Mixtral layers (Jiang et al., arXiv:2401.04088) of eight experts, two a token, with the
load-balancing loss of Switch Transformers (Fedus et al., arXiv:2101.03961, equation 4) in each
layer: over all layers together, as transformers has it, one layer's favourites make up for
another's and none is balanced. The text is Python's own language reference as ``pydoc_data``
carries it; every tenth topic is held out. ``python -m simsparse.models.tiny_moe`` trains it and prints what came out.
"""

from __future__ import annotations

import hashlib
import math
import platform
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch

from simsparse.core import Trace
from simsparse.errors import TraceError
from simsparse.models.versions import versions
from simsparse.trace.capture.tracing import trace_model
from simsparse.trace.statistics.routing_facts import routing_facts

STEPS, BATCH, LENGTH, SEED = 800, 16, 128, 0
PEAK_RATE, WARM_UP, WEIGHT_DECAY = 2e-3, 50, 0.1
BALANCE_WEIGHT = 0.02
HOLD_OUT_EVERY = 10
SHAPE = {
    "vocab_size": 256, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_local_experts": 8, "num_experts_per_tok": 2, "max_position_embeddings": 1024,
}  # fmt: skip


@dataclass(frozen=True)
class Corpus:
    """Bytes to train on and bytes held out, and the digest of both."""

    training: bytes
    held_out: bytes
    sha256: str


def corpus() -> Corpus:
    """Python's language reference, topic by topic. Raises TraceError where Python lacks it."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise TraceError("this Python has no pydoc_data; install its full standard library", key="tiny-moe") from error
    texts = [topics[name].encode() for name in sorted(topics)]
    held_out = b"".join(texts[::HOLD_OUT_EVERY])
    training = b"".join(text for i, text in enumerate(texts) if i % HOLD_OUT_EVERY)
    return Corpus(training, held_out, hashlib.sha256(training + held_out).hexdigest())


def build_tiny_moe(seed: int = SEED) -> torch.nn.Module:
    """The model before training."""
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(seed)
    config = MixtralConfig(**SHAPE, output_router_logits=True, router_aux_loss_coef=0.0, attention_dropout=0.0)
    model: torch.nn.Module = MixtralForCausalLM(config)
    return model


@lru_cache(maxsize=1)
def trained_tiny_moe(steps: int = STEPS) -> torch.nn.Module:
    """The model after ``steps`` of training, in evaluation mode; trained once a process."""
    model = build_tiny_moe()
    for _ in train(model, steps):
        pass
    return model.eval()


def train(model: torch.nn.Module, steps: int, seed: int = SEED) -> Iterator[float]:
    """Train in place with AdamW; yields the loss of each step, balance included.

    The rate rises for WARM_UP steps and falls to a tenth of its peak on a cosine. One thread, and a
    seed of its own for the batches: the same versions on the same kind of CPU give the same weights.
    """
    text = torch.frombuffer(bytearray(corpus().training), dtype=torch.uint8).long()
    places = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), PEAK_RATE, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * _rate(step, steps)
        starts = torch.randint(0, len(text) - LENGTH, (BATCH, 1), generator=places)
        batch = text[starts + torch.arange(LENGTH)]
        with one_thread():
            out = model(input_ids=batch, labels=batch)
            loss = out.loss + BALANCE_WEIGHT * balance_loss(out.router_logits)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


def balance_loss(router_logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean over layers of experts x sum of (share of assignments x mean probability); 1 when balanced.

    ``router_logits``: a layer each, (tokens, experts). Source: arXiv:2101.03961, equation 4, with the
    share taken over a token's top two.
    """
    losses = []
    for logits in router_logits:
        experts = logits.shape[-1]
        chosen = logits.topk(SHAPE["num_experts_per_tok"], dim=-1).indices
        share = torch.nn.functional.one_hot(chosen, experts).double().mean(dim=(0, 1)).to(logits.dtype)
        losses.append(experts * (share * logits.softmax(dim=-1).mean(dim=0)).sum())
    return torch.stack(losses).mean()


def _rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / WARM_UP)
    return warm * (0.55 + 0.45 * math.cos(math.pi * step / steps))


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it torch computes on one thread, so that sums are always added in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def held_out_bits(model: torch.nn.Module) -> float:
    """Bits a byte that the model needs for the held-out text, in windows of LENGTH bytes."""
    windows = _windows(LENGTH)
    with torch.no_grad(), one_thread():
        logits = torch.cat([model(input_ids=part, output_router_logits=False).logits for part in windows.split(64)])
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), windows[:, 1:].flatten())
    return float(loss) / math.log(2)


def byte_entropy() -> float:
    """Bits a byte of the held-out text under the byte frequencies of the training text: the floor of guessing."""
    text = corpus()
    seen, total = Counter(text.training), len(text.training)
    return -sum(math.log2((seen[byte] + 1) / (total + 256)) for byte in text.held_out) / len(text.held_out)


def _windows(length: int) -> torch.Tensor:
    text = torch.frombuffer(bytearray(corpus().held_out), dtype=torch.uint8).long()
    return text[: len(text) // length * length].reshape(-1, length)


def tiny_moe_trace(batch: int, seq: int) -> Trace:
    """A prefill of ``batch`` texts of ``seq`` bytes from all over the held-out text, its routing recorded.

    Raises TraceError when the held-out text is shorter than that.
    """
    windows = _windows(seq)
    if batch > len(windows):
        raise TraceError(f"{batch} texts of {seq} bytes; the held-out text has {len(windows)}", key="batch")
    model = trained_tiny_moe()
    facts = {
        "steps": STEPS, "batch": BATCH, "length": LENGTH, "seed": SEED,
        "command": "python -m simsparse.models.tiny_moe",
        "python": platform.python_version(),
        "corpus": "pydoc_data.topics", "corpus_sha256": corpus().sha256,
        "held_out_bits_per_byte": round(held_out_bits(model), 3), "byte_entropy": round(byte_entropy(), 3),
    }  # fmt: skip
    inputs = {"input_ids": windows[:: len(windows) // batch][:batch], "output_router_logits": False}
    with one_thread():
        trace = trace_model(
            model, inputs, "prefill", name=f"tiny-moe-prefill-b{batch}-s{seq}", weights="trained", routing="model",
            meta={"model": "tiny-moe", "batch": batch, "seq": seq, "training": facts, **versions()},
        )  # fmt: skip
    return Trace(trace.name, trace.ops, {**trace.meta, "routing_facts": routing_facts(trace)})


def main() -> int:
    """Train, saying how the loss falls, then what the router does with held-out text."""
    model = build_tiny_moe()
    for step, loss in enumerate(train(model, STEPS), 1):
        if step % 50 == 0:
            sys.stdout.write(f"step {step} of {STEPS}: loss {loss:.3f}\n")
            sys.stdout.flush()
    sys.stdout.write(f"held-out text: {held_out_bits(model.eval()):.3f} bits a byte; ")
    sys.stdout.write(f"byte frequencies alone: {byte_entropy():.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
