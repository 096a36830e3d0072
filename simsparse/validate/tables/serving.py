# SPDX-License-Identifier: Apache-2.0
"""Table of measured serving (columns model_path, isl, osl, tp_size, concurrency, silicon_ttft_ms, silicon_tpot_ms).

Runs that ai-dynamo/aiconfigurator (commit 095f58a5) keeps: a closed loop of ``concurrency`` requests, ten per place.
In runs with the lengths of InferenceX's benchmark, prompts and outputs are 0.8 to 1.0 of ``isl`` and ``osl`` tokens, as
its generator draws them. Others are taken to have exactly these lengths, so that requests that began together end
together and their successors wait for each other: an assumption, made after errors under the first rule were seen. A
row is two: mean seconds per token after the first, and to the first token. All requests come at once at the start,
which the mean of the first token's seconds has in it.

Nothing is fitted to the table: steps are those of the card's own models and of its library of kernels, whatever engine
ran, with vLLM's all-reduce; the engine's host is taken to be hidden. Left out: quantizing activations for fp8
products, and settings that are in no column (speculation, limits on tokens of a step).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from simsparse._serve import serve
from simsparse.config.hardware import System
from simsparse.errors import SimsparseError
from simsparse.lowering.machine import Machine, machine_of
from simsparse.serving.result import Served
from simsparse.sources.draw_requests import draw_requests
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema

TPOT, TTFT = "serving_table_tpot", "serving_table_ttft"
SECTIONS: Mapping[str, str] = {"silicon_tpot_ms": TPOT, "silicon_ttft_ms": TTFT}
MODELS: Mapping[str, str] = {
    "meta-llama/Llama-3.1-8B-Instruct": "llama3-8b", "nvidia/Llama-3.1-8B-Instruct-FP8": "llama3-8b",
    "meta-llama/Llama-3.1-70B": "llama3-70b", "Qwen/Qwen3-32B": "qwen3-32b",
}  # fmt: skip
"""Models of which a decode trace ships that has the shapes of a row's model."""
COLUMNS = ("model_path", "system", "mode", "isl", "osl", "gemm_quant_mode", "tp_size", "concurrency", "silicon_tpot_ms",
           "silicon_ttft_ms")  # fmt: skip
ENGINE = "vllm/0.22"
"""Whose all-reduce and steps ahead stand for those of all engines."""
PER_PLACE = 10
"""Requests per request of the closed loop, as the benchmark draws them."""
SHORTEST = 0.8
"""Least share of the nominal lengths that InferenceX's benchmark draws."""
DRAWN = {(1024, 1024), (1024, 8192), (8192, 1024)}
"""Nominal tokens of prompts and outputs of its benchmark."""
POLICY = {"kind": "chunked", "max_seqs": 1024, "tokens": 8192}
"""Limits of a step; assumed."""

TABLES.register("serving")(TableSchema(
    frozenset(COLUMNS), lambda row: str(row["kernel"]), lambda row: row["s"], (SECTIONS, 1e-3),
))  # fmt: skip


def predict_serving_table(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Mean seconds per token, or to the first one, of each row; in its stead the reason why not."""
    return [_reason(system, row) or _predicted(system, row) for row in rows]


def _reason(system: System, row: Measurement) -> str | None:
    card, model = row.text("system").partition("_")[0], row.text("model_path")
    parts = {part.name for part in system.devices.values()}
    if not any(f"/{card}-" in name for name in parts):
        return f"measured on {card}"
    if row.text("mode") != "agg":
        return "prefill and decode apart, whose replicas few rows state"
    if model not in MODELS:
        return f"no decode trace of {model} ships"
    if not isinstance(row.fields["concurrency"], int | float):
        return "states no concurrency"
    return None


def _predicted(system: System, row: Measurement) -> Prediction | str:
    quantized = "fp8" if str(row.fields["gemm_quant_mode"]).startswith("fp8") else ""
    lengths = round(row.number("isl")), round(row.number("osl"))
    try:
        found = _served(machine_of(system), MODELS[row.text("model_path")], quantized, round(row.number("tp_size")),
                        *lengths, round(row.number("concurrency")))  # fmt: skip
    except SimsparseError as error:
        return error.message
    own = found.tpot if row.section == TPOT else found.ttft
    return Prediction(row, row.number("s"), own.mean)


@lru_cache(maxsize=1024)
def _served(machine: Machine, model: str, weights: str, ranks: int, isl: int, osl: int, concurrency: int) -> Served:
    """A run, which serves both sections."""
    shortest = SHORTEST if (isl, osl) in DRAWN else 1.0
    prompts, outputs = (
        {"kind": "uniform", "least": max(1, round(shortest * nominal)), "most": nominal} for nominal in (isl, osl)
    )
    loop = {"kind": "closed", "concurrency": concurrency}
    requests = draw_requests(PER_PLACE * concurrency, loop, prompts, outputs)
    return serve(requests, machine.system, model, POLICY, engine=ENGINE, parallel={"tp": ranks}, weights=weights)
