# SPDX-License-Identifier: Apache-2.0
"""What reads the outputs of 2:4 products in eager PyTorch, which are transposed views.

A semi-structured weight multiplies the transposed inputs, so that a linear layer returns the transpose of what its
kernel wrote. Elementwise kernels of operands that all lie so run as fast as ever, and their outputs lie so too. A
kernel with one such operand beside a contiguous one reads that one across its order, and so does torch.cat. No fused
attention takes queries whose elements of a head do not lie side by side: scaled_dot_product_attention falls to its
composite form in fp32. A single token's outputs become contiguous in the first kernel that reads them. Source:
SparseSemiStructuredTensor, TensorIterator and _scaled_dot_product_attention_math of PyTorch 2.11.

Left out: norms of transposed tensors over the heads' elements, experts with 2:4 weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from simsparse.core import DType, KernelCall, Op, OpKind, ops
from simsparse.core.kinds.attention import KV_APPEND
from simsparse.core.kinds.launched import launched
from simsparse.devices.gpu_sparse24 import HALF, runs_24

COPIED = ("rope", KV_APPEND)
"""Labels of ops whose kernels read transposed tensors beside others: angles, or an output that is contiguous."""
ROPE_CROSSED = (True, False, True, False, True)
"""Of the product with cosines, the negated half, the concatenation, the product with sines and the sum of both."""
ALONE = 1.5
"""An op that reads less than so many times its transposed inputs reads nothing else of their size."""


@dataclass(frozen=True)
class Layouts:
    """``crossed``: of an op's kernels, which read a transposed tensor across its order, by the op's name.

    ``composite``: names of attentions whose queries are transposed.
    """

    crossed: Mapping[str, tuple[bool, ...]]
    composite: frozenset[str]


def layouts_of(listed: Sequence[Op]) -> Layouts:
    """How the ops of a trace read the outputs of 2:4 products."""
    sizes: dict[str, int] = {}
    crossed: dict[str, tuple[bool, ...]] = {}
    composite = set()
    for op in listed:
        taken = sum(sizes.get(dep, 0) for dep in op.deps)
        if op.kind == OpKind.LINEAR and runs_24(op, HALF) and op.dims["m"] > 1:
            sizes[op.name] = op.output_bytes
        elif taken and op.kind == OpKind.ATTENTION:
            composite.add(op.name)
        elif taken and op.kernels:
            crossed[op.name] = _crossed(op, taken)
            if op.label == "rope" or not any(crossed[op.name]):
                sizes[op.name] = op.output_bytes
    return Layouts(crossed, frozenset(composite))


def _crossed(op: Op, taken: int) -> tuple[bool, ...]:
    count = len(op.kernels)
    if op.label == "rope" and count % len(ROPE_CROSSED) == 0:
        return ROPE_CROSSED * (count // len(ROPE_CROSSED))
    return (op.label in COPIED or op.input_bytes >= ALONE * taken,) * count


def composite_attention(op: Op, masked: bool) -> Iterator[Op]:
    """Attention as products, a softmax and casts in fp32; ``masked``: with a mask given, else one that it makes."""
    d, dtype, fp32 = op.dims, op.dtype, DType.FP32
    size, rows = dtype.bits // 8, d["batch"] * d["heads"] * d["q_len"]
    scores, keys = rows * d["kv_len"], d["batch"] * d["heads"] * d["kv_len"]
    queries, keyed, valued = rows * d["head_dim"], keys * d["head_dim"], keys * d["v_head_dim"]
    out, mask = rows * d["v_head_dim"], (d["batch"] if masked else 1) * d["q_len"] * d["kv_len"]
    for elements in (queries, keyed, valued):
        yield launched(KernelCall("_to_copy", elements * size, elements * 4, 0, fp32, elements))
    for elements in (queries, keyed):
        yield launched(KernelCall("mul", elements * 4, elements * 4, elements, fp32, elements))
    if not masked:
        yield launched(KernelCall("tril", mask, mask, 0, DType.BOOL, mask))
    for _ in range(2):
        yield launched(KernelCall("mask_fill", 0, 4, 0, fp32))
    yield launched(KernelCall("mask_where", mask, mask * 4, mask, fp32, mask, 1, True))
    yield launched(KernelCall("clone", queries * 4, queries * 4, 0, fp32, queries, 1, True), crossed=queries)
    products = d["batch"] * d["heads"]
    yield ops.matmul(products, d["q_len"], d["kv_len"], d["head_dim"], fp32, name="scores")
    yield launched(KernelCall("add_", scores * 4 + mask * 4, scores * 4, scores, fp32, scores, 1, True))
    yield launched(KernelCall("_softmax", scores * 4, scores * 4, 5 * scores, fp32, rows, d["kv_len"]))
    yield launched(KernelCall("eq", scores * 4, scores, scores, DType.BOOL, scores))
    yield launched(KernelCall("all", scores, rows, scores, DType.BOOL, rows, d["kv_len"]))
    yield launched(KernelCall("where", scores * 4 + rows, scores * 4, scores, fp32, scores, 1, True))
    yield ops.matmul(products, d["q_len"], d["v_head_dim"], d["kv_len"], fp32, name="weighted")
    yield launched(KernelCall("_to_copy", out * 4, out * size, 0, dtype, out))
    yield launched(KernelCall("_to_copy", scores * 4, scores * size, 0, dtype, scores))
    yield launched(KernelCall("clone", out * size, out * size, 0, dtype, out, 1, True))
