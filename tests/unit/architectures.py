# SPDX-License-Identifier: Apache-2.0
"""Small models of many architectures, and the share of their work that a trace does not understand.

``python tests/unit/architectures.py`` lists the share of ``other`` ops in bytes and FLOPs, of a pass, a decode step and
a training step; those of torchvision where it is installed.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
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

TORCHVISION = (
    "alexnet",
    "vgg11",
    "squeezenet1_1",
    "densenet121",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "regnet_y_400mf",
    "resnet18",
    "resnext50_32x4d",
    "convnext_tiny",
    "swin_t",
    "swin_v2_t",
    "vit_b_16",
    "maxvit_t",
    "fcn_resnet50",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
    "r3d_18",
    "s3d",
    "mvit_v2_s",
    "raft_small",
)
VIDEOS = ("r3d_18", "s3d", "mvit_v2_s")

ON_CPU = ("gpt2", "deberta-v2", "gpt_neo", "gptj", "codegen", "torchvision/regnet_y_400mf")
"""They read values while they run, which the meta device has not."""


class Share(NamedTuple):
    """Parts of a trace's bytes and FLOPs that are in ``other`` ops, and the names of these."""

    bytes: float
    flops: float
    names: tuple[str, ...]


@lru_cache(maxsize=1)
def has_torchvision() -> bool:
    """Whether torchvision can be imported; its own kernels, which no model here calls, may be built for another torch.

    Torchvision of a package index is built for CUDA. Beside torch for the CPU its library does not load, and it
    describes operators that are then missing: they are declared first.
    """
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        import torchvision
    except RuntimeError:
        for schema in ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
                       "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"):  # fmt: skip
            torch.library.define(f"torchvision::{schema.partition('(')[0]}", f"({schema.partition('(')[2]}")
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        import torchvision  # noqa: F401
    return True


def vision(name: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """torchvision's model of that name without weights, and images or a video for one pass."""
    from torchvision import models

    backbone = {"weights_backbone": None} if name.startswith(("fcn", "deeplab", "lraspp")) else {}
    if name in ("googlenet", "inception_v3"):
        backbone = {"init_weights": False}
    with torch.device("cpu" if f"torchvision/{name}" in ON_CPU else "meta"):
        model = models.get_model(name, weights=None, **backbone)
        size = {"inception_v3": 299, "raft_small": 128}.get(name, 224)
        frames = (16,) if name in VIDEOS else ()
        return model, (torch.zeros(2, 3, *frames, size, size),) * (2 if name == "raft_small" else 1)


def share(trace: Trace) -> Share:
    odd = [op for op in trace.ops if op.kind == OpKind.OTHER]
    moved, done = sum(op.min_bytes for op in trace.ops), sum(op.flops for op in trace.ops)
    return Share(
        sum(op.min_bytes for op in odd) / max(1, moved), sum(op.flops for op in odd) / max(1, done),
        tuple(sorted({op.label for op in odd})),
    )  # fmt: skip


def small(name: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A small model of the architecture ``name``, on the meta device where it can run, and inputs for one pass."""
    has_torchvision()
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


def measured(name: str, phase: Any = "forward") -> Share:
    """The share of ``other`` ops in one pass of the architecture ``name``, one decode step or one training step."""
    kind, _, of_torchvision = name.partition("/")
    if kind == "torchvision":
        return share(trace_model(*vision(of_torchvision), phase))
    model, inputs = small(name)
    if phase != "decode":
        return share(trace_model(model, inputs, phase))
    last = "decoder_input_ids" if name in PAIRS else "input_ids"
    return share(trace_model(model, {**inputs, last: inputs[last][:, :1]}, phase, kv_len=24))


def phases(name: str) -> tuple[str, ...]:
    """The phases in which an architecture is traced."""
    return ("forward", "train", "decode") if name in (*CAUSAL, *PAIRS) else ("forward", "train")


if __name__ == "__main__":
    of_torchvision = tuple(f"torchvision/{name}" for name in TORCHVISION) if has_torchvision() else ()
    for name in sys.argv[1:] or (*architectures(), *of_torchvision):
        for phase in phases(name):
            found = measured(name, phase)
            print(f"{name:36} {phase:8} bytes {found.bytes:8.4%}  FLOPs {found.flops:8.4%}  {' '.join(found.names)}",
                  flush=True)  # fmt: skip
