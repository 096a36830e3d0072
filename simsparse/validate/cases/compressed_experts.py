# SPDX-License-Identifier: Apache-2.0
"""The size of a mixture whose experts are stored in a few bits: MC-MoE's Mixtral."""

from __future__ import annotations

from simsparse.core import Op
from simsparse.lowering.unpacking import Packing
from simsparse.trace.file import load_trace
from simsparse.validate.case import CASES, CasePoint, CaseReport, Sensitivity

SMALLER = "smaller model at 2.54 bits, Mixtral-8x7B"
EXPERT_BITS, ATTENTION_BITS, GROUP = 2.54, 4, 128
EMBEDDING_BYTES = 32_000 * 4096 * 2
TRACE = "traces/mixtral-8x7b-decode-b1.trace"


@CASES.register("compressed_experts")
def compressed_experts() -> CaseReport:
    """Bytes of the compressed model, within 10 %."""
    return CaseReport(
        "compressed_experts",
        "Experts in one to three bits",
        "Huang et al., MC-MoE, ICLR 2025 (arXiv 2410.06270): at 2.54 bits Mixtral-8x7B is 76.6 % smaller.",
        "The weights of the trace of Mixtral-8x7B, packed as they would cross a link: experts at the published mean "
        "width, attention in four bits, each with a scale of 16 bits per group of 128; embedding, head, gates in 16.",
        [
            CasePoint(SMALLER, 76.6, smaller(EXPERT_BITS), "%"),
        ],
        tolerance=0.1,
        assumed=("a group of 128 weights has one scale of 16 bits, and no zero point",),
        sensitivity=[
            Sensitivity(SMALLER, "mean bits of experts", f"{width:g}", smaller(width)) for width in (1.5, 2.0, 3.0)
        ],
    )


def smaller(expert_bits: float) -> float:
    """Per cent by which Mixtral-8x7B shrinks when its experts take ``expert_bits`` each."""
    experts, others = (Packing(width, GROUP) for width in (expert_bits, ATTENTION_BITS))
    before = after = EMBEDDING_BYTES
    for op in load_trace(TRACE).ops:
        size = op.resident_bytes
        before += size
        after += experts.packed(op, size) if op.definition.routed else others.packed(op, size) if _inside(op) else size
    return 100 * (1 - after / before)


def _inside(op: Op) -> bool:
    """Whether ``op`` is a projection of an attention, which is quantised too."""
    named = f"{op.name} {op.module}"
    return op.definition.prunable and not any(word in named for word in ("lm_head", "gate", "router"))
