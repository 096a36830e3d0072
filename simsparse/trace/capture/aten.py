# SPDX-License-Identifier: Apache-2.0
"""The lowering table: what each aten operation means to a machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from simsparse.core import OpKind
from simsparse.trace.capture.aten_names import (
    ACCUMULATE,
    CASTS,
    COPY,
    EMPTY,
    FACTORY,
    FLOPS_PER_INPUT,
    GATHER,
    POINTWISE,
    POOLING_GRADIENTS,
    REDUCTION,
    RESAMPLING,
    SCATTER,
    VIEWS_IN_PLACE,
)
from simsparse.trace.capture.call import Call
from simsparse.trace.capture.event import EventRole
from simsparse.trace.capture.layout import elements_held
from simsparse.trace.capture.linalg import FACTORISATIONS, flops_of
from simsparse.trace.capture.masked import TOP_LEFT
from simsparse.trace.capture.own_products import LOWERINGS
from simsparse.trace.capture.product import (
    lower_convolution,
    lower_convolution_backward,
    lower_convolution_in_time,
    lower_distances,
    lower_mm,
    lower_mv,
)
from simsparse.trace.capture.sdpa import given_mask, record_attention, record_attention_backward
from simsparse.trace.recurrent import FLOPS_PER_STATE

if TYPE_CHECKING:
    from simsparse.trace.capture.recorder import Capture


def lower(capture: Capture, call: Call) -> None:
    """Record ``call`` as the event it amounts to; what is in no table is kept as UNKNOWN."""
    if call.name in VIEWS_IN_PLACE:
        return
    if _is_empty(call):
        _forget(capture, call)
        return
    special = _attention if call.name.startswith("_scaled_dot_product") else _SPECIAL.get(call.name)
    special = LOWERINGS.get((call.func.namespace, call.name), special)
    if special is not None and special(capture, call):
        return
    if call.name in EMPTY:
        call.add(capture, EventRole.FUSED, []) if call.in_place else _forget(capture, call)
        return
    role, flops = _plain(call)
    if role is EventRole.UNKNOWN and not call.outputs:
        return
    call.add(capture, role, call.reads(capture), flops)
    if call.name in CASTS:
        capture.inherit(call.outputs[0], call.inputs[0])


def _is_empty(call: Call) -> bool:
    """Whether nothing is made of nothing, which launches no kernel: experts without tokens, images without boxes."""
    return bool(call.outputs) and not any(map(torch.numel, call.outputs)) and not all(map(torch.numel, call.inputs))


def _forget(capture: Capture, call: Call) -> None:
    for tensor in call.outputs:
        capture.fresh(tensor)


def _plain(call: Call) -> tuple[EventRole, int]:
    """The role and the FLOPs of a function without a rule of its own, which may run in place."""
    name, read = call.name, max(map(elements_held, call.inputs), default=0)
    names = {name, name.removesuffix("_")}
    if name in FLOPS_PER_INPUT:
        return EventRole.FUSED, read * FLOPS_PER_INPUT[name]
    if names & COPY or names & FACTORY or name.endswith("_copy"):
        return EventRole.FUSED, 0
    if names & REDUCTION or name.startswith(RESAMPLING) or torch.Tag.reduction in call.func.tags:
        return EventRole.FUSED, read
    made = [tensor.numel() for tensor in call.outputs]
    if name.startswith(("_foreach_", "_fused_ad", "_fused_sgd", "_amp_foreach_")):
        return EventRole.FUSED, sum(made)
    if names & POINTWISE or _is_pointwise(call.func, name) or call.func.namespace == "quantized":
        return EventRole.FUSED, max(made, default=0)
    return EventRole.UNKNOWN, 0


@lru_cache(maxsize=4096)
def _is_pointwise(func: Any, name: str) -> bool:
    """Whether torch calls the function pointwise, the one that it does in place, or the one whose gradient it is."""
    forward = name.removesuffix("_").removesuffix("_backward")
    if forward != name and forward in POINTWISE | REDUCTION | COPY | FLOPS_PER_INPUT.keys():
        return True
    packet = getattr(torch.ops.aten, forward, None) if func.namespace == "aten" else None
    known = [getattr(packet, overload).tags for overload in packet.overloads()] if packet is not None else []
    return any(torch.Tag.pointwise in tags for tags in (func.tags, *known))


def _factory(capture: Capture, call: Call) -> bool:
    call.add(capture, EventRole.FUSED, [])
    return True


def _gather(capture: Capture, call: Call) -> bool:
    rows, table, indexes = call.outputs[0], call.inputs[0], call.inputs[1:]
    taken = capture.access(table, min(rows.numel(), table.numel()))
    call.add(capture, EventRole.GATHER, [taken, *map(capture.access, indexes)], weights=[table])
    return True


def _embedding_bag(capture: Capture, call: Call) -> bool:
    """The rows that the indexes name, summed bag by bag."""
    given = call.given
    table, indexes = given["weight"], given["indices"]
    elements = min(indexes.numel() * table.shape[-1], table.numel())
    others = [tensor for tensor in call.inputs if tensor is not table]
    reads = [capture.access(table, elements), *map(capture.access, others)]
    capture.add(EventRole.FUSED, call.name, reads, call.outputs, indexes.numel() * table.shape[-1])
    return True


def _renormalised_rows(capture: Capture, call: Call) -> bool:
    table, indexes = call.inputs
    elements = min(indexes.numel() * table.shape[-1], table.numel())
    reads = [capture.access(table, elements), capture.access(indexes)]
    capture.add(EventRole.FUSED, call.name, reads, call.outputs, 3 * elements, written=elements)
    return True


def _fft(capture: Capture, call: Call) -> bool:
    """5 n log2 n operations of a complex transform of n points, half of that of a real one (Cooley and Tukey)."""
    signal = max((*call.inputs, *call.outputs), key=torch.numel)
    points = math.prod(signal.shape[axis] for axis in call.given["dim"])
    flops = 5.0 * signal.numel() * math.log2(max(2, points)) * (1.0 if call.name == "_fft_c2c" else 0.5)
    call.add(capture, EventRole.FUSED, call.reads(capture), round(flops))
    return True


def _factorisation(capture: Capture, call: Call) -> bool:
    flops = flops_of(call.name, [tensor.shape for tensor in call.inputs], call.given)
    call.add(capture, EventRole.FUSED, call.reads(capture), flops)
    return True


def _scatter(capture: Capture, call: Call) -> bool:
    if not call.in_place:
        call.add(capture, EventRole.FUSED, call.reads(capture))
        return True
    target, sources = call.inputs[0], call.inputs[1:]
    role = EventRole.APPEND if call.name == "index_copy_" or _is_cached(capture, target) else EventRole.FUSED
    written = max((tensor.numel() for tensor in sources if tensor.dtype == target.dtype), default=1)
    if any(not tensor.numel() for tensor in sources):
        return True
    adds = call.name in ACCUMULATE
    taken = min(written, target.numel())
    reads = [capture.access(target, taken if adds else 0), *map(capture.access, sources)]
    capture.add(role, call.name, reads, call.outputs, written if adds else 0, written=taken)
    return True


def _copy_into(capture: Capture, call: Call) -> bool:
    target, source = call.inputs[0], call.inputs[-1]
    role = EventRole.APPEND if _is_cached(capture, target) else EventRole.FUSED
    capture.add(role, call.name, [capture.access(target, 0), capture.access(source)], call.outputs)
    return True


def _cat(capture: Capture, call: Call) -> bool:
    """A cat onto a cached tensor, or onto the empty one that a cache starts from, is an append."""
    old, new = call.inputs[0], call.inputs[1:]
    if len(new) != 1 or not (old.numel() == 0 or _is_cached(capture, old)):
        return False
    reads = [capture.access(old, 0), capture.access(new[0])]
    capture.add(EventRole.APPEND, call.name, reads, call.outputs, written=new[0].numel())
    return True


def _is_cached(capture: Capture, tensor: torch.Tensor) -> bool:
    return capture.value(tensor) in capture.cache_values


def _pad(capture: Capture, call: Call) -> bool:
    """Padding moves bytes like any copy; zeros are remembered as padding."""
    call.add(capture, EventRole.FUSED, call.reads(capture))
    if not (call.args[2] if len(call.args) > 2 else call.kwargs.get("value", 0)):
        capture.note_padding(call.outputs[0], tuple(call.args[1]))
    return True


def _add_bias(capture: Capture, call: Call) -> bool:
    """What torch splits off a linear whose input is not contiguous: the bias joins the product right before it."""
    if len(call.inputs) != 2 or capture.stage == "bwd" or not capture.recording.events:
        return False
    product, bias = call.inputs
    last = capture.recording.events[-1]
    if last.op is None or last.op.kind != OpKind.LINEAR or last.op.bias or last.module != capture.module:
        return False
    if capture.value(product) != last.writes[0].value or bias.dim() != 1 or bias.numel() != last.op.dims["n"]:
        return False
    if capture.weight(bias) is None:
        return False
    capture.recording.events.pop()
    reads = [*last.reads, capture.access(bias)]
    capture.add(EventRole.OWN, last.aten, reads, call.outputs, op=last.op.with_(bias=True))
    added = capture.recording.events.pop()
    weights = (*last.weights, capture.value(bias))
    capture.recording.events.append(replace(added, weights=weights))
    return True


def _distances(capture: Capture, call: Call) -> bool:
    """Distances of rows, not by a product: a difference, a power and a sum per pair and column."""
    call.add(capture, EventRole.FUSED, call.reads(capture), 3 * call.outputs[0].numel() * call.inputs[0].shape[-1])
    return True


def _sampled_product(capture: Capture, call: Call) -> bool:
    """The elements of a product at the places of a sparse matrix."""
    kept, first = call.inputs[:2]
    call.add(capture, EventRole.FUSED, call.reads(capture), 2 * elements_held(kept) * first.shape[-1])
    return True


def _fused_cell(capture: Capture, call: Call) -> bool:
    """The state of a recurrent cell out of its two products, in one kernel."""
    states, kind = call.outputs[0].numel(), "lstm" if "lstm" in call.name else "gru"
    call.add(capture, EventRole.FUSED, call.reads(capture), FLOPS_PER_STATE[kind] * states)
    return True


def _pooling_gradient(capture: Capture, call: Call) -> bool:
    reads = [capture.access(tensor) for tensor in call.inputs if tensor is not call.given.get("self")]
    call.add(capture, EventRole.FUSED, reads, call.outputs[0].numel())
    return True


def _attention(capture: Capture, call: Call) -> bool:
    """A fused attention kernel that torch called by itself."""
    given = call.given
    query, key, value = given["query"], given["key"], given["value"]
    causal = bool(given.get("is_causal", False))
    if call.name.endswith("_backward"):
        gradients = [gradient for gradient in call.out[:3] if isinstance(gradient, torch.Tensor)]
        record_attention_backward(capture, (query, key, value), call.inputs[0], gradients, causal=causal, mask=TOP_LEFT)
    else:
        facts = given_mask(given.get("attn_bias", given.get("attn_mask")))
        record_attention(capture, (query, key, value), call.outputs[0], causal=causal, mask=TOP_LEFT, facts=facts)
    return True


_SPECIAL: Mapping[str, Callable[[Capture, Call], bool]] = {
    **dict.fromkeys((f"{name}{end}" for name in ("addmm", "baddbmm", "addbmm") for end in ("", "_")), lower_mm),
    **dict.fromkeys(
        ("mm", "bmm", "_addmm_activation", "_int_mm", "_sparse_addmm", "_sparse_sparse_matmul", "hspmm", "sspaddmm"),
        lower_mm,
    ),
    **dict.fromkeys(("mv", "addmv", "addmv_"), lower_mv), "_euclidean_dist": lower_distances,
    **dict.fromkeys(("_cdist_forward", "_pdist_forward"), _distances), "sparse_sampled_addmm": _sampled_product,
    "_thnn_fused_lstm_cell": _fused_cell, "_thnn_fused_gru_cell": _fused_cell, "convolution": lower_convolution,
    **dict.fromkeys(("_embedding_bag", "_embedding_bag_forward_only"), _embedding_bag),
    "embedding_renorm_": _renormalised_rows, **dict.fromkeys(("_fft_r2c", "_fft_c2r", "_fft_c2c"), _fft),
    "convolution_backward": lower_convolution_backward, "conv_tbc": lower_convolution_in_time,
    "cat": _cat, "add": _add_bias, "copy_": _copy_into,
    "constant_pad_nd": _pad,
    **dict.fromkeys(GATHER, _gather), **dict.fromkeys(SCATTER, _scatter), **dict.fromkeys(FACTORY, _factory),
    **dict.fromkeys(POOLING_GRADIENTS, _pooling_gradient), **dict.fromkeys(FACTORISATIONS, _factorisation),
}  # fmt: skip
