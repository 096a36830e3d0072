# SPDX-License-Identifier: Apache-2.0
"""Traces of the studies of offloading that are written down op by op. No torch needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from study_layers import Decoder, decode_step

from simsparse.core import DType, Op, Trace, ops

VOCABULARY = 151_936
SMALLTHINKER_21B = Decoder(52, 2560, 28, 4, 128, 768, batch=1, kv_len=256, experts=64, top_k=6)
SMALLTHINKER_4B = Decoder(32, 1536, 12, 2, 128, 768, batch=1, kv_len=256, experts=32, top_k=4)


def smallthinker(name: str, decoder: Decoder) -> Trace:
    """A step of SmallThinker with all weights in four bits, as Q4_0 without its scales; the head included."""
    trace = decode_step(name, decoder, "arXiv:2507.20984, table of models; a cache of 256 tokens is assumed")
    head = ops.linear(1, VOCABULARY, decoder.hidden, name="lm_head", module="lm_head", deps=(trace.ops[-1].name,))
    return replace(trace, ops=tuple(map(_in_four_bits, (*trace.ops, head))))


def _in_four_bits(op: Op) -> Op:
    return op.with_(weight_dtype=DType.INT4) if op.definition.prunable else op


OFFLOAD: Mapping[str, Callable[[], Trace]] = {
    "smallthinker-21b": lambda: smallthinker("smallthinker-21b", SMALLTHINKER_21B),
    "smallthinker-4b": lambda: smallthinker("smallthinker-4b", SMALLTHINKER_4B),
}
