# SPDX-License-Identifier: Apache-2.0
"""Table of stages of serving beside what five simulators predict (columns exp_id, stage_index, rates, ...).

vLLM on H100s at steady rates (inference-sim/sim-to-real-accuracy-validation, commit dcec3fd4, with the workloads of
inference-sim/inference-sim, commit f90a1e3a). A stage is compared like those of ``serving_stages``; the mean error of
each simulator of the table, on the rows that are compared here, is a fact of the section. Nothing is fitted to it.

Left out: rows of all stages together; quantizing activations for fp8 products; images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from simsparse.config.hardware import System
from simsparse.core import Trace
from simsparse.errors import SimsparseError
from simsparse.lowering.machine import Machine, machine_of
from simsparse.models.gpt import EqualLayers, decode
from simsparse.serving.result import Served
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema
from simsparse.validate.tables.serving_stages import SECONDS, SteadyStage, run_stage

SIMULATED_E2E, SIMULATED_TTFT, SIMULATED_ITL = "serving_others_e2e", "serving_others_ttft", "serving_others_itl"
MEASURES: Mapping[str, str] = {SIMULATED_E2E: "e2e", SIMULATED_TTFT: "ttft", SIMULATED_ITL: "itl"}
SIMULATORS = ("aiconfigurator", "blis-evolved", "blis-roofline", "llm-optimizer", "vidur")
NAMED: Mapping[str, str] = {
    "meta-llama/Llama-2-7b-hf": "llama2-7b", "meta-llama/Llama-3.1-70B-Instruct": "llama3-70b",
}  # fmt: skip
"""Models of which a decode trace ships, or that have its shapes."""


def _decoder(layers: int, width: int, heads: int, inner: int, vocabulary: int, kv_heads: int) -> EqualLayers:
    return EqualLayers(layers, width, heads, 1, 512, vocabulary=vocabulary, inner=inner, gated=True, kv_heads=kv_heads,
                       head_dim=128, dtype="bf16")  # fmt: skip


SHAPES: Mapping[str, EqualLayers] = {
    "mistralai/Mistral-Nemo-Instruct-2407": _decoder(40, 5120, 32, 14_336, 131_072, 8),
    "Qwen/Qwen2.5-7B-Instruct": _decoder(28, 3584, 28, 18_944, 152_064, 4),
    "01-ai/Yi-34B": _decoder(60, 7168, 56, 20_480, 64_000, 8),
    "RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic": EqualLayers(
        48, 5120, 40, 1, 512, 16, 202_048, 8192, 1, 1, True, kv_heads=8, head_dim=128, shared=8192, dtype="bf16"
    ),
}  # fmt: skip
"""Sizes in the models' published configurations."""
REPEATED = {("meta-llama/Llama-2-7b-hf", "general"), ("meta-llama/Llama-2-7b-hf", "roleplay")}
"""Rows that repeat the numbers of the codegen workload to the last digit, though their rates differ."""
COLUMNS = ("exp_id", "model", "workload", "gpu", "stage_index", "tp", "precision", "max_num_batched_tokens",
           "max_num_seqs", "system_prompt", "question", "output", "n_system_prompts", "users_per_prompt", "rates",
           "stage_s", "e2e_mean_actual_ms", "ttft_mean_actual_ms", "itl_mean_actual_ms")  # fmt: skip

TABLES.register("serving_simulators")(TableSchema(
    frozenset(COLUMNS), lambda row: str(row["kernel"]), lambda row: row["s"],
    ({f"{name}_mean_actual_ms": section for section, name in MEASURES.items()}, 1e-3),
))  # fmt: skip


def predict_simulated_stages(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Mean seconds to the last token, to the first, or per token between; in its stead the reason why not."""
    return [_reason(system, row) or _predicted(system, row) for row in rows]


def _reason(system: System, row: Measurement) -> str | None:
    card = row.text("gpu").partition("-")[0].lower()
    if not any(f"/{card}-" in part.name for part in system.devices.values()):
        return f"measured on {card}"
    if row.text("model") not in {**NAMED, **SHAPES}:
        return f"no shapes of {row.text('model')}"
    if (row.text("model"), row.text("workload")) in REPEATED:
        return "the measurement of another workload"
    if not isinstance(stage := row.fields["stage_index"], int) or stage < 0:
        return "a summary of several stages"
    return None if stage < len(_numbers(row, "rates")) else "a stage without a rate"


def _numbers(row: Measurement, name: str) -> list[float]:
    """Numbers of a field that stand between slashes, one per stage."""
    return [float(text) for text in str(row.fields[name]).split("/")]


def _predicted(system: System, row: Measurement) -> Prediction | str:
    place = int(row.fields["stage_index"])
    rate, seconds = (_numbers(row, name)[place] for name in ("rates", "stage_s"))
    ranks, seqs, tokens = (row.whole(name) for name in ("tp", "max_num_seqs", "max_num_batched_tokens"))
    prompts = row.whole("n_system_prompts") * row.whole("users_per_prompt")
    length, output = row.whole("system_prompt") + row.whole("question"), row.whole("output")
    stage = SteadyStage(ranks, seqs, tokens, rate, min(SECONDS, seconds), prompts, length, output)
    weights = "fp8" if row.text("precision").upper() == "FP8" else ""
    try:
        found = _served(machine_of(system), row.text("model"), stage, weights)
    except SimsparseError as error:
        return error.message
    own = {SIMULATED_E2E: found.e2e, SIMULATED_TTFT: found.ttft, SIMULATED_ITL: found.tpot}[row.section]
    return Prediction(row, row.number("s"), own.mean)


@lru_cache(maxsize=256)
def _served(machine: Machine, name: str, stage: SteadyStage, weights: str) -> Served:
    """A run, which serves all sections."""
    return run_stage(machine, NAMED[name] if name in NAMED else _drawn(name), stage, weights)


@lru_cache(maxsize=8)
def _drawn(name: str) -> Trace:
    return decode(name, SHAPES[name])


def errors_of_simulators(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Mean absolute error of each simulator of the table on these rows, where it has one."""
    found = {}
    for simulator in SIMULATORS:
        errors = [
            abs(1e-3 * own / each.measured - 1) for each in predictions
            if isinstance(own := each.row.fields.get(f"{MEASURES[each.row.section]}_mean_{simulator}_ms"), int | float)
        ]  # fmt: skip
        if errors:
            found[f"mean error of {simulator}"] = float(np.mean(errors))
    return found
