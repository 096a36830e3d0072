# SPDX-License-Identifier: Apache-2.0
"""Memory that a trace of an architecture takes: caches and weights by closed forms, on the meta device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from architectures import PAIRS, SPECIAL, TEXT, _config  # noqa: E402

import simsparse as ss  # noqa: E402
from simsparse.trace import trace_model  # noqa: E402

BATCH, LAYERS, BYTES, SOURCE = 2, 2, 2, 20


def memory(name: str, phase: Any, tokens: int, **wanted: Any) -> tuple[Mapping[str, int], torch.nn.Module]:
    """The memory of gpu0 in one pass of a small bf16 model, or in one step on a cache of ``tokens`` - 1."""
    transformers.logging.set_verbosity_error()
    auto = transformers.AutoModelForSeq2SeqLM if name in PAIRS else transformers.AutoModelForCausalLM
    options = {key: wanted.pop(key) for key in ("latent",) if key in wanted}
    with torch.device("meta"):
        model = auto.from_config(_config(name, {**TEXT, **SPECIAL.get(name, {}), **wanted})).to(torch.bfloat16)
    decode = phase == "decode"
    ids = torch.zeros(BATCH, 1 if decode else tokens, dtype=torch.long)
    inputs = {"input_ids": ids}
    if name in PAIRS:
        inputs = {"input_ids": torch.zeros(BATCH, SOURCE, dtype=torch.long), "decoder_input_ids": ids}
    trace = trace_model(model, inputs, phase, kv_len=tokens - 1 if decode else None, **options)
    return ss.simulate(trace, ss.load_system("systems/h100-pcie5")).memory["gpu0"], model


def keys_and_values(heads: int, tokens: int) -> int:
    return LAYERS * 2 * BATCH * heads * 16 * BYTES * tokens


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize(
    ("name", "heads"), [("llama", 2), ("gemma2", 2), ("gpt_oss", 2), ("qwen2_moe", 2), ("gpt_bigcode", 1), ("opt", 4)]
)
def test_a_cache_holds_the_keys_and_values_of_its_heads(name: str, heads: int, phase: str) -> None:
    held, _ = memory(name, phase, 25)
    assert held["KV cache"] == keys_and_values(heads, 25)


@pytest.mark.parametrize("form", [{"phase": "prefill"}, {"phase": "decode"}, {"phase": "decode", "latent": "absorbed"}])
@pytest.mark.parametrize("name", ["deepseek_v2", "deepseek_v3"])
def test_a_latent_cache_holds_the_latent_and_the_turned_part_of_the_keys(name: str, form: dict[str, Any]) -> None:
    held, _ = memory(name, tokens=25, **form)
    assert held["KV cache"] == LAYERS * BATCH * 25 * (16 + 8) * BYTES


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_a_decoder_of_a_pair_caches_its_own_tokens_and_the_source(name: str, phase: str) -> None:
    held, _ = memory(name, phase, 25)
    assert held["KV cache"] == keys_and_values(4, 25) + keys_and_values(4, SOURCE)


def test_a_cache_of_a_sliding_window_holds_the_window() -> None:
    held, _ = memory("mistral", "decode", 41, sliding_window=8)
    assert held["KV cache"] == keys_and_values(2, 8)


@pytest.mark.parametrize("tokens", [5, 8, 9, 16, 24, 41])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_prefill_leaves_the_window_in_the_cache(phase: str, tokens: int) -> None:
    held, _ = memory("mistral", phase, tokens, sliding_window=8)
    assert held["KV cache"] == keys_and_values(2, min(8, tokens))


@pytest.mark.parametrize("tokens", [5, 8, 13, 24])
def test_a_prefill_leaves_the_last_chunk_in_the_cache(tokens: int) -> None:
    held, _ = memory("llama4_text", "prefill", tokens, layer_types=["chunked_attention"] * LAYERS)
    assert held["KV cache"] == keys_and_values(2, (tokens - 1) % 8 + 1)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize(
    ("name", "state"),
    [("mamba", 128 * (4 * BYTES + 16 * 4)), ("mamba2", (128 + 2 * 128) * 4 * BYTES + 8 * 16 * 128 * 4)],
)
def test_states_of_a_recurrence_stay_in_memory_however_many_tokens_there_are(name: str, state: int, phase: str) -> None:
    """Per sequence and layer the last inputs of a convolution of 4, and channels times states in fp32."""
    for tokens in (9, 25):
        held, _ = memory(name, phase, tokens)
        assert held["KV cache"] == LAYERS * BATCH * state


@pytest.mark.parametrize("name", ["llama", "gemma2", "mistral", "qwen2_moe", "deepseek_v3", "gpt2", "opt", "bloom",
                                  "mamba"])  # fmt: skip
def test_weights_take_the_memory_of_the_parameters_tied_ones_once(name: str) -> None:
    for phase in ("prefill", "decode"):
        held, model = memory(name, phase, 25)
        assert held["weights"] == sum(parameter.numel() * BYTES for parameter in model.parameters())
