# SPDX-License-Identifier: Apache-2.0
"""Table of serving energy by ML.ENERGY (columns model_id, gpu_model, avg_batch_size, energy_per_token_joules).

Measured with vLLM, requests at a steady number in flight (ml-energy/leaderboard, commit 0cd52dab). A row is compared
at its own pace, which the table states: one decode step of the mean batch on a cache of the mean length takes the
joules of its kernels' work, and the power at rest from its begin to the next one's (``median_itl_ms``), in which the
engine schedules and samples too. What the steps leave of the run (``output_throughput_tokens_per_sec``, where the
table has it) is taken for prompts, whose length it does not state, and draws what a prompt of ``PROMPT_TOKENS`` tokens
draws. Output tokens share all evenly. So the comparison is about energy at a given pace, not about the pace.

Left out: prompts that share steps with tokens (chunked prefill), of which there are the more the larger the batch and
the shorter the outputs. Rows of several GPUs, of other weights than bf16 and of models with images, whose encoder and
host nothing here describes, are not compared.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

from simsparse._simulate import simulate
from simsparse.config.hardware import System, system_of
from simsparse.config.parts.gpu import GpuPart
from simsparse.core import Trace
from simsparse.errors import SimsparseError
from simsparse.models.zoo import MODELS as ZOO
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema
from simsparse.validate.whole_models import LAYERS, only_layer, traced

SECTION = "energy_tokens"
MODELS: Mapping[str, str] = {
    "Qwen/Qwen3-8B": "qwen3-8b", "Qwen/Qwen3-14B": "qwen3-14b", "meta-llama/Llama-3.1-8B-Instruct": "llama3-8b",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B-Thinking-2507": "qwen3-30b-a3b",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": "qwen3-30b-a3b",
}  # fmt: skip
"""Models of simsparse.models.zoo that have the shapes of a row's model."""
PROMPT_TOKENS = 256
"""Tokens of a prompt, which lengthen the cache; assumed."""
THROUGHPUT = "output_throughput_tokens_per_sec"
COLUMNS = ("model_id", "weight_precision", "gpu_model", "num_gpus", "avg_batch_size", "avg_output_len",
           "energy_per_token_joules", "median_itl_ms")  # fmt: skip

TABLES.register("mlenergy")(TableSchema(frozenset(COLUMNS), lambda _: SECTION, lambda row: row["median_itl_ms"] * 1e-3))


def predict_token_energy(part: GpuPart, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Joules per output token of each row; in its stead the reason why not."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        return ["needs torch and transformers, to trace the model"] * len(rows)
    system = system_of(part)
    return [_reason(part, row) or _predicted(system, row) for row in rows]


def _reason(part: GpuPart, row: Measurement) -> str | None:
    model, gpus, card = row.text("model_id"), row.whole("num_gpus"), row.text("gpu_model")
    if f"/{card.lower()}-" not in part.name:
        return f"measured on {card}"
    if gpus > 1:
        return "several GPUs"
    if row.text("weight_precision") != "bfloat16":
        return f"{row.text('weight_precision')} weights"
    return None if model in MODELS else f"no shapes of {model}"


def _predicted(system: System, row: Measurement) -> Prediction | str:
    batch, model = max(1, round(row.number("avg_batch_size"))), MODELS[row.text("model_id")]
    length, itl_s = PROMPT_TOKENS + round(row.number("avg_output_len") / 2), row.number("s")
    try:
        seconds, joules = _whole_model(system, traced(model, "decode", batch, length, False), model)
        joules += _static_watts(system) * (itl_s - seconds)
        if THROUGHPUT in row.fields:
            besides = max(0.0, row.number("avg_batch_size") / row.number(THROUGHPUT) - itl_s)
            joules += besides * _prompt_watts(system, model)
    except SimsparseError as error:
        return str(error)
    return Prediction(row, row.number("energy_per_token_joules"), joules / batch, "J")


def _static_watts(system: System) -> float:
    return sum(part.power.static.si for part in system.devices.values() if isinstance(part, GpuPart))


def _prompt_watts(system: System, model: str) -> float:
    """Power while a prompt is computed."""
    seconds, joules = _whole_model(system, traced(model, "prefill", 1, PROMPT_TOKENS, False), model)
    return joules / seconds


def _whole_model(system: System, trace: Trace, model: str) -> tuple[float, float]:
    """Seconds and joules of all layers, from a trace of ``LAYERS`` of them."""
    layer = Trace(trace.name, only_layer(trace.ops, LAYERS - 1), trace.meta)
    some, one = (simulate(each, system, level=0, keep="summary") for each in (trace, layer))
    more = int(ZOO[model].shape["num_hidden_layers"]) - LAYERS
    return some.latency_s + more * one.latency_s, some.energy_j + more * one.energy_j
