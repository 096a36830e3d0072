# SPDX-License-Identifier: Apache-2.0
"""Multi-head latent attention in the absorbed form that serving engines decode with.

The keys and values of all heads are products of one cached latent with the up-projection. Instead
of expanding the cache, a step multiplies its queries by the keys' half of the projection, attends
on the latent itself, and multiplies the result by the values' half (DeepSeek-AI, DeepSeek-V2,
arXiv:2405.04434, section 2.1). All heads read the same latent, keys and values alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from simsparse.core.kinds.attention import attention
from simsparse.core.kinds.linear import linear
from simsparse.trace.capture.event import EventRole
from simsparse.trace.capture.label import path_join
from simsparse.trace.capture.recorder import Capture

FORMS = ("naive", "absorbed")
Latent = tuple[torch.Tensor, torch.Tensor]


def latent_modules(model: torch.nn.Module) -> list[Any]:
    """The modules of latent attention in ``model``: those with a rank of keys and values, and an expansion."""
    return [module for module in model.modules() if hasattr(module, "kv_lora_rank") and hasattr(module, "expand_kv")]


@contextmanager
def absorbing(model: torch.nn.Module, capture: Capture) -> Iterator[dict[Any, Latent]]:
    """Within it, the expansion of cached latents is not recorded; yields the latent of each module that did one."""
    seen: dict[Any, Latent] = {}
    modules = latent_modules(model)
    for module in modules:
        module.expand_kv = partial(_expand, capture, seen, module)
    try:
        yield seen
    finally:
        for module in modules:
            del module.expand_kv


def _expand(
    capture: Capture, seen: dict[Any, Latent], module: Any, latent: torch.Tensor, rope: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    seen[module] = (latent, rope)
    with capture.paused():
        expanded: tuple[torch.Tensor, torch.Tensor] = type(module).expand_kv(module, latent, rope)
    return expanded


def record_absorbed(
    capture: Capture, module: Any, query: torch.Tensor, latent: Latent, out: torch.Tensor, *, causal: bool
) -> None:
    """Record one absorbed attention: the queries' product, attention on the latent, the values' product.

    Shapes: query (batch, heads, q_len, nope + rope), latent (batch, 1, kv_len, rank) and (batch, 1,
    kv_len, rope).
    """
    batch, heads, q_len, _ = query.shape
    compressed, rope = latent
    rank, kv_len, dtype, path = compressed.shape[-1], compressed.shape[-2], capture.dtype(query), capture.module
    weight, nope = module.kv_b_proj.weight, module.qk_nope_head_dim
    name, by_head = capture.weight_name(weight), weight.view(heads, -1, rank)
    halves = {"absorb_key": by_head[:, :nope].transpose(1, 2), "absorb_value": by_head[:, nope:]}
    queries, mixed = (torch.empty(batch, heads, q_len, rank, dtype=query.dtype, device="meta") for _ in range(2))

    def product(label: str, source: torch.Tensor, made: torch.Tensor) -> None:
        half = halves[label]
        with capture.paused():
            sparsity, stats = capture.weight_facts(half.reshape(-1, half.shape[-1]))
        op = linear(
            batch * q_len, half.shape[1], half.shape[2], dtype, groups=heads, weight_sparsity=sparsity,
            name=path_join(path, label), module=path, label=label, weight=name, stats={**stats, "weight_part": label},
        )  # fmt: skip
        reads = [capture.access(source), capture.access(half)]
        capture.add(EventRole.OWN, "absorb", reads, [made], op=op, weights=[weight])

    product("absorb_key", query, queries)
    op = attention(
        batch, heads, 1, rank + rope.shape[-1], q_len, kv_len, causal, dtype, v_head_dim=rank, latent_kv=True,
        name=path_join(path, "attention"), module=path,
    )  # fmt: skip
    reads = [capture.access(tensor) for tensor in (queries, query, compressed, rope)]
    capture.add(EventRole.OWN, "attention", reads, [mixed], op=op)
    product("absorb_value", mixed, out)
