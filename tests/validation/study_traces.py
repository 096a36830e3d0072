# SPDX-License-Identifier: Apache-2.0
"""Writes traces/studies/: the workloads that the studies run.

Run from the repository's root with torch and transformers: python tests/validation/study_traces.py [NAME ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from study_experts import MIXTURES, STEPS, SWITCHES
from study_layers import BY_HAND, longer
from study_models import MODELS as WRITTEN
from study_offload import OFFLOAD
from study_predictors import PREDICTED
from study_small import SMALL
from study_training import TRAINED
from study_tuning import TUNED
from torch import nn
from transformers import AutoConfig

import simsparse as ss
from simsparse.core import DType, Op, OpKind, Trace, TraceBuilder, ops
from simsparse.models.by_name import MODELS, extract, versions

OUT = Path(__file__).parents[2] / "traces" / "studies"
BF16 = torch.bfloat16


def tokens(batch: int, length: int) -> torch.Tensor:
    return torch.zeros(batch, length, dtype=torch.long, device="meta")


def causal(name: str, family: str, shape: Mapping[str, Any], phase: str, batch: int = 1, length: int = 1,
           kv_len: int | None = None) -> Trace:  # fmt: skip
    """A language model of transformers with the given shape; the head runs on the last position of a prompt."""
    config = AutoConfig.for_model(family, **shape)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=BF16).eval()
        given: dict[str, Any] = {"input_ids": tokens(batch, length)}
        given |= {"logits_to_keep": 1} if phase == "prefill" else {}
    meta = {"shape": dict(shape), "batch": batch, **versions()}
    return ss.trace_model(model, given, phase, name=name, kv_len=kv_len, meta=meta)  # type: ignore[arg-type]


def half(trace: Trace) -> Trace:
    """``trace`` in fp16 in place of bf16."""
    return trace.map(lambda op: op.with_(dtype=DType.FP16, kernels=()) if op.dtype is DType.BF16 else op)


def zoo(model: str, **changes: Any) -> dict[str, Any]:
    return {**MODELS[model].shape, **changes}


def switch_fp32(size: str, experts: int) -> Trace:
    """A step of a Switch decoder in fp32, the type of pre-gated MoE's artefact, for one token."""
    model, name = f"switch-{size}-128", f"switch-{size}-{experts}"
    config = AutoConfig.for_model("switch_transformers", **zoo(model, num_experts=experts))
    with torch.device("meta"):
        made = transformers.SwitchTransformersForConditionalGeneration(config).float().eval()
        given = {"input_ids": tokens(1, 256), "decoder_input_ids": tokens(1, 1)}
    return ss.trace_model(made, given, "decode", name=f"{name}-decode-fp32", kv_len=64, routing="uniform",
                          meta={"model": name, "batch": 1, **versions()})  # fmt: skip


