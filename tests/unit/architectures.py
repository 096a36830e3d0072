# SPDX-License-Identifier: Apache-2.0
"""Small models of many architectures, and the share of their work that a trace does not understand.

``python tests/unit/architectures.py`` lists the share of ``other`` ops in bytes and FLOPs.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import torch
import transformers

from simsparse.core import OpKind, Trace
from simsparse.trace import trace_model

TEXT = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 256, "head_dim": 16, "max_position_embeddings": 128, "pad_token_id": 0,
    "d_model": 64, "n_embd": 64, "n_layer": 2, "n_head": 4, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128,
    "num_layers": 2, "num_heads": 4, "d_ff": 128, "d_kv": 16, "ffn_dim": 128, "num_local_experts": 4,
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_routed_experts": 4,
    "shared_expert_intermediate_size": 64, "embedding_size": 64, "dim": 64, "hidden_dim": 128, "n_heads": 4,
    "n_layers": 2, "word_embed_proj_dim": 64, "rotary_dim": 8,
}  # fmt: skip
LATENT = {"n_group": 1, "topk_group": 1, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8,
          "qk_nope_head_dim": 16, "v_head_dim": 16, "first_k_dense_replace": 1, "head_dim": None,
          "num_key_value_heads": 4}  # fmt: skip
CAUSAL = (
    "llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3_text", "phi",
    "phi3", "opt", "gpt2", "gpt_neo", "gpt_neox", "gptj", "gpt_bigcode", "bloom", "falcon", "codegen", "stablelm",
    "starcoder2", "cohere", "cohere2", "olmo", "olmo2", "olmoe", "granite", "granitemoe", "nemotron", "persimmon",
    "mamba", "mamba2", "deepseek_v2", "deepseek_v3", "llama4_text", "gpt_oss", "glm", "glm4", "smollm3", "helium",
    "ernie4_5", "biogpt", "xglm",
)  # fmt: skip
ENCODERS = ("bert", "roberta", "distilbert", "electra", "albert", "deberta-v2", "mpnet", "modernbert", "esm")
PAIRS = ("t5", "bart", "pegasus", "mbart", "marian", "switch_transformers")
IMAGES = ("vit", "deit", "beit", "dinov2", "swin", "convnext", "resnet", "mobilenet_v2", "regnet", "poolformer")
VISION: dict[str, dict[str, Any]] = {
    "swin": {"embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "image_size": 32},
    "convnext": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "image_size": 32},
    "resnet": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "embedding_size": 16},
    "regnet": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "embedding_size": 16, "groups_width": 8},
    "mobilenet_v2": {}, "poolformer": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]},
}  # fmt: skip
SPECIAL: dict[str, dict[str, Any]] = {
    "deepseek_v2": LATENT, "deepseek_v3": LATENT,
    "llama4_text": {"attention_chunk_size": 8, "intermediate_size_mlp": 128},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_heads": 4, "intermediate_size": 128},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1, "chunk_size": 16}, "mamba": {},
    "codegen": {"n_positions": 128}, "esm": {"mask_token_id": 3}, "switch_transformers": {"num_heads": 4},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 16},
}  # fmt: skip

ON_CPU = ("gpt2", "deberta-v2")
"""They read values while they run, which the meta device has not."""


class Share(NamedTuple):
    """Parts of a trace's bytes and FLOPs that are in ``other`` ops, and the names of these."""

    bytes: float
    flops: float
    names: tuple[str, ...]


def share(trace: Trace) -> Share:
    odd = [op for op in trace.ops if op.kind == OpKind.OTHER]
    moved, done = sum(op.min_bytes for op in trace.ops), sum(op.flops for op in trace.ops)
    return Share(
        sum(op.min_bytes for op in odd) / max(1, moved), sum(op.flops for op in odd) / max(1, done),
        tuple(sorted({op.label for op in odd})),
    )  # fmt: skip


def small(name: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A small model of the architecture ``name``, on the meta device where it can run, and inputs for one pass."""
    transformers.logging.set_verbosity_error()
    with torch.device("cpu" if name in ON_CPU else "meta"):
        if name in IMAGES:
            config = _config(name, VISION.get(name, {**TEXT, "image_size": 32, "patch_size": 8}))
            size = getattr(config, "image_size", 32)
            model = transformers.AutoModel.from_config(config)
            return model, {"pixel_values": torch.zeros(2, 3, size, size)}
        config = _config(name, {**TEXT, **SPECIAL.get(name, {})})
        auto = transformers.AutoModelForCausalLM if name in CAUSAL else transformers.AutoModel
        model = auto.from_config(config)
        ids = {"input_ids": torch.zeros(2, 32, dtype=torch.long)}
        return model, ids | ({"decoder_input_ids": ids["input_ids"]} if name in PAIRS else {})


def _config(name: str, wanted: dict[str, Any]) -> Any:
    """The default configuration of ``name`` with those of the ``wanted`` sizes that it knows."""
    known = transformers.AutoConfig.for_model(name)
    names = {*known.to_dict(), *getattr(known, "attribute_map", {})}
    given = {key: value for key, value in wanted.items() if key in names}
    mapped = {known.attribute_map.get(key, key): value for key, value in given.items()}
    return transformers.AutoConfig.for_model(name, **{k: v for k, v in mapped.items() if v is not None})


def architectures() -> tuple[str, ...]:
    return (*CAUSAL, *ENCODERS, *PAIRS, *IMAGES)


def measured(name: str) -> Share:
    """The share of ``other`` ops in one pass of the architecture ``name``."""
    model, inputs = small(name)
    return share(trace_model(model, inputs))


if __name__ == "__main__":
    for name in sys.argv[1:] or architectures():
        found = measured(name)
        print(f"{name:22} bytes {found.bytes:8.4%}  FLOPs {found.flops:8.4%}  {' '.join(found.names)}", flush=True)
