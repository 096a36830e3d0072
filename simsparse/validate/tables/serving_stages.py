# SPDX-License-Identifier: Apache-2.0
"""Table of stages of serving at steady rates (columns workload, stage, rate_req_s, e2e_mean_ms, ttft_mean_ms, ...).

vLLM 0.15.1 on H100s (inference-sim/training, commit ed5d1c26). A stage is ``rate_req_s`` requests per second at equal
distances; here its first 60 seconds of them. The load generator takes turns with ``n_system_prompts`` times
``users_per_prompt`` prompts, and the engine keeps prefixes, so that all of a prompt but its last block is found once it
came before. Outputs are those that were asked for; the counts in the table are of texts that were tokenised anew.

A stage in which requests failed is past saturation: its latencies mean nothing, and it is not compared. Nothing is
fitted to the table. Left out: the engine's host, whose work is in the first token's seconds above all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from simsparse._serve import serve
from simsparse.config.hardware import System
from simsparse.core import Trace
from simsparse.errors import SimsparseError
from simsparse.lowering.machine import Machine, machine_of
from simsparse.serving.result import Served
from simsparse.sources.requests import Requests
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema

E2E, FIRST = "serving_stages_e2e", "serving_stages_ttft"
SECTIONS: Mapping[str, str] = {"e2e_mean_ms": E2E, "ttft_mean_ms": FIRST}
MODELS: Mapping[str, str] = {
    "meta-llama/Llama-2-7b-hf": "llama2-7b", "meta-llama/Llama-2-70b-hf": "llama2-70b",
    "mistralai/Mixtral-8x7B-v0.1": "mixtral-8x7b",
}  # fmt: skip
"""Models of simsparse.models.zoo that have the shapes of a row's model."""
COLUMNS = (
    "model", "gpu", "tp", "max_num_batched_tokens", "max_num_seqs", "stage", "rate_req_s", "duration_s", "n_fail",
    "n_system_prompts", "users_per_prompt", "prompt_len_mean", "output", "e2e_mean_ms", "ttft_mean_ms",
)  # fmt: skip
SECONDS = 60
"""Seconds of arrivals that are simulated of a stage."""
BLOCK = 16
ENGINE = "vllm/0.22"
"""The nearest version whose all-reduce was measured."""

TABLES.register("serving_stages")(TableSchema(
    frozenset(COLUMNS), lambda row: str(row["kernel"]), lambda row: row["s"], (SECTIONS, 1e-3),
))  # fmt: skip


def predict_serving_stages(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Mean seconds to the last token, or to the first, of each stage; in its stead the reason why not."""
    return [_reason(system, row) or _predicted(system, row) for row in rows]


def _reason(system: System, row: Measurement) -> str | None:
    card = row.text("gpu").partition("-")[0].lower()
    if not any(f"/{card}-" in part.name for part in system.devices.values()):
        return f"measured on {card}"
    if row.text("model") not in MODELS:
        return f"no shapes of {row.text('model')}"
    if row.fields["stage"] == "summary":
        return "a summary of several stages"
    return "past saturation: requests failed" if row.fields["n_fail"] else None


def _predicted(system: System, row: Measurement) -> Prediction | str:
    seconds = min(SECONDS, row.number("duration_s"))
    ranks, seqs, tokens = (round(row.number(name)) for name in ("tp", "max_num_seqs", "max_num_batched_tokens"))
    prompts = row.whole("n_system_prompts") * row.whole("users_per_prompt")
    length = round(row.number("prompt_len_mean"))
    stage = SteadyStage(ranks, seqs, tokens, row.number("rate_req_s"), seconds, prompts, length, row.whole("output"))
    try:
        found = _served(machine_of(system), MODELS[row.text("model")], stage)
    except SimsparseError as error:
        return error.message
    return Prediction(row, row.number("s"), (found.e2e if row.section == E2E else found.ttft).mean)


class SteadyStage(NamedTuple):
    """GPUs of a replica, limits of the engine, requests per second, seconds of them, how many prompts take turns, and
    tokens of each prompt and answer."""

    ranks: int
    max_seqs: int
    tokens: int
    rate: float
    seconds: float
    prompts: int
    length: int
    output: int


def run_stage(machine: Machine, model: str | Trace, stage: SteadyStage, weights: str = "") -> Served:
    """Requests at equal distances, whose prompts are found in the prefix cache but for their last block."""
    count, length = max(1, round(stage.rate * stage.seconds)), stage.length
    blocks = (length - 1) // BLOCK
    prefix = [range(i % stage.prompts * length, i % stage.prompts * length + blocks) for i in range(count)]
    requests = Requests.of(np.arange(count) / stage.rate, np.full(count, length), np.full(count, stage.output),
                           prefix=prefix, prefix_block=BLOCK)  # fmt: skip
    policy = {"kind": "chunked", "max_seqs": stage.max_seqs, "tokens": stage.tokens}
    return serve(requests, machine.system, model, policy, engine=ENGINE, parallel={"tp": stage.ranks},
                 kv={"prefix_cache": True}, weights=weights)  # fmt: skip


_served = lru_cache(maxsize=256)(run_stage)
"""A run, which serves both sections."""
