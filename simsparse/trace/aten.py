"""The lowering table: what each aten operation means to a machine.

FLOPs of fused operations are counted as one an output element for pointwise operations, one an
input element for reductions, 5 an element for softmax (maximum, difference, exponential, sum,
quotient), 7 for layer norm (mean, variance, scaling, affine) and 4 for batch norm; copies count
none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from simsparse.core import Op, OpKind
from simsparse.core.ops import linear, matmul
from simsparse.trace.event import Access, Role
from simsparse.trace.label import is_router, path_join
from simsparse.trace.sdpa import record_attention
from simsparse.trace.sparsity_stats import Window

if TYPE_CHECKING:
    from simsparse.trace.capture import Capture

_EMPTY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh", "detach"}
_FACTORY = {
    "arange", "zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like",
    "scalar_tensor", "eye", "linspace", "tril_indices", "triu_indices", "fill_", "zero_", "rand", "randn", "rand_like",
    "randn_like", "fill", "uniform_", "normal_", "bernoulli_",
}  # fmt: skip
_COPY = {
    "clone", "_to_copy", "copy_", "copy", "cat", "stack", "constant_pad_nd", "repeat", "flip", "roll", "slice_scatter",
    "select_scatter", "tril", "triu", "repeat_interleave", "reflection_pad2d", "replication_pad2d", "pixel_shuffle",
}  # fmt: skip
_GATHER = {"embedding", "index", "index_select", "gather", "take", "_unsafe_index"}
_SCATTER = {"index_copy_", "index_put_", "scatter_", "index_copy", "index_put", "scatter", "_index_put_impl_"}
_REDUCTION = {
    "sum", "mean", "amax", "amin", "max", "min", "prod", "var", "std", "var_mean", "std_mean", "argmax", "argmin",
    "any", "all", "cumsum", "cumprod", "norm", "linalg_vector_norm", "logsumexp", "topk", "sort", "max_pool2d",
    "max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool2d", "glu", "index_add_",
    "index_add", "scatter_add", "scatter_add_", "upsample_nearest2d", "upsample_bilinear2d", "bincount", "histc",
    "one_hot", "rsub", "max_pool1d", "adaptive_max_pool2d",
}  # fmt: skip
_FLOPS_PER_INPUT = {
    "_softmax": 5, "_log_softmax": 5, "native_layer_norm": 7, "native_group_norm": 7, "native_batch_norm": 4,
    "_native_batch_norm_legit_no_training": 4, "_native_batch_norm_legit": 7, "_fused_rms_norm": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One aten call: its short name, overload, arguments, input tensors and what it wrote."""

    name: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    in_place: bool


def lower(capture: Capture, call: Call) -> None:
    """Record ``call`` as the event it amounts to; what is in no table is kept as UNKNOWN."""
    special = _attention if call.name.startswith("_scaled_dot_product") else _SPECIAL.get(call.name)
    if special is not None and special(capture, call):
        return
    if call.name in _EMPTY:
        _add(capture, call, Role.FUSED, []) if call.in_place else _forget(capture, call)
        return
    role, flops = _plain(call)
    _add(capture, call, role, [capture.access(tensor) for tensor in call.inputs], flops)


def _add(capture: Capture, call: Call, role: Role, reads: list[Access], flops: int = 0, op: Op | None = None) -> None:
    capture.add(role, call.name, reads, call.outputs, flops, op)


def _forget(capture: Capture, call: Call) -> None:
    for tensor in call.outputs:
        capture.fresh(tensor)


def _plain(call: Call) -> tuple[Role, int]:
    read = max((tensor.numel() for tensor in call.inputs), default=0)
    if call.name in _FLOPS_PER_INPUT:
        return Role.FUSED, read * _FLOPS_PER_INPUT[call.name]
    if call.name in _COPY or call.name in _FACTORY:
        return Role.FUSED, 0
    if call.name in _REDUCTION:
        return Role.FUSED, read
    if torch.Tag.pointwise in call.func.tags:
        return Role.FUSED, max((tensor.numel() for tensor in call.outputs), default=0)
    return Role.UNKNOWN, 0


