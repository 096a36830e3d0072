# SPDX-License-Identifier: Apache-2.0
"""Joint scaling laws: memory and operations of models with experts that have as many parameters as a dense one."""

from __future__ import annotations

from simsparse._training_step import training_memory
from simsparse.config.layout import Layout
from simsparse.core import Unit
from simsparse.models.gpt import EqualLayers, prompt
from simsparse.models.gpt import training_step as step_of
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable

DENSE = EqualLayers(16, 2048, 16, 1, 1024, vocabulary=50_257, gated=True, dtype="bf16")
"""About 1.1 billion parameters, the size of the paper's example."""
EXPERTS = {2: EqualLayers(16, 1568, 49, 1, 1024, 2, 50_257, every=1, gated=True, dtype="bf16"),
           4: EqualLayers(16, 1152, 36, 1, 1024, 4, 50_257, every=1, gated=True, dtype="bf16"),
           8: EqualLayers(16, 832, 26, 1, 1024, 8, 50_257, every=1, gated=True, dtype="bf16")}  # fmt: skip
"""One expert per token in every layer; widths that give as many parameters in all, within 3 %."""


def _flops(gpt: EqualLayers) -> float:
    return sum(2 * op.dense_macs for op in prompt("prompt", gpt).ops if op.unit is Unit.MATRIX) / gpt.tokens


def _states(gpt: EqualLayers) -> int:
    memory = training_memory(step_of("step", gpt), Layout())[0]
    return memory["weights"] + memory["gradients"] + memory["optimizer state"]


@CASES.register("joint-moe-scaling")
def joint_moe_scaling() -> CaseReport:
    """Of each number of experts: memory of training and operations of E times as many tokens, of the dense model's."""
    flops, states = _flops(DENSE), _states(DENSE)
    points, rows = [], []
    for experts, gpt in EXPERTS.items():
        points += [CasePoint(f"{experts} experts, memory of training", 1.0, _states(gpt) / states, "x"),
                   CasePoint(f"{experts} experts, operations of {experts} times as many tokens", 1.0,
                             experts * _flops(gpt) / flops, "x")]  # fmt: skip
        rows.append([str(experts), f"{gpt.parameters / 1e9:.2f}", f"{_flops(gpt) / flops:.2f}"])
    return CaseReport(
        "joint-moe-scaling",
        "Models with experts of a dense model's memory and operations",
        "Ludziejewski et al., Joint MoE Scaling Laws, ICML 2025 (arXiv 2502.05172): with up to eight experts and E "
        "times "
        "as many tokens, a model of the same parameters in all beats a dense one at the same operations (recalled).",
        "Parameters, gradients and Adam's states of a training step, and operations of products per token, counted "
        "over "
        "traces of models of 1.1 billion parameters in all.",
        points,
        tolerance=None,
        deviation="The rule counts experts as all of a model. Attention and the head are not divided among experts, so "
        "that a token of E experts takes more than 1/E of the dense model's operations.",
        assumed=("16 layers; widths that give about 1.1 billion parameters",),
        tables=[CaseTable("Models", ["experts", "billions of parameters", "operations per token, of the dense model's"],
                          rows)],
    )  # fmt: skip
