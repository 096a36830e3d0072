# SPDX-License-Identifier: Apache-2.0
"""GLaM against GPT-3: operations of a token, and the energy of training on the machines that they ran on."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

from simsparse._training_step import training_step
from simsparse.config.hardware import System, load_system
from simsparse.core import Op, Unit
from simsparse.models.gpt import EqualLayers, prompt
from simsparse.models.gpt import training_step as step_of
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable

GLAM = EqualLayers(64, 8192, 128, 1, 1024, 64, 256_000, 32_768, 2, 2, True, False, head_dim=128, dtype="bf16")
GPT3 = EqualLayers(96, 12_288, 96, 1, 2048, vocabulary=50_257)
HOURS, MEGAWATT_HOURS = 574.0, {"GLaM": 456.0, "GLaM, 280 billion tokens": 213.0, "GPT-3": 1287.0}


class TrainingRun(NamedTuple):
    """A published training: ``watts`` per chip with its host and ``pue``, as measured, and its tokens."""

    chips: int
    layout: str
    sequences: int
    tokens: float
    watts: float
    pue: float


RUNS = {
    "GLaM": TrainingRun(1024, "tp=16 dp=64 ep=64 esp=16", 16, 600e9, 326, 1.11),
    "GPT-3": TrainingRun(9984, "tp=8 pp=16 dp=78 micro=20", 1, 300e9, 330, 1.10),
}
"""GLaM: 1,024 sequences of 1,024 tokens per step. GPT-3: 3.2 million tokens per step on about 10,000 V100. How each was
laid out is assumed."""


@cache
def _system(name: str) -> System:
    if name == "GLaM":
        return load_system("tpu-v4-x1024")
    given = load_system("v100-x32-efa")
    assert given.cluster is not None
    return replace(given, cluster=replace(given.cluster, nodes=1250, nics=8))


@cache
def _days(name: str) -> float:
    """Days of a training of its tokens."""
    run, gpt = RUNS[name], GLAM if name == "GLaM" else GPT3
    gpt = replace(gpt, sequences=run.sequences)
    step = training_step(step_of(name, gpt), _system(name), run.layout, level=0)
    return run.tokens / (step.batches * gpt.tokens / step.step_s) / 86_400


def _megawatt_hours(name: str) -> float:
    run = RUNS[name]
    return _days(name) * 24 * run.chips * run.watts * run.pue / 1e6


def _flops(gpt: EqualLayers) -> float:
    """Operations of products per token of a prompt."""
    ops: tuple[Op, ...] = prompt("prompt", gpt).ops
    return sum(2 * op.dense_macs for op in ops if op.unit is Unit.MATRIX) / gpt.tokens


@CASES.register("glam")
def glam() -> CaseReport:
    """Operations per token, hours and energy of training, and their ratios."""
    glam_flops, gpt3_flops = _flops(GLAM), _flops(GPT3)
    energy = {name: _megawatt_hours(name) for name in RUNS}
    short = 280 / 600
    return CaseReport(
        "glam",
        "GLaM and GPT-3: operations of inference, energy of training",
        "Du et al., GLaM, ICML 2022: 180 against 350 GFLOP per token; 456 against 1,287 MWh; 574 hours and 213 MWh for "
        "280 billion tokens on 1,024 TPU v4 at 326 W each and a PUE of 1.11 (seen in notes). GPT-3: Patterson et al., "
        "2021: 10,000 V100 at 330 W, PUE 1.10, 14.8 days (recalled).",
        "Operations of a prompt's products, counted over traces. Training steps, closed forms, on systems/tpu-v4-x1024 "
        "and on 1,248 nodes of eight V100; energy is their time at the published power of a chip and its host.",
        [CasePoint("operations of inference, of GPT-3's", 180 / 350, glam_flops / gpt3_flops, "x"),
         CasePoint("operations per token, GLaM", 180, glam_flops / 1e9, "GFLOP"),
         CasePoint("operations per token, GPT-3", 350, gpt3_flops / 1e9, "GFLOP"),
         CasePoint("energy of training, of GPT-3's", 456 / 1287, energy["GLaM"] / energy["GPT-3"], "x"),
         CasePoint("hours of 280 billion tokens, GLaM", HOURS, _days("GLaM") * 24 * short, "h"),
         CasePoint("energy of training, GLaM", MEGAWATT_HOURS["GLaM"], energy["GLaM"], "MWh"),
         CasePoint("energy of training, GPT-3", MEGAWATT_HOURS["GPT-3"], energy["GPT-3"], "MWh")],
        tolerance=None,
        deviation="Each GLaM token took 28 % of the chips' peak; the closed forms here have 45 %. Rows beyond an "
        "expert's "
        "share (capacity), recomputed activations, input and restarts are left out, and layouts are assumed. The days "
        "of "
        "GPT-3 are near the published ones, so that the ratio has GLaM's deviation.",
        assumed=("how both were laid out", "eight ports of 100 Gb/s per node of V100", "GLaM's experts even in load"),
        tables=[_table(energy)],
    )  # fmt: skip


def _table(energy: dict[str, float]) -> CaseTable:
    rows = [[name, RUNS[name].layout, f"{_days(name):.1f}", f"{energy[name]:.0f}", f"{MEGAWATT_HOURS[name]:.0f}"]
            for name in RUNS]  # fmt: skip
    return CaseTable("Training", ["model", "layout", "days", "MWh", "published MWh"], rows)
