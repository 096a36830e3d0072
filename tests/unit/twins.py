# SPDX-License-Identifier: Apache-2.0
"""Small models of the families that are traced, with random weights: quick to run on a CPU, eager or traced."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from simsparse.core import Op, Trace

BASE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 100}  # fmt: skip
MOE = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 96, "head_dim": 16}
LATENT = {
    "n_routed_experts": 8, "moe_intermediate_size": 32, "kv_lora_rank": 16, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16, "v_head_dim": 12, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2,
    "first_k_dense_replace": 1, "num_key_value_heads": 4, "n_shared_experts": 1,
}  # fmt: skip
SWITCH = {
    "d_model": 32, "d_ff": 64, "d_kv": 8, "num_heads": 4, "num_layers": 2, "num_decoder_layers": 2,
    "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1, "num_experts": 4, "vocab_size": 50,
}  # fmt: skip


def causal(family: str, device: str = "cpu", **shape: Any) -> Any:
    """A decoder of transformers' ``family``."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **{**BASE, **shape})
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def switch(device: str = "cpu", **shape: Any) -> Any:
    """An encoder-decoder with one layer of experts in each half."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model("switch_transformers", **{**SWITCH, **shape})
    with torch.device(device):
        return transformers.AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32).eval()


def tokens(batch: int = 2, length: int = 12, vocab: int = 50) -> Any:
    """Token ids, the same ones every time."""
    return torch.randint(0, vocab, (batch, length), generator=torch.Generator().manual_seed(1))


def ops_of(trace: Trace, kind: str, word: str = "") -> list[Op]:
    """The ops of a kind whose label has ``word`` among its words."""
    return [op for op in trace.ops if op.kind == kind and (not word or word in op.label.split())]


def flops_of(trace: Trace, kind: str, word: str = "") -> int:
    """FLOPs of those ops."""
    return sum(op.flops for op in ops_of(trace, kind, word))


def counted(run: Any) -> int:
    """What torch's FlopCounterMode counts of calling ``run``."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())
