# SPDX-License-Identifier: Apache-2.0
"""Expert pruning: an encoder with experts on eight GPUs, against the one expert per layer that is left, on each."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from simsparse._simulate import simulate
from simsparse.models.gpt import EqualLayers, prompt
from simsparse.validate.case import CASES, CasePoint, CaseReport, Sensitivity

MODEL = EqualLayers(12, 768, 12, 32, 128, 32, 30_522, every=2, causal=False)
"""BERT-base's widths with 32 experts in every other layer; batches of 32 sequences of 128 tokens per GPU: assumed."""
SYSTEM, GPUS, LABEL = "systems/v100-x32-efa", 8, "inference over the model with experts"


@cache
def _seconds(experts: int, gpus: int, sequences: int) -> float:
    gpt = replace(MODEL, experts=experts, sequences=sequences)
    layout = f"dp={gpus} ep={gpus}" if experts else ""
    return simulate(prompt("encoder", gpt), SYSTEM, parallel=layout, keep="summary").latency_s


def _gain(gpus: int = GPUS, sequences: int = 32) -> float:
    return _seconds(32, gpus, sequences) / _seconds(0, gpus, sequences)


@CASES.register("expert-pruning")
def expert_pruning() -> CaseReport:
    """The gain at one batch, and at others."""
    return CaseReport(
        "expert-pruning",
        "An encoder whose experts are pruned to one per layer",
        "Chen et al., Task-Specific Expert Pruning, arXiv 2206.00277, abstract: twice the speed of inference, free of "
        "communication.",
        "A forward pass per GPU on systems/v100-x32-efa: 32 experts in every other layer dealt out to the eight GPUs "
        "of "
        "a node, all-to-alls before and after, against a dense layer in their place on each GPU alone.",
        [CasePoint(LABEL, 2.0, _gain(), "x")],
        tolerance=None,
        deviation="Model, batch and machine are not published in what was read. Within a board of V100 an exchange is "
        "a "
        "small part of a layer; over a network of 100 Gb/s it is most of it, and the gain is beyond the published one.",
        assumed=("V100 on NVLink", "BERT-base's widths, 32 sequences of 128 tokens per GPU",
                 "experts are chosen alike often"),
        sensitivity=[Sensitivity(LABEL, "GPUs, the others by the network", "16", _gain(16)),
                     Sensitivity(LABEL, "sequences per GPU", "8", _gain(sequences=8)),
                     Sensitivity(LABEL, "sequences per GPU", "128", _gain(sequences=128))],
    )  # fmt: skip
