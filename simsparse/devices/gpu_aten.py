# SPDX-License-Identifier: Apache-2.0
"""Kernels that PyTorch launches for aten functions, as the classes that the card's models price.

Source: the names of kernels in profiles of Hugging Face layers on an H200 (PyTorch 2.11).
"""

from __future__ import annotations

from simsparse.core import Op
from simsparse.devices.gpu_launched import Gather, LaunchedKernel, NormRows, Reduce, SoftmaxRows, Sort, Stream, Topk
from simsparse.devices.gpu_norm import Norm
from simsparse.devices.gpu_reduce import Reduction
from simsparse.devices.gpu_stream import Form, Function

REDUCTIONS = {
    **dict.fromkeys(("sum", "mean", "prod", "norm", "linalg_vector_norm", "var", "std", "var_mean", "logsumexp",
                     "avg_pool2d", "_adaptive_avg_pool2d", "any", "all", "count_nonzero"), Reduction.SUM),
    **dict.fromkeys(("amax", "amin", "aminmax"), Reduction.MAX),
    **dict.fromkeys(("max", "min", "argmax", "argmin"), Reduction.ARGMAX),
}  # fmt: skip
NORMS = {"native_layer_norm": Norm.LAYER, "_fused_rms_norm": Norm.RMS}
SOFTMAXES = ("_softmax", "_log_softmax")
GATHERS = ("embedding", "index", "index_select")
FUNCTIONS = {
    **dict.fromkeys(("silu", "sigmoid", "silu_", "softplus"), Function.SILU),
    **dict.fromkeys(("gelu", "tanh", "erf", "gelu_"), Function.GELU),
}  # fmt: skip
COPIES = ("clone", "copy_")
INDEX_BYTES = 8
SHORTEST_ROW = 32
"""Fewer values are reduced along another dimension than the last: experts, heads or pixels of a window. Assumed."""


def launched_kernel(op: Op) -> LaunchedKernel:
    """The kernel of a ``launched`` op, by the aten function that is its label."""
    d, name, size = op.dims, op.label, op.dtype.bits / 8
    read, fresh = d["read_bytes"], float(d["fresh_bytes"])
    if name in REDUCTIONS:
        value = max(1.0, read / (d["rows"] * d["cols"]))
        last = not d["strided"] and (d["cols"] >= SHORTEST_ROW or d["rows"] == 1)
        return Reduce(d["rows"], d["cols"], value, REDUCTIONS[name], last, fresh)
    if name in NORMS:
        return NormRows(NORMS[name], d["rows"], d["cols"], size, fresh)
    if name in SOFTMAXES:
        return SoftmaxRows(d["rows"], d["cols"], size, fresh)
    if name in GATHERS:
        return Gather(d["rows"], d["cols"] * size, size, fresh=fresh)
    if name == "sort":
        return Sort(d["rows"], d["cols"], max(1.0, read / (d["rows"] * d["cols"])))
    if name == "topk":
        value = max(1.0, read / (d["rows"] * d["cols"]))
        kept = max(1.0, d["write_bytes"] / d["rows"] / (value + INDEX_BYTES))
        return Topk(d["rows"], d["cols"], min(kept, d["cols"]), value, fresh)
    return _stream(op, fresh)


def _stream(op: Op, fresh: float) -> Stream:
    d = op.dims
    elements = max(1.0, max(d["write_bytes"], 1) * 8 / op.dtype.bits)
    return Stream(
        elements, d["read_bytes"], d["write_bytes"], _form(op), FUNCTIONS.get(op.label, Function.PLAIN), fresh,
        crossed=d.get("crossed", 0),
    )  # fmt: skip


def _form(op: Op) -> Form:
    d = op.dims
    if op.label == "cat":
        return Form.CONCATENATED
    if op.label == "compiled":
        return Form.COMPILED
    if d["strided"]:
        return Form.STRIDED
    if op.label == "_to_copy" and d["read_bytes"] != d["write_bytes"]:
        return Form.WIDENING if d["write_bytes"] > d["read_bytes"] else Form.VECTOR
    return Form.COPY if op.label in COPIES else Form.VECTOR
