# SPDX-License-Identifier: Apache-2.0
"""FlexGen's table: OPT on a T4 whose weights and cache of keys and values rest in host memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from simsparse._simulate import simulate
from simsparse.config.hardware import load_system
from simsparse.core import Keep, OpKind, Trace, TraceBuilder, ops
from simsparse.core.kinds.attention import CACHED_KEYS
from simsparse.models.gpt import EqualLayers, decode, prompt
from simsparse.validate.case import CASES, CasePoint, CaseReport, Sensitivity

PROMPT, ANSWER = 512, 32
PARTS = 4
"""Of the equal layers and of the head's columns, one in so many is simulated."""
OPT_6_7B = EqualLayers(32, 4096, 32, 2, PROMPT + ANSWER // 2, vocabulary=50_272)
OPT_30B = replace(OPT_6_7B, layers=48, width=7168, heads=56)
HOST_ATTENDS = {"kind": "mapped", "rules": [{"ops": "*.attention", "device": "host"}, {"ops": "*", "device": "gpu0"}]}
AUTHORS_HOST = {"host.compute.peak.fp16": "15.4 GFLOPS"}
"""At 80 % of it the host attends at 12.3 GFLOP/s, the constant of the authors' cost model, fitted to their runs."""
AUTHORS_T4 = {"gpu0.compute.tensor.fp16": "29.5 TFLOPS"}
"""At which products of prompts take place at 21 TFLOP/s, their constant too."""


@dataclass(frozen=True)
class OptRun:
    """A system of the table: sequences of a pass on the GPU and passes that share weights, and its policy.

    ``host``: the cache rests on the host, which attends to it.
    """

    label: str
    published: float
    model: EqualLayers
    sequences: int
    policy: Mapping[str, Any] = field(default_factory=dict)
    passes: int = 1
    host: bool = False


STREAMED = {"kind": "none", "what": "all"}
RUNS = (
    OptRun("OPT-6.7B on the GPU, 2 sequences", 25.26, OPT_6_7B, 2),
    OptRun("OPT-30B, Accelerate, 8", 0.62, OPT_30B, 8, {"residency": {**STREAMED, "host_memory": "pageable"}}),
    OptRun("OPT-30B, DeepSpeed ZeRO-Inference, 4", 0.60, OPT_30B, 4, {"residency": STREAMED, "prefetch": "next_layer"}),
    OptRun("OPT-30B, FlexGen, 144", 7.32, OPT_30B, 48,
        {"residency": {"kind": "pinned", "what": "all", "room": "3 GB"}, "prefetch": "next_layer"}, 3, True),
)  # fmt: skip


def rate(run: OptRun, overrides: Mapping[str, str] | None = None, policy: Mapping[str, Any] | None = None) -> float:
    """Tokens per second, prompts included, on a T4 of which each simulated layer stands for PARTS."""
    said = dict(policy or run.policy)
    model = replace(run.model, layers=run.model.layers // PARTS, sequences=run.sequences,
                    vocabulary=run.model.vocabulary // PARTS)  # fmt: skip
    read = prompt("prompt", replace(model, length=PROMPT))
    step = decode("step", replace(model, sequences=run.sequences * run.passes))
    first = _seconds(_written_away(read) if run.host else read, said, overrides) * run.passes
    each = _seconds(step, {**said, "placement": HOST_ATTENDS} if run.host else said, overrides)
    return run.sequences * run.passes * ANSWER / (PARTS * (first + (ANSWER - 1) * each))


def _seconds(trace: Trace, policy: Mapping[str, Any], overrides: Mapping[str, str] | None) -> float:
    system = load_system("systems/t4-pcie3", overrides or {})
    return float(simulate(trace, system, policy or "resident", keep=Keep.SUMMARY).latency_s)


def _written_away(trace: Trace) -> Trace:
    """``trace`` with keys and values that are copied to the host when they have been attended to."""
    builder = TraceBuilder(trace.name, **trace.meta)
    for op in trace.ops:
        if op.kind != OpKind.ATTENTION:
            builder.add(op, op.deps)
            continue
        dims = op.dims
        bytes = 2 * 2 * dims["batch"] * dims["kv_len"] * dims["kv_heads"] * dims["head_dim"]
        builder.add(op.with_(stats={**op.stats, CACHED_KEYS: 0}), op.deps)
        builder.add(ops.transfer(bytes, "gpu0", "host", name=f"{op.name}.cached"), [op.name])
    return builder.build()


@CASES.register("flexgen")
def flexgen() -> CaseReport:
    """Four rows of the table; the deviation is reported."""
    _, accelerate, zero, own = RUNS
    pageable = {**zero.policy, "residency": accelerate.policy["residency"]}
    return CaseReport(
        "flexgen",
        "OPT with weights and caches on the host: FlexGen's table",
        "Sheng et al., FlexGen, ICML 2023 (arXiv 2303.06865), README: tokens/s on a T4 of 16 GB, 208 GB of host "
        "memory, prompts of 512 tokens and answers of 32; batches and shares of weights from its benchmark suite.",
        "A prompt and 31 decode steps on systems/t4-pcie3, a quarter of the equal layers and of the head times four. "
        "Accelerate copies each matrix from pageable memory when it is read, ZeRO-Inference the next layer meanwhile; "
        "FlexGen keeps a fifth of the weights on the GPU, and the host attends to its 144 sequences.",
        [CasePoint(run.label, run.published, rate(run), "tokens/s") for run in RUNS],
        tolerance=None,
        deviation="FlexGen: what the host attends at and what the T4 multiplies at, shown below; with both constants "
        "of the authors' cost model, which are fits to their own runs, it is 1.3 times as fast as published. "
        "Accelerate and ZeRO-Inference: the rates of copies of that machine, shown below.",
        assumed=("a Xeon Gold 6338 in place of the cloud's host", "the T4's kernels are taken from an H100",
                 "Accelerate's weights are pageable and those of ZeRO-Inference pinned",
                 "activations of FlexGen stay on the GPU"),
        sensitivity=[
            Sensitivity(own.label, "host attends at", "12.3 GFLOP/s (authors)", rate(own, AUTHORS_HOST)),
            Sensitivity(own.label, "and the T4 multiplies at", "21 TFLOP/s (authors)",
                        rate(own, AUTHORS_HOST | AUTHORS_T4)),
            Sensitivity(accelerate.label, "pageable copies", "4 GB/s", rate(accelerate, {"pcie.pageable": "4 GB/s"})),
            Sensitivity(zero.label, "weights", "pageable", rate(zero, policy=pageable)),
        ],
    )  # fmt: skip
