# SPDX-License-Identifier: Apache-2.0
"""Traces of expert layers and of training steps for the studies of expert-parallel systems. No torch needed.

One layer of one GPU: a gate, tokens sorted to experts, the experts, and their results back in order. ``dense``: as
GShard, Fairseq and DeepSpeed's first versions do it, by products with a mask of tokens by experts and places; else by
kernels that gather and scatter rows. Sources: Lepikhin et al., GShard (2021), algorithm 1; fairseq, moe_layer.py
and top2gate.py; Hwang et al., Tutel (MLSys 2023), section 4 and its setting of one layer: 16,384 tokens per GPU, widths
2,048, two experts per GPU, top 2, no room for more rows than the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from simsparse.core import Op, Routing, Trace, TraceBuilder, ops
from simsparse.models.gpt import EqualLayers, training_step

HALF, FULL = 2, 4
"""Bytes of a value of 16 and of 32 bits."""


def layer(name: str, gpus: int, tokens: int, width: int, inner: int, experts_per_gpu: int, top_k: int,
          dense: bool) -> Trace:  # fmt: skip
    """An expert layer of which ``gpus`` have the experts, as one of them runs it, every expert chosen alike often."""
    experts, rows = gpus * experts_per_gpu, tokens * top_k
    builder = TraceBuilder(name, phase="forward", written="study_experts.py")
    builder.add(ops.linear(tokens, experts, width, "fp16", name="gate", module="gate", label="router"), [])
    builder.add(_moved("softmax", tokens * experts * HALF, tokens * experts * FULL, "gate"))
    for i in range(2):
        builder.add(_moved(f"places.{i}", tokens * experts * FULL, tokens * experts * FULL, "gate"))
    for op in _encoded_dense(tokens, rows, width) if dense else _gathered(tokens, rows, width, "encode"):
        builder.add(op)
    share = rows // experts
    counts = [share + (1 if i < rows - share * experts else 0) for i in range(experts)]
    routing = Routing(tuple(counts), (), "generated:uniform")
    builder.add(ops.moe_ffn(tokens, width, inner, experts, False, "fp16", routing=routing, name="experts",
                            module="experts", weight="experts"))  # fmt: skip
    for op in _decoded_dense(tokens, rows, width) if dense else _gathered(rows, tokens, width, "decode"):
        builder.add(op)
    return builder.build()


def _encoded_dense(tokens: int, rows: int, width: int) -> list[Op]:
    """The mask of tokens by experts and places, in fp32, as booleans and in fp16, and the product with the tokens."""
    mask = tokens * rows
    return [
        _moved("mask", FULL * tokens, FULL * mask, "encode"), _moved("mask.bool", FULL * mask, mask, "encode"),
        _moved("mask.half", mask, HALF * mask, "encode"),
        ops.matmul(1, rows, width, tokens, "fp16", name="encode", module="encode"),
    ]  # fmt: skip


def _decoded_dense(tokens: int, rows: int, width: int) -> list[Op]:
    mask = tokens * rows
    return [_moved("weights.half", FULL * mask, HALF * mask, "decode"),
            ops.matmul(1, tokens, width, rows, "fp16", name="decode", module="decode")]  # fmt: skip


def _gathered(read: int, written: int, width: int, name: str) -> list[Op]:
    most = max(read, written)
    return [_moved(name, HALF * most * width, HALF * written * width, name)]


def _moved(name: str, read: int, written: int, module: str) -> Op:
    return ops.elementwise(read, written, read // HALF, "fp16", label="cast", name=name, module=module)


TUTEL = partial(layer, tokens=16_384, width=2048, inner=2048, experts_per_gpu=2, top_k=2)
MIXTURES: Mapping[str, Callable[[], Trace]] = {
    f"moe-layer-{gpus}{'-dense' if dense else ''}": partial(
        TUTEL, f"moe-layer-{gpus}{'-dense' if dense else ''}", gpus, dense=dense)
    for gpus in (16, 128, 2048) for dense in (True, False)
}  # fmt: skip
SWITCH = partial(layer, gpus=64, tokens=32_768, width=2048, inner=2048, experts_per_gpu=1, top_k=1)
SWITCHES: Mapping[str, Callable[[], Trace]] = {
    "switch-layer-64-dense": partial(SWITCH, "switch-layer-64-dense", dense=True),
    "switch-layer-64": partial(SWITCH, "switch-layer-64", dense=False),
}
"""HetuMoE's comparison: a switch gate and 32 sequences, taken as 1,024 tokens of width 2,048 each."""


FILE = "study_experts.py"
STEPS: Mapping[str, Callable[[], Trace]] = {
    "gpt-6.7b-train": partial(training_step, "gpt-6.7b-train", EqualLayers(32, 4096, 32, 8, 2048), FILE),
    "gpt-1.3b-moe-128-train": partial(
        training_step, "gpt-1.3b-moe-128-train", EqualLayers(24, 2048, 16, 4, 2048, 128), FILE
    ),
}