class Opened(nn.Module):
    """A layer behind a learnt addition, so that gradients reach its input as within a deep model."""

    def __init__(self, layer: nn.Module, hidden: int) -> None:
        super().__init__()
        self.layer, self.shift = layer, nn.Parameter(torch.empty(hidden, dtype=BF16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x + self.shift)


DREAM: Mapping[str, Any] = {
    "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "intermediate_size": 18944, "vocab_size": 152064,
}  # fmt: skip
"""Dream-7B, which begins from Qwen2.5-7B (its configuration file)."""


def prompt(model: str, length: int) -> Trace:
    """A prompt of one sequence through a model of the zoo."""
    name = f"{model}-prompt-{length // 1000}k"
    return causal(name, "llama", zoo(model), "prefill", length=length)


def diffusion(name: str, shape: Mapping[str, Any], length: int) -> Trace:
    """A denoising step: all tokens see all tokens, and all positions have logits."""
    made = causal(f"{name}-{length // 1024}k", "qwen2", shape, "forward", length=length)
    return made.map(lambda op: op.with_(dims={**op.dims, "causal": 0}) if op.kind == OpKind.ATTENTION else op)


def attention_alone(name: str, length: int) -> Trace:
    """The attention of one layer of a Llama-3-8B on a prompt."""
    return TraceBuilder(name).add(ops.attention(1, 32, 8, 128, length, length)).build()


def training_layer(name: str, make: Callable[[], nn.Module], batch: int, length: int, hidden: int) -> Trace:
    """Forward and backward pass of one layer within a model, and the update of its weights."""
    with torch.device("meta"):
        model = Opened(make().to(BF16), hidden)
        given = torch.empty(batch, length, hidden, dtype=BF16)
    return ss.trace_model(model, given, "train", name=name, meta={"batch": batch, "seq": length, **versions()})


def attend(layer: nn.Module, x: torch.Tensor, causal: bool) -> torch.Tensor:
    """Attention with the layer's ``q``, ``k``, ``v`` and ``heads``, before its output projection."""
    shape = (*x.shape[:2], layer.heads, -1)
    q, k, v = (project(x).view(*shape).transpose(1, 2) for project in (layer.q, layer.k, layer.v))
    mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return mixed.transpose(1, 2).reshape(x.shape)


class OptLayer(nn.Module):
    """A decoder layer of OPT-66B with full attention."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.q, self.k, self.v, self.out = (nn.Linear(hidden, hidden) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.out(attend(self, self.norm(x), causal=True))
        return x + self.fc2(torch.relu(self.fc1(self.norm2(x))))


def opt_layer_forward() -> Trace:
    with torch.device("meta"):
        layer, given = OptLayer(9216, 72).to(BF16).eval(), torch.empty(1, 2048, 9216, dtype=BF16)
    return ss.trace_model(layer, given, "forward", name="opt-66b-layer", meta={"batch": 1, "seq": 2048, **versions()})


class Split(nn.Module):
    """A linear layer whose first ``live`` input channels alone are trained."""

    def __init__(self, n_in: int, n_out: int, live: int) -> None:
        super().__init__()
        self.live_channels = live
        self.live, self.frozen = nn.Linear(live, n_out, bias=False), nn.Linear(n_in - live, n_out, bias=False)
        self.frozen.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.live(x[..., : self.live_channels]) + self.frozen(x[..., self.live_channels :])


class LlamaLayer(nn.Module):
    """A layer of Llama-2-7B; with ``live`` channels, only so many inputs of the output and down projections train."""

    def __init__(self, live: int = 0, hidden: int = 4096, heads: int = 32, ffn: int = 11008) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.RMSNorm(hidden), nn.RMSNorm(hidden)
        self.q, self.k, self.v = (nn.Linear(hidden, hidden, bias=False) for _ in range(3))
        self.gate, self.up = (nn.Linear(hidden, ffn, bias=False) for _ in range(2))
        if live:
            self.requires_grad_(False)
        self.out = Split(hidden, hidden, live) if live else nn.Linear(hidden, hidden, bias=False)
        self.down = Split(ffn, hidden, live) if live else nn.Linear(ffn, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.out(attend(self, self.norm(x), causal=True))
        y = self.norm2(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


class Monarch(nn.Module):
    """Two block-diagonal matrices of ``blocks`` blocks with a permutation between them."""

    def __init__(self, n_in: int, n_out: int, blocks: int = 4) -> None:
        super().__init__()
        small = min(n_in, n_out) // blocks
        self.blocks = blocks
        self.first = nn.Parameter(torch.empty(blocks, n_in // blocks, small))
        self.second = nn.Parameter(torch.empty(blocks, small, n_out // blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, self.blocks, x.shape[-1] // self.blocks).transpose(0, 1)
        middle = torch.bmm(rows, self.first).transpose(0, 2).reshape(self.blocks, rows.shape[1], -1)
        return torch.bmm(middle, self.second).transpose(0, 1).reshape(*x.shape[:-1], -1)


class VitLayer(nn.Module):
    """An encoder layer of ViT-B/16 with linear layers of the kind ``linear``."""

    def __init__(self, linear: Callable[[int, int], nn.Module], hidden: int = 768, heads: int = 12) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.q, self.k, self.v, self.out = (linear(hidden, hidden) for _ in range(4))
        self.fc1, self.fc2 = linear(hidden, 4 * hidden), linear(4 * hidden, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.out(attend(self, self.norm(x), causal=False))
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


def resnet_train(depths: Sequence[int], name: str) -> Trace:
    config = AutoConfig.for_model("resnet", **zoo("resnet-18", depths=list(depths)))
    with torch.device("meta"):
        model = transformers.AutoModelForImageClassification.from_config(config, dtype=BF16)
        given = {"pixel_values": torch.empty(64, 3, 224, 224, dtype=BF16), "labels": torch.zeros(64, dtype=torch.long)}
    return ss.trace_model(model, given, "train", name=name, optimizer="momentum",
                          meta={"depths": list(depths), "batch": 64, **versions()})  # fmt: skip


def cifar_resnet(depths: Sequence[int], name: str) -> Trace:
    """A training step of a ResNet of three stages of basic blocks on 128 images of 32 x 32."""
    config = AutoConfig.for_model(
        "resnet", depths=list(depths), hidden_sizes=[16, 32, 64], embedding_size=16, layer_type="basic", num_labels=10
    )
    with torch.device("meta"):
        model = transformers.AutoModelForImageClassification.from_config(config, dtype=BF16)
        model.resnet.embedder = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        model = model.to(BF16)
        given = {"pixel_values": torch.empty(128, 3, 32, 32, dtype=BF16), "labels": torch.zeros(128, dtype=torch.long)}
    return ss.trace_model(model, given, "train", name=name, optimizer="momentum",
                          meta={"depths": list(depths), "batch": 128, **versions()})  # fmt: skip


def resnet_int8() -> Trace:
    """ResNet-50 on 16 images in int8; vector work keeps the bytes of half the width of its 16-bit numbers."""
    trace = extract("resnet-50", "forward", batch=16)

    def narrow(op: Op) -> Op:
        dims = op.dims
        if op.kind in (OpKind.ELEMENTWISE, OpKind.OTHER):
            dims = {**dims, "read_bytes": dims["read_bytes"] // 2, "write_bytes": dims["write_bytes"] // 2}
        return op.with_(dims=dims, dtype=DType.INT8, weight_dtype=None, kernels=())

    return Trace("resnet-50-int8-b16", trace.map(narrow).ops, dict(trace.meta))


def sliced_llama() -> Trace:
    """A step of Llama-2-70B cut to three quarters of its width, with the rotation of each residual connection."""
    shape = zoo("llama2-70b", hidden_size=6144, head_dim=128)
    trace = causal("llama2-70b-sliced", "llama", shape, "prefill", 1, 2048)
    builder = TraceBuilder("llama2-70b-sliced-prefill", **trace.meta)
    renamed: dict[str, str] = {}
    for op in trace.ops:
        builder.add(op, [renamed.get(dep, dep) for dep in op.deps])
        if op.label == "add" and op.dims["read_bytes"] >= 2 * 2048 * 6144 * 2:
            builder.add(ops.linear(2048, 6144, 6144, name=f"{op.name}.rotation", module=f"{op.module}.rotation"))
            renamed[op.name] = builder.last
    return builder.build()


def hubert(pruned: bool) -> Trace:
    """HuBERT base on ten seconds of speech; pruned to 4 of 12 heads and 416 of 3,072 neurons in every layer."""
    with torch.device("meta"):
        model = transformers.HubertModel(AutoConfig.for_model("hubert")).eval()
        given = {"input_values": torch.empty(1, 160_000)}
    name = f"hubert-{'pruned' if pruned else 'base'}"
    trace = ss.trace_model(model, given, "forward", name=name, meta={"seconds": 10, **versions()})
    return Trace(name, tuple(map(_without_heads, trace.ops)), dict(trace.meta)) if pruned else trace


def _without_heads(op: Op) -> Op:
    if "encoder.layers" not in op.module:
        return op
    last, dims = op.module.rsplit(".", 1)[-1], dict(op.dims)
    if last in ("q_proj", "k_proj", "v_proj") and op.kind == OpKind.LINEAR:
        dims["n"] = 256
    elif last == "out_proj":
        dims["k"] = 256
    elif last == "intermediate_dense":
        dims["n"] = 416
    elif last == "output_dense":
        dims["k"] = 416
    elif op.kind == OpKind.ATTENTION:
        dims["heads"] = dims["kv_heads"] = 4
    elif op.kind == OpKind.ELEMENTWISE and "gelu" in op.label:
        dims = {key: value * 416 // 3072 for key, value in dims.items()}
    return op.with_(dims=dims, kernels=()) if dims != dict(op.dims) else op


LFM2 = {
    "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 12288, "block_auto_adjust_ff_dim": True, "vocab_size": 65536,
    "full_attn_idxs": [2, 5, 8, 10, 12, 14],
}  # fmt: skip
QWEN3 = {
    "hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 6144, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip


def opt_neurons() -> Trace:
    """A step of OPT-6.7B with a tenth of the neurons of each layer, and low-rank predictors that choose them.

    The predictors take 1.25 % of the model, as published: rank 128.
    """
    trace = causal("opt-6.7b-neurons", "opt", zoo("opt-6.7b", ffn_dim=1638), "decode", kv_len=128)
    builder = TraceBuilder(trace.name, **trace.meta)
    for op in trace.ops:
        if op.module.endswith("fc1") and op.kind == OpKind.LINEAR:
            at, before = op.module.removesuffix("fc1"), op.deps
            for part, n, k in (("down", 128, 4096), ("up", 16384, 128)):
                predictor = ops.linear(1, n, k, name=f"{at}predictor_{part}", module=f"{at}predictor_{part}")
                builder.add(predictor, list(before))
                before = (builder.last,)
            builder.add(op, [*op.deps, *before])
        else:
            builder.add(op, list(op.deps))
    return builder.build()


QWEN2 = {
    "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "intermediate_size": 18944, "vocab_size": 152064,
}  # fmt: skip
"""The language model of Qwen2-VL-7B."""


def llama_context(name: str, kv_len: int, batch: int = 1) -> Trace:
    """A step of Llama-2-7B with caches of ``kv_len`` tokens."""
    return longer(extract("llama2-7b", "decode", batch=batch, kv_len=kv_len), name, kv_len)


RECIPES: dict[str, Callable[[], Trace]] = {
    **BY_HAND,
    **OFFLOAD,
    **MIXTURES,
    **STEPS,
    **SWITCHES,
    **WRITTEN,
    **TRAINED,
    **SMALL,
    **TUNED,
    **PREDICTED,
    "opt-66b-decode": lambda: extract("opt-66b", "decode", kv_len=512),
    "llama2-70b-decode": lambda: extract("llama2-70b", "decode", kv_len=512),
    **{
        f"switch-{size}-{experts}-fp32": partial(switch_fp32, size, experts)
        for size, experts in (("base", 8), ("base", 32), ("base", 64), ("base", 128), ("large", 128))
    },
    "opt-66b-layer-train": lambda: training_layer("opt-66b-layer-train", lambda: OptLayer(9216, 72), 8, 2048, 9216),
    "opt-66b-layer": opt_layer_forward,
    "llama2-7b-100k": lambda: llama_context("llama2-7b-100k", 100_000),
    "llama2-7b-32k": lambda: llama_context("llama2-7b-32k", 32_768, batch=2),
    "llama2-7b-8k-b14": lambda: llama_context("llama2-7b-8k-b14", 8_192, batch=14),
    **{
        f"llama3-8b-prompt-{length // 1000}k": partial(prompt, "llama3-8b", length)
        for length in (10_000, 50_000, 100_000, 200_000, 300_000, 500_000, 1_000_000)
    },
    **{f"dream-7b-{length // 1024}k": partial(diffusion, "dream-7b", DREAM, length) for length in (4096, 16384, 65536)},
    "attention-32k-prompt": lambda: attention_alone("attention-32k-prompt", 32_768),
    "attention-128k-prompt": lambda: attention_alone("attention-128k-prompt", 131_072),
    "llama3-8b-decode": lambda: causal("llama3-8b-decode", "llama", zoo("llama3-8b"), "decode", kv_len=1024),
    "llama3-8b-half-ffn": lambda: causal(
        "llama3-8b-half-ffn", "llama", zoo("llama3-8b", intermediate_size=7168), "decode", kv_len=1024
    ),
    "llama3-8b-check-16": lambda: causal(
        "llama3-8b-check-16", "llama", zoo("llama3-8b"), "decode", length=16, kv_len=1024
    ),
    "llama3-70b-decode": lambda: causal(
        "llama3-70b-decode", "llama", zoo("llama2-70b", vocab_size=128256), "decode", kv_len=1024
    ),
    "llama3-70b-half-ffn": lambda: causal(
        "llama3-70b-half-ffn",
        "llama",
        zoo("llama2-70b", vocab_size=128256, intermediate_size=14336),
        "decode",
        kv_len=1024,
    ),
    "llama3-70b-check-16": lambda: causal(
        "llama3-70b-check-16", "llama", zoo("llama2-70b", vocab_size=128256), "decode", length=16, kv_len=1024
    ),
    "opt-6.7b-decode": lambda: half(extract("opt-6.7b", "decode", kv_len=128)),
    "opt-6.7b-bf16": lambda: extract("opt-6.7b", "decode", kv_len=128),
    "opt-6.7b-neurons": opt_neurons,
    "opt-6.7b-core": lambda: half(causal("opt-6.7b-core", "opt", zoo("opt-6.7b", ffn_dim=3277), "decode", kv_len=128)),
    "llama2-70b-prefill": lambda: extract("llama2-70b", "prefill", seq=2048),
    "llama2-70b-sliced": sliced_llama,
    "llama2-7b-layer-train": lambda: training_layer("llama2-7b-layer-train", LlamaLayer, 4, 1024, 4096),
    "llama2-7b-layer-s2ft": lambda: training_layer("llama2-7b-layer-s2ft", lambda: LlamaLayer(128), 4, 1024, 4096),
    "vit-layer-train": lambda: training_layer("vit-layer-train", lambda: VitLayer(nn.Linear), 64, 197, 768),
    "vit-layer-monarch": lambda: training_layer("vit-layer-monarch", lambda: VitLayer(Monarch), 64, 197, 768),
    "resnet-50-int8": resnet_int8,
    "resnet-18-train": lambda: resnet_train((2, 2, 2, 2), "resnet-18-train"),
    "resnet-18-shallow-train": lambda: resnet_train((2, 2, 1, 1), "resnet-18-shallow-train"),
    "hubert-base": lambda: hubert(False),
    "hubert-pruned": lambda: hubert(True),
    "lfm2-1.2b-decode": lambda: causal("lfm2-1.2b-decode", "lfm2", LFM2, "decode", kv_len=1024),
    "qwen3-1.7b-decode": lambda: causal("qwen3-1.7b-decode", "qwen3", QWEN3, "decode", kv_len=1024),
    **{
        f"qwen2-7b-{name}": partial(causal, f"qwen2-7b-{name}", "qwen2", QWEN2, "decode", length=length, kv_len=kept)
        for name, length, kept in (("video", 1, 25_088), ("draft", 1, 1_024), ("check-10", 10, 25_088))
    },
    "resnet-56-train": lambda: cifar_resnet((9, 9, 9), "resnet-56-train"),
    "resnet-56-tickets-train": lambda: cifar_resnet((4, 4, 4), "resnet-56-tickets-train"),
    "lfm2-1.2b-prefill": lambda: causal("lfm2-1.2b-prefill", "lfm2", LFM2, "prefill", 1, 1024),
    "qwen3-1.7b-prefill": lambda: causal("qwen3-1.7b-prefill", "qwen3", QWEN3, "prefill", 1, 1024),
}


def main(names: Sequence[str]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names or RECIPES:
        trace = RECIPES[name]()
        path = trace.save(OUT / f"{name}.trace.gz")
        print(f"{path.name:36} {len(trace.ops):6} ops {path.stat().st_size:8} bytes "
              f"{trace.weight_bytes / 1e9:8.2f} GB of weights {trace.meta.get('other_ops', 0)} unknown")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
