# SPDX-License-Identifier: Apache-2.0
"""Table of serving energy by ML.ENERGY (columns model_id, gpu_model, avg_batch_size, energy_per_token_joules).

Measured with vLLM, requests at a steady number in flight (ml-energy/leaderboard, commit 0cd52dab). A row is compared
with one decode step of the mean batch on a cache of the mean length, whose energy the output tokens share evenly. The
table does not say how long the prompts were: their prefill is left out, so that the prediction is a lower bound, and
falls short most where batches are large and outputs short. Rows of several GPUs, of other weights than bf16 and of
models with images are not compared.
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
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "qwen3-30b-a3b", "Qwen/Qwen3-Coder-30B-A3B-Instruct": "qwen3-30b-a3b",
}  # fmt: skip
"""Models of simsparse.models.zoo that have the shapes of a row's model."""
PROMPT_TOKENS = 256
"""Tokens of a prompt, which lengthen the cache; assumed."""
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
    length = PROMPT_TOKENS + round(row.number("avg_output_len") / 2)
    try:
        joules = _step_joules(system, traced(model, "decode", batch, length, False), model)
    except SimsparseError as error:
        return str(error)
    return Prediction(row, row.number("energy_per_token_joules"), joules / batch, "J")


def _step_joules(system: System, trace: Trace, model: str) -> float:
    """Joules of a step of all layers, from a trace of ``LAYERS`` of them."""
    layer = Trace(trace.name, only_layer(trace.ops, LAYERS - 1), trace.meta)
    some, one = (simulate(each, system, level=0, keep="summary").energy_j for each in (trace, layer))
    return some + (int(ZOO[model].shape["num_hidden_layers"]) - LAYERS) * one