def _factory(capture: Capture, call: Call) -> bool:
    _add(capture, call, Role.FUSED, [])
    return True


def _gather(capture: Capture, call: Call) -> bool:
    rows, table, indexes = call.outputs[0], call.inputs[0], call.inputs[1:]
    taken = capture.access(table, min(rows.numel(), table.numel()))
    _add(capture, call, Role.GATHER, [taken, *map(capture.access, indexes)])
    return True


def _scatter(capture: Capture, call: Call) -> bool:
    if not call.in_place:
        return False
    target, sources = call.inputs[0], call.inputs[1:]
    role = Role.APPEND if call.name == "index_copy_" or _is_cached(capture, target) else Role.FUSED
    written = max((tensor.numel() for tensor in sources if tensor.dtype == target.dtype), default=1)
    reads = [capture.access(target, 0), *map(capture.access, sources)]
    capture.add(role, call.name, reads, call.outputs, written=min(written, target.numel()))
    return True


def _copy_into(capture: Capture, call: Call) -> bool:
    target, source = call.inputs[0], call.inputs[-1]
    role = Role.APPEND if _is_cached(capture, target) else Role.FUSED
    capture.add(role, call.name, [capture.access(target, 0), capture.access(source)], call.outputs)
    return True


def _cat(capture: Capture, call: Call) -> bool:
    """A cat onto a cached tensor, or onto the empty one that a cache starts from, is an append."""
    old, new = call.inputs[0], call.inputs[1:]
    if len(new) != 1 or not (old.numel() == 0 or _is_cached(capture, old)):
        return False
    reads = [capture.access(old, 0), capture.access(new[0])]
    capture.add(Role.APPEND, call.name, reads, call.outputs, written=new[0].numel())
    return True


def _is_cached(capture: Capture, tensor: torch.Tensor) -> bool:
    return capture.value(tensor) in capture.cache_values


def _mm(capture: Capture, call: Call) -> bool:
    first, second = call.inputs[-2:]
    return _product(capture, call, first, second)


def _product(capture: Capture, call: Call, first: torch.Tensor, second: torch.Tensor) -> bool:
    """A product as LINEAR when an operand is a parameter (shared by the batch), as MATMUL otherwise.

    A reduction of length 1 multiplies element by element, and is fused like any pointwise operation.
    """
    batch = first.shape[:-2].numel()
    m, k, n = first.shape[-2], first.shape[-1], second.shape[-1]
    if not batch * m * k * n:
        return False
    if k == 1:
        _add(capture, call, Role.FUSED, [capture.access(t) for t in call.inputs], batch * m * n)
        return True
    reads = [capture.access(tensor) for tensor in call.inputs]
    if capture.parameter(second) and _shared(second):
        op = _linear(capture, first, _matrix(second).t(), batch * m)
    elif capture.parameter(first) and _shared(first):
        op = _linear(capture, second, _matrix(first), batch * n)
    else:
        name = path_join(capture.module, "matmul")
        weight = capture.parameter(second) or capture.parameter(first)
        op = matmul(batch, m, n, k, capture.dtype(first), name=name, module=capture.module, weight=weight)
    _add(capture, call, Role.OWN, reads, op=op)
    return True


def _shared(tensor: torch.Tensor) -> bool:
    """Whether one matrix serves the whole batch."""
    leading = zip(tensor.shape[:-2], tensor.stride()[:-2], strict=True)
    return all(size == 1 or step == 0 for size, step in leading)


