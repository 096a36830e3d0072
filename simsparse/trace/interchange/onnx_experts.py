# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts in an ONNX model: MoE and QMoE of ONNX Runtime's domain.

Source of operands and attributes: ONNX Runtime, ContribOperators.md. Which experts tokens go to is not in a file: they
are drawn uniformly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simsparse.core import DType, Op, ops
from simsparse.errors import TraceError
from simsparse.trace.interchange.base import printable
from simsparse.trace.interchange.onnx_products import OnnxNode
from simsparse.trace.routing import RoutingProcess, generate

_PLACES = {"MoE": (2, 4, 6, 3), "QMoE": (2, 5, 8, 4)}
"""Inputs that are the weights up, down and of a gate beside them, and the bias of the first."""


def experts(node: OnnxNode) -> Sequence[Op]:
    """The experts of a layer, ``k`` of them per token. Raises TraceError on shapes that do not fit."""
    x, router = node.known(0), node.known(1)
    up, down, gate, bias = _PLACES[node.kind]
    count, width = router.shape[-1], x.shape[-1]
    tokens, top_k = x.elements // max(1, width), node.integer("k", 1)
    bits = node.integer("expert_weight_bits", 4) if node.kind == "QMoE" else node.known(up).dtype.bits
    inner, outer = (node.known(place).bytes * 8 // bits // max(1, count * width) for place in (up, down))
    if not tokens or not outer or not 1 <= top_k <= count or inner not in (outer, 2 * outer):
        raise TraceError(f"weights of {count} experts of width {width} do not fit {inner} and {outer} hidden elements")
    stored = {4: DType.INT4, 8: DType.INT8}.get(bits) if node.kind == "QMoE" else node.known(up).dtype
    node.values.notes.add("experts of a mixture are drawn uniformly, and their weights taken as dense", node.outputs[0])
    return [ops.moe_ffn(
        tokens, width, outer, count, inner == 2 * outer or node.is_weight(gate), x.dtype, bias=node.is_weight(bias),
        routing=generate(RoutingProcess.parse("uniform"), tokens, count, top_k, 0, 0),
        weight_dtype=stored if stored is not x.dtype else None, weight=printable(node.name(up)),
    )]  # fmt: skip


EXPERTS: Mapping[str, Callable[[OnnxNode], Sequence[Op]]] = {"MoE": experts, "QMoE": experts}
"""Operators of com.microsoft that are experts."""
