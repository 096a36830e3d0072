# SPDX-License-Identifier: Apache-2.0
"""Task-level mixtures: the most that a chip decodes with experts over many chips, and with a task's own network on
it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from simsparse._simulate import simulate
from simsparse.errors import SimulationError
from simsparse.models.gpt import EqualLayers, decode
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, Sensitivity

MODELS = {
    "32 experts, 533M parameters": (EqualLayers(6, 512, 8, 1, 64, 32, 64_000, top_k=2, dtype="bf16"), 32, 1.9),
    "128 experts, 13B parameters": (
        EqualLayers(12, 1024, 16, 1, 64, 128, 64_000, top_k=2, dtype="bf16"),
        128,
        2.6,
    ),
}
"""The decoder alone of the two models, chips of the one with experts, and the published gain. Widths follow from the
published parameters with experts in every other layer; 12 layers with 128 experts of width 1,024 are 13 billion."""
SYSTEM, MOVED = "systems/a100-x2048-hdr", "systems/tpu-v4-x1024"
BATCHES = (256, 1024, 4096)


@cache
def _seconds(model: str, batch: int, alone: bool, system: str) -> float:
    gpt, chips, _ = MODELS[model]
    gpt = replace(gpt, sequences=batch, experts=0 if alone else gpt.experts)
    layout = "dp=1" if alone else f"dp={chips} ep={chips}"
    return simulate(decode(model, gpt), system, parallel=layout, keep="summary").latency_s


def _peak(model: str, alone: bool, system: str) -> tuple[float, int]:
    """Tokens per second of a chip at the batch that has most, and that batch."""
    found = []
    for batch in BATCHES:
        try:
            found.append((batch / _seconds(model, batch, alone, system), batch))
        except SimulationError:
            continue
    return max(found)


def _gain(model: str, system: str = SYSTEM) -> float:
    return _peak(model, True, system)[0] / _peak(model, False, system)[0]


@CASES.register("task-level-moe")
def task_level_moe() -> CaseReport:
    """Peak throughput of a chip over batches, of both models."""
    return CaseReport(
        "task-level-moe",
        "Decoding with experts per token over many chips, and with one task's experts on one",
        "Kudugunta et al., Beyond Distillation, Findings of EMNLP 2021, abstract: peak throughput 1.9x with 32 experts "
        "and 533M parameters, 2.6x with 128 and 13B.",
        "Decode steps on systems/a100-x2048-hdr: experts dealt out to as many GPUs, two per token, exchanged over "
        "NVLink "
        "and the network, against the network of one task, with one expert's width per layer, on every GPU alone. "
        "Tokens "
        "per second of a GPU at the batch of 256, 1,024 or 4,096 that has most.",
        [CasePoint(model, gain, _gain(model), "x") for model, (_, _, gain) in MODELS.items()],
        tolerance=None,
        deviation="TPUs were used. On systems/tpu-v4-x1024, which was run first, attention of one token per sequence "
        "takes nearly all of a step, as an array is filled for every head, and hides what the experts cost; compilers "
        "run it on the vector units. GPUs took their place with that result known.",
        assumed=("A100 in place of TPUs", "the decoder alone, contexts of 64 tokens",
                 "a task has one expert per layer, a token two"),
        sensitivity=[Sensitivity(model, "machine", MOVED, _gain(model, MOVED)) for model in MODELS],
        tables=[CaseTable("Peak", ["model", "experts by", "batch", "tokens/s of a chip"],
                          [_row(model, alone) for model in MODELS for alone in (False, True)])],
    )  # fmt: skip


def _row(model: str, alone: bool) -> list[str]:
    rate, batch = _peak(model, alone, SYSTEM)
    return [model, "task" if alone else "token", str(batch), f"{rate:,.0f}"]