def _matrix(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[(0,) * (tensor.dim() - 2)]


def _linear(capture: Capture, x: torch.Tensor, weight: torch.Tensor, m: int) -> Op:
    """``weight``: (n, k)."""
    n, k = weight.shape
    sparsity, stats = capture.weight_facts(weight)
    dtype, weight_dtype = capture.dtype(x), capture.dtype(weight)
    name = capture.parameter(weight) or ""
    return linear(
        m, n, k, dtype, weight_dtype=weight_dtype if weight_dtype is not dtype else None, weight_sparsity=sparsity,
        name=capture.module or name, module=capture.module, weight=name, label=_linear_label(capture),
        stats={**stats, **capture.input_facts(x)},
    )  # fmt: skip


def _linear_label(capture: Capture) -> str:
    if is_router(capture.recording.classes.get(capture.module, ""), capture.module):
        return "router"
    return "lm_head" if capture.module.rsplit(".", 1)[-1] == "lm_head" else ""


def _convolution(capture: Capture, call: Call) -> bool:
    """A 1-D convolution is one of height 1; transposed and 3-D ones are kept as UNKNOWN with their FLOPs."""
    x, weight, transposed = call.inputs[0], call.inputs[1], bool(call.args[6])
    reads = [capture.access(tensor) for tensor in call.inputs]
    if transposed or weight.dim() not in (3, 4):
        driver = x if transposed else call.outputs[0]
        _add(capture, call, Role.UNKNOWN, reads, 2 * driver.numel() * weight[0].numel())
        return True
    _add(capture, call, Role.OWN, reads, op=_conv_op(capture, call))
    return True


def _conv_op(capture: Capture, call: Call) -> Op:
    x, weight, y, groups = call.inputs[0], call.inputs[1], call.outputs[0], int(call.args[8])
    (h_in, w_in), (h_out, w_out), (kh, kw) = (_plane(tensor) for tensor in (x, y, weight))
    dims = {
        "batch": x.shape[0], "c_in": x.shape[1], "c_out": weight.shape[0], "h_in": h_in, "w_in": w_in, "h_out": h_out,
        "w_out": w_out, "kh": kh, "kw": kw, "groups": groups,
    }  # fmt: skip
    sparsity, stats = capture.weight_facts(weight)
    return Op(
        OpKind.CONV2D, capture.module or "conv2d", dims, capture.dtype(x), weight_sparsity=sparsity,
        module=capture.module, weight=capture.parameter(weight),
        stats={**stats, **capture.input_facts(x, _window(call))},
    )  # fmt: skip


def _window(call: Call) -> Window:
    stride, padding, dilation = (tuple(call.args[i]) for i in (3, 4, 5))
    return Window(tuple(call.inputs[1].shape[2:]), stride, padding, dilation)


def _pad(capture: Capture, call: Call) -> bool:
    """Padding moves bytes like any copy; zeros are remembered as padding."""
    _add(capture, call, Role.FUSED, [capture.access(tensor) for tensor in call.inputs])
    if not (call.args[2] if len(call.args) > 2 else call.kwargs.get("value", 0)):
        capture.note_padding(call.outputs[0], tuple(call.args[1]))
    return True


def _attention(capture: Capture, call: Call) -> bool:
    """A fused attention kernel that torch called by itself."""
    query, key, value = call.inputs[:3]
    places = [argument.name for argument in call.func._schema.arguments]
    given = dict(zip(places, call.args, strict=False)) | call.kwargs
    record_attention(capture, query, key, value, call.outputs[0], causal=bool(given.get("is_causal", False)))
    return True


def _plane(tensor: torch.Tensor) -> tuple[int, int]:
    return (tensor.shape[-2], tensor.shape[-1]) if tensor.dim() == 4 else (1, tensor.shape[-1])


_SPECIAL: Mapping[str, Callable[[Capture, Call], bool]] = {
    "mm": _mm, "addmm": _mm, "bmm": _mm, "baddbmm": _mm, "convolution": _convolution, "cat": _cat, "copy_": _copy_into,
    "constant_pad_nd": _pad,
    **dict.fromkeys(_GATHER, _gather), **dict.fromkeys(_SCATTER, _scatter), **dict.fromkeys(_FACTORY, _factory),
}  # fmt: skip
