# SPDX-License-Identifier: Apache-2.0
"""Fiddler and MoE-Infinity: Mixtral-8x7B with its experts in host memory."""

from __future__ import annotations

from collections.abc import Mapping

from simsparse._simulate import simulate
from simsparse.config.hardware import load_system
from simsparse.core import Keep, Result
from simsparse.paths import data_root
from simsparse.trace.file import load_trace
from simsparse.validate.case import CASES, CasePoint, CaseReport, Sensitivity

EXPERT_BYTES = 3 * 4096 * 14336 * 2
MEASURED = "counts:mixtral-8x7b-c4"
"""Routing with the shares of the experts that the bundled counts of Mixtral on C4 have."""
HITS = {56: 25.2, 125: 53.0}
"""Published hits in % of the popular experts, by how many of 256 are on the GPU."""
INFINITY, DEEPSPEED, ACCELERATE = "MoE-Infinity", "DeepSpeed ZeRO-Inference", "Hugging Face Accelerate"
SECONDS = {INFINITY: 0.735, DEEPSPEED: 2.486, ACCELERATE: 6.633}
TOKENS = 8
CACHE: Mapping[str, object] = {"kind": "frequency_layer", "experts": "fit"}
FITTING = {"kind": "pinned", "what": "all"}
ExpertRun = tuple[Mapping[str, object], str | Mapping[str, object], int]
"""A residency, a prefetch, and the steps that are run."""
RUNS: Mapping[str, ExpertRun] = {
    INFINITY: ({**CACHE, "chunk_bytes": 1 << 26}, {"kind": "queued", "predictor": "nearest"}, TOKENS),
    DEEPSPEED: (FITTING, {"kind": "all", "across_steps": True}, 2),
    ACCELERATE: ({**FITTING, "host_memory": "pageable"}, "none", 1),
}
A5000: Mapping[str, str] = {"gpu0.memory.capacity": "24 GB", "gpu0.memory.bandwidth": "768 GB/s"}


@CASES.register("fiddler")
def fiddler() -> CaseReport:
    """Hits of popular experts that stay, within 10 %."""
    return CaseReport(
        "fiddler",
        "Popular experts on the GPU: Fiddler's hits",
        "Kamahori et al., Fiddler, ICLR 2025 (arXiv 2402.07033): placed by popularity, 56 of Mixtral's 256 experts "
        "take 25.2 % of the tokens' choices and 125 of them 53.0 %.",
        "Decode steps of Mixtral-8x7B whose tokens are routed by measured shares on C4, with the residency pinned and "
        "room for so many experts, the most popular first.",
        [CasePoint(f"{count} of 256 experts", published, hits(count), "%") for count, published in HITS.items()],
        tolerance=0.1,
        assumed=("tokens of C4, where the publication has ShareGPT", "32 steps of one token"),
    )


@CASES.register("moe_infinity")
def moe_infinity() -> CaseReport:
    """Seconds of a token of Mixtral by three systems of the table; the deviation is reported."""
    return CaseReport(
        "moe_infinity",
        "Mixtral beside MoE-Infinity's table: a cache with predictions, and two systems that stream",
        "The README of github.com/TorchMoE/MoE-Infinity (Xue et al., arXiv 2401.14361): seconds per token of "
        "Mixtral-8x7B on an A5000 of 24 GB.",
        "Decode steps of Mixtral-8x7B routed by measured shares on C4, on an A40 with the memory of an A5000, PCIe 4. "
        "MoE-Infinity: the residency frequency_layer with as many experts as fit, and the prefetch nearest in a queue "
        "that what a layer misses goes before. DeepSpeed: all weights of the next layer come while one computes, but "
        "for those that fit. Accelerate: what fits stays, other matrices come from pageable memory when they are read.",
        [CasePoint(name, published, seconds(*RUNS[name]), "s") for name, published in SECONDS.items()],
        tolerance=None,
        deviation="MoE-Infinity is 5 % off; in order, without the queue, wrong guesses delay what is needed. "
        "Accelerate: the rate and the amount of its copies, shown below; the table's figure lies between the chosen "
        "experts at 4 GB/s and all experts. DeepSpeed: more weights stay than fit here, or the link is faster than the "
        "25 GB/s here; no run shows which.",
        assumed=("768 GB/s of the A5000, recalled", "PCIe 4 with 16 lanes", "8 steps, the first with an empty cache",
                 "Accelerate copies the experts that are chosen alone"),
        sensitivity=[
            Sensitivity(INFINITY, "what comes ahead", "nearest, in order", seconds(CACHE, "nearest", TOKENS)),
            Sensitivity(INFINITY, "what comes ahead", "nothing", seconds(CACHE, "none", TOKENS)),
            Sensitivity(ACCELERATE, "copies of pageable memory", "4 GB/s",
                        seconds(*RUNS[ACCELERATE], {"pcie.pageable": "4 GB/s"})),
            Sensitivity(ACCELERATE, "what is copied", "all experts, ahead", seconds(RUNS[ACCELERATE][0], "all", 1)),
        ],
    )  # fmt: skip


def hits(count: int) -> float:
    """Share in % of the reads of experts that find one of the ``count`` popular ones."""
    pinned = {"kind": "pinned", "room": f"{count * EXPERT_BYTES} bytes", "popularity": MEASURED}
    return 100 * _hit_rate(_run("systems/h200-pcie5", {}, {"residency": pinned}, 32, level=0))


def seconds(
    residency: Mapping[str, object], prefetch: str | Mapping[str, object], steps: int,
    overrides: Mapping[str, str] | None = None,
) -> float:  # fmt: skip
    """Seconds of a step."""
    policy = {"residency": residency, "prefetch": prefetch}
    return _run("systems/a40-pcie4", {**A5000, **(overrides or {})}, policy, steps, level=1).latency_s / steps


def _run(system: str, overrides: Mapping[str, str], policy: Mapping[str, object], steps: int, level: int) -> Result:
    trace = load_trace(data_root() / "traces" / "mixtral-8x7b-decode-b1.trace")
    return simulate(
        trace, load_system(system, overrides), policy, level=level, steps=steps, routing=MEASURED, keep=Keep.SUMMARY
    )


def _hit_rate(result: Result) -> float:
    use = result.cache["gpu0"]
    return use.hits / (use.hits + use.misses)
