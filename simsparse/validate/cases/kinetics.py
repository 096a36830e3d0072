# SPDX-License-Identifier: Apache-2.0
"""Kinetics: its cost of generating at test time, beside operations and bytes counted over traces of decode steps."""

from __future__ import annotations

from dataclasses import replace

from simsparse.core import OpKind, Unit
from simsparse.models.gpt import EqualLayers, decode
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable

MODELS = {
    "Qwen3-0.6B": EqualLayers(28, 1024, 16, 1, 1, vocabulary=151_936, inner=3072, gated=True, kv_heads=8, head_dim=128,
                      dtype="bf16"),
    "Qwen3-8B": EqualLayers(36, 4096, 32, 1, 1, vocabulary=151_936, inner=12_288, gated=True, kv_heads=8, head_dim=128,
                    dtype="bf16"),
    "Qwen3-32B": EqualLayers(64, 5120, 64, 1, 1, vocabulary=151_936, inner=25_600, gated=True, kv_heads=8, head_dim=128,
                     dtype="bf16"),
}  # fmt: skip
CONTEXT, GENERATED, TRIALS = 1024, 8192, 8
E_FLOPS_PER_BYTE = 562.5
"""4.5 PFLOP/s over 8 TB/s, the accelerator of the published model."""
SAMPLES = 8
"""Steps of a generation that are counted; what lies between is linear."""


def formula(gpt: EqualLayers, context: int, generated: int, trials: int) -> tuple[float, float]:
    """Operations and bytes in 16 bits of the published model, attention of all layers.

    Source: Infini-AI-Lab/Kinetics, cost_model/utils.py, commit af7fa57.
    """
    c, g = context, generated
    heads, kv = gpt.layers * gpt.heads * gpt.dim, gpt.layers * (gpt.kv_heads or gpt.heads) * gpt.dim
    flops = (2 * gpt.parameters * g + 2 * (2 * c + g) * g * heads) * trials
    return flops, 2 * (2 * c + g * trials) * g * kv


def counted(gpt: EqualLayers, context: int, generated: int, trials: int) -> tuple[float, float]:
    """The same, counted over traces of decode steps from the first to the last token, trials side by side.

    Keys of the prompt are read once for all trials, as the published model has it.
    """
    flops, moved = 0.0, 0.0
    for i in range(SAMPLES):
        keys = context + (2 * i + 1) * generated // (2 * SAMPLES)
        ops = decode("step", replace(gpt, sequences=1, length=keys)).ops
        flops += sum(2 * op.dense_macs for op in ops if op.unit is Unit.MATRIX)
        read = sum(op.input_bytes for op in ops if op.kind == OpKind.ATTENTION)
        own = read - sum(2 * op.dims["heads"] * op.dims["head_dim"] for op in ops if op.kind == OpKind.ATTENTION)
        moved += own * (context + (keys - context) * trials) / keys
    return flops * trials * generated / SAMPLES, moved * generated / SAMPLES


def cost(numbers: tuple[float, float]) -> float:
    """Operations plus bytes at the published price of a byte."""
    return numbers[0] + numbers[1] * E_FLOPS_PER_BYTE


@CASES.register("kinetics")
def kinetics() -> CaseReport:
    """Operations, bytes and cost, formula beside count, of three models."""
    points, rows = [], []
    for name, gpt in MODELS.items():
        ours, theirs = counted(gpt, CONTEXT, GENERATED, TRIALS), formula(gpt, CONTEXT, GENERATED, TRIALS)
        points += [CasePoint(f"{name}, operations", theirs[0] / 1e15, ours[0] / 1e15, "PFLOP"),
                   CasePoint(f"{name}, bytes of keys and values", theirs[1] / 1e12, ours[1] / 1e12, "TB")]  # fmt: skip
        rows.append([name, f"{cost(theirs) / 1e15:.1f}", f"{cost(ours) / 1e15:.1f}",
                     f"{100 * theirs[1] * E_FLOPS_PER_BYTE / cost(theirs):.0f}"])  # fmt: skip
    return CaseReport(
        "kinetics",
        "The cost of generating with several trials, by formula and by count",
        "Sadhukhan et al., Kinetics, arXiv 2506.05333, and its cost model (Infini-AI-Lab/Kinetics, commit af7fa57): "
        "operations of parameters and attention, bytes of keys and values at 562.5 operations each.",
        "Decode steps of Qwen3 in shapes alone, at eight places of a generation of 8,192 tokens after a prompt of "
        "1,024: "
        "operations of all products and bytes that attention reads, for eight trials that share the prompt's keys.",
        points,
        tolerance=0.01,
        assumed=("parameters without embedding and norms, on both sides",),
        tables=[CaseTable("Cost in units of operations", ["model", "formula, P", "counted, P", "of it bytes, %"],
                          rows)],
    )  # fmt: skip
