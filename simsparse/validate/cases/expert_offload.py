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
SECONDS = "Mixtral-8x7B on an A5000"
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
    """Seconds of a token with a cache of experts and predictions by the nearest step; the deviation is reported."""
    return CaseReport(
        "moe_infinity",
        "A cache of experts and predictions by what is alike: MoE-Infinity's Mixtral",
        "The README of github.com/TorchMoE/MoE-Infinity (Xue et al., arXiv 2401.14361): 0.735 s per token of "
        "Mixtral-8x7B on an A5000 of 24 GB.",
        "Decode steps of Mixtral-8x7B routed by measured shares on C4, on an A40 with the memory of an A5000, PCIe 4: "
        "the residency frequency_layer with as many experts as fit, the prefetch nearest.",
        [CasePoint(SECONDS, 0.735, seconds(), "s")],
        tolerance=None,
        deviation="Copies of wrong guesses delay those that are needed: without any the step is as fast as published. "
        "The probable cause, which no run shows, is that routing is drawn for each layer and token by itself, so that "
        "no step is like another.",
        assumed=("768 GB/s of the A5000, recalled", "PCIe 4 with 16 lanes", "16 steps, the first with an empty cache"),
        sensitivity=[
            Sensitivity(SECONDS, "what comes ahead", "nothing", seconds("none")),
        ],
    )


def hits(count: int) -> float:
    """Share in % of the reads of experts that find one of the ``count`` popular ones."""
    pinned = {"kind": "pinned", "room": f"{count * EXPERT_BYTES} bytes", "popularity": MEASURED}
    return 100 * _hit_rate(_run("systems/h200-pcie5", {}, {"residency": pinned}, 32, level=0))


def seconds(prefetch: str = "nearest") -> float:
    """Seconds of a step."""
    policy = {"residency": {"kind": "frequency_layer", "experts": "fit"}, "prefetch": prefetch}
    return _run("systems/a40-pcie4", A5000, policy, 16, level=1).latency_s / 16


def _run(system: str, overrides: Mapping[str, str], policy: Mapping[str, object], steps: int, level: int) -> Result:
    trace = load_trace(data_root() / "traces" / "mixtral-8x7b-decode-b1.trace")
    return simulate(
        trace, load_system(system, overrides), policy, level=level, steps=steps, routing=MEASURED, keep=Keep.SUMMARY
    )


def _hit_rate(result: Result) -> float:
    use = result.cache["gpu0"]
    return use.hits / (use.hits + use.misses)
