# SPDX-License-Identifier: Apache-2.0
"""SE-MoE: a training step of 104 billion parameters on 64 A100, exchanges by node and by GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from simsparse._training_step import TrainingStep, training_step
from simsparse.config.hardware import System, load_system
from simsparse.models.gpt import EqualLayers
from simsparse.models.gpt import training_step as step_of
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, Sensitivity

MODEL = EqualLayers(12, 4096, 64, 1, 1024, 64, 50_304, every=1)
"""12 layers of 64 experts: 104.1 billion parameters, as published; one sequence of 1,024 tokens per GPU is assumed."""
GPUS, TOKENS = 64, 64 * 1024
LAYOUTS = {"SE-MoE": "dp=64 ep=64 exchange=2dh degree=2", "DeepSpeed": "dp=64 ep=64 exchange=linear sync=after"}
RATES = {"SE-MoE": 209_970.0, "DeepSpeed": 157_728.0}
MEMORY = {"SE-MoE": 54.4, "DeepSpeed": 66.3}
PORTS = 8
"""Ports of 100 Gb/s per node: one per GPU, assumed from the paper's figure of its network."""


@cache
def _cluster(ports: int) -> System:
    """Nodes of eight A100 80 GB with so many ports of 100 Gb/s."""
    given = load_system("a100-x64-edr")
    assert given.cluster is not None
    return replace(given, cluster=replace(given.cluster, nics=ports))


@cache
def _step(name: str, sequences: int = 1, ports: int = PORTS, top_k: int = 1) -> TrainingStep:
    gpt = replace(MODEL, sequences=sequences, top_k=top_k)
    return training_step(step_of("step", gpt), _cluster(ports), LAYOUTS[name])


def _rates(**changes: int) -> Mapping[str, float]:
    sequences = changes.get("sequences", 1)
    return {name: TOKENS * sequences / _step(name, **changes).step_s for name in LAYOUTS}


def _points(**changes: int) -> Mapping[str, float]:
    rates = _rates(**changes)
    each = {f"tokens per second, {name}": rate for name, rate in rates.items()}
    return {"training over DeepSpeed": rates["SE-MoE"] / rates["DeepSpeed"], **each}


MOVED = (("sequences per GPU", {"sequences": 8}), ("ports per node", {"ports": 1}), ("experts per token", {"top_k": 2}))


@CASES.register("se-moe-training")
def se_moe_training() -> CaseReport:
    """Tokens per second of both systems, and the memory of a GPU."""
    found = _points()
    units = {"training over DeepSpeed": "x"}
    published = {"training over DeepSpeed": 1.33, "tokens per second, SE-MoE": RATES["SE-MoE"],
                 "tokens per second, DeepSpeed": RATES["DeepSpeed"]}  # fmt: skip
    points = [CasePoint(label, published[label], value, units.get(label, "tokens/s")) for label, value in found.items()]
    memory = {name: _step(name).peak_bytes / 1e9 for name in LAYOUTS}
    points.append(CasePoint("memory of a GPU, SE-MoE", MEMORY["SE-MoE"], memory["SE-MoE"], "GB"))
    return CaseReport(
        "se-moe-training",
        "A training step of 104 billion parameters with 64 experts on 64 A100",
        "Shen et al., SE-MoE (MoESys), arXiv 2205.10034: 33 % more throughput than DeepSpeed; 209,970 against 157,728 "
        "tokens/s, 54.4 against 66.3 GB per GPU with 104.1 billion parameters on 64 A100 (seen in a note).",
        "Training steps on eight nodes of eight A100 80 GB with eight ports of 100 Gb/s: exchanges in two dimensions "
        "beside experts and gradients beside the backward pass, against a message to every GPU and gradients after it.",
        points,
        tolerance=None,
        deviation="Sequences per GPU, experts per token and ports are not known to us, and DeepSpeed's kernels (masks "
        "for dispatch, launches one by one) are left out, so that it is the faster here by less. Both systems keep the "
        "states of experts on SSD and in host memory as far as they need; here all of them stay on the GPU.",
        assumed=("one sequence of 1,024 tokens per GPU", "one expert per token", "eight ports of 100 Gb/s per node"),
        sensitivity=[Sensitivity(label, what, str(next(iter(change.values()))), value)
                     for what, change in MOVED for label, value in _points(**change).items()],
        tables=[_composition()],
    )  # fmt: skip


def _composition() -> CaseTable:
    rows = [[name, f"{step.step_s * 1e3:.0f}", f"{step.exchange_s * 1e3:.0f}", f"{step.peak_bytes / 1e9:.1f}"]
            for name in LAYOUTS for step in (_step(name),)]  # fmt: skip
    return CaseTable("Where the step goes", ["system", "step, ms", "waiting for exchanges, ms", "memory, GB"], rows)
