# SPDX-License-Identifier: Apache-2.0
"""Labels of fused operators: the field's word for what a group of tensor operations does."""

from __future__ import annotations

from collections.abc import Sequence

from simsparse.core.kinds.attention import KV_APPEND
from simsparse.trace.capture.event import Event, EventRole, Recording

_BY_CLASS = (
    ("rmsnorm", "rmsnorm"), ("layernorm", "layernorm"), ("batchnorm", "batchnorm"), ("groupnorm", "groupnorm"),
    ("rotaryembedding", "rope_table"),
)  # fmt: skip
_BY_ATEN = {
    "native_layer_norm": "layernorm", "native_batch_norm": "batchnorm", "native_group_norm": "groupnorm",
    "_native_batch_norm_legit_no_training": "batchnorm", "_softmax": "softmax", "_log_softmax": "log_softmax",
    "max_pool2d_with_indices": "max_pool", "avg_pool2d": "avg_pool", "_adaptive_avg_pool2d": "avg_pool",
    "mean": "mean", "topk": "topk", "cat": "cat", "clone": "copy", "copy": "copy", "_to_copy": "cast",
}  # fmt: skip
_ACTIVATIONS = {"silu", "gelu", "relu", "tanh", "sigmoid", "hardtanh", "leaky_relu", "softplus", "elu", "hardswish"}
_INDEX = {"arange", "cumsum", "full", "zeros", "ones", "eq", "ne", "lt", "le", "gt", "ge", "bitwise_and", "where",
          "zeros_like", "ones_like", "full_like", "new_ones", "new_zeros", "scalar_tensor"}  # fmt: skip
_INTEGERS = {"int64", "int32", "bool"}


def path_join(path: str, name: str) -> str:
    """``path.name``, or ``name`` in the root module."""
    return f"{path}.{name}" if path else name


def is_router(class_name: str, path: str) -> bool:
    """Whether a module decides which experts tokens go to, by its class or its own name."""
    last = path.rsplit(".", 1)[-1]
    return class_name.lower().endswith(("router", "gate")) or last in ("router", "gate")


def label_of(recording: Recording, events: Sequence[Event]) -> tuple[str, bool]:
    """The label of a group, and whether the module's path alone names the op."""
    if events[0].role is EventRole.APPEND:
        return KV_APPEND, False
    scope = events[0].scope
    class_name = recording.classes.get(scope, "").lower()
    for word, label in _BY_CLASS:
        if word in class_name.replace("_", ""):
            return label, True
    names = list(dict.fromkeys(_forward_name(event.aten) for event in events))
    if "embedding" in names:
        return "embedding", events[0].module == scope
    if is_router(class_name, scope) and {"topk", "_softmax", "sigmoid"} & set(names):
        return "router_topk", False
    return _by_operations(names, events[-1].dtype), False


def _forward_name(aten: str) -> str:
    """Name of the operation that an in-place one or a gradient belongs to."""
    name = aten.removesuffix("_").removesuffix("_data").removesuffix("_backward")
    return {"embedding_dense": "embedding", "threshold": "relu"}.get(name, name)


def _by_operations(names: Sequence[str], dtype: str) -> str:
    present = set(names)
    if {"cat", "mul", "add"} <= present and {"neg", "sub"} & present:
        return "rope"
    if {"slice", "mul", "add", "neg"} <= present:
        return "rope"
    if {"pow", "tanh"} <= present:
        return "gelu"
    if present & _ACTIVATIONS:
        return "_".join(name for name in names if name in _ACTIVATIONS or name in ("add", "mul"))
    if dtype in _INTEGERS and present & _INDEX:
        return "index"
    special = [label for aten, label in _BY_ATEN.items() if aten in names]
    if special:
        return special[0]
    return "_".join(sorted(names)[:3])
