# SPDX-License-Identifier: Apache-2.0
"""The pieces of a rank's training step: forward and backward pass of each group of layers, and its synchronization.

A piece is some consecutive layers; a pipeline stage has one, or several with an interleaved schedule. Ops before the
first layer belong to the first piece, those after the last layer to the last. After the last micro-batch, gradients of
each layer are added up over the replicas as soon as they are there, beside the backward pass of the layers below, or
after all of it (an all-reduce; with ZeRO 1 and 2 a reduce-scatter, and an all-gather of the updated parameters). With
ZeRO 3 parameters of a layer are gathered before its forward and its backward pass. Source: Rajbhandari et al., ZeRO (SC
2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from fractions import Fraction

from simsparse.config.layout import GradientSync, Layout
from simsparse.core import Op, OpKind, Trace
from simsparse.core.kinds.collective import collective
from simsparse.errors import MappingError
from simsparse.lowering.kept import STATE_BYTES, UPDATE, kept_bytes
from simsparse.lowering.parallel.shares import BACKWARD_WEIGHT, TRAIN, scaled
from simsparse.lowering.trace_index import layer_of

DENSE, EXPERTS = "ddp", "edp"
"""Spans over which gradients are added up: of what all replicas have, and of experts."""


@dataclass(frozen=True)
class Piece:
    """Ops of some layers: forward pass, backward pass, updates, with their dependencies on ops of earlier passes."""

    forward: tuple[Op, ...]
    backward: tuple[Op, ...]
    updates: tuple[Op, ...]

    @property
    def output_bytes(self) -> int:
        """Bytes of activations that the next piece reads."""
        return next((op.output_bytes for op in reversed(self.forward) if op.kind != OpKind.COLLECTIVE), 0)

    @property
    def saved_bytes(self) -> int:
        """Bytes that the forward pass writes and the backward pass reads."""
        read = {dep for op in self.backward for dep in op.deps}
        return sum(_kept_bytes(op, read) for op in self.forward)

    @property
    def widest_bytes(self) -> int:
        """The same of the layer that keeps most."""
        read, by_layer = {dep for op in self.backward for dep in op.deps}, dict[int | None, int]()
        for op in self.forward:
            by_layer[layer_of(op)] = by_layer.get(layer_of(op), 0) + _kept_bytes(op, read)
        return max(by_layer.values(), default=0)

    @property
    def layers(self) -> int:
        """How many layers the piece has."""
        return len({layer for op in self.forward if (layer := layer_of(op)) is not None})

    @property
    def parameters(self) -> int:
        """Bytes of weights."""
        return sum(kept.weights for kept in kept_bytes((*self.forward, *self.updates), caches=False))

    @property
    def states(self) -> int:
        """Bytes of the optimizer's states."""
        return sum(int(op.stats.get(STATE_BYTES, 0)) for op in self.updates)

    @property
    def expert_share(self) -> Fraction:
        """The part of the parameters that belongs to experts."""
        experts = sum(op.resident_bytes for op in self.forward if op.kind == OpKind.MOE_FFN)
        return Fraction(experts, max(1, self.parameters))


def _kept_bytes(op: Op, read: Set[str]) -> int:
    """What the backward pass, which has ``read`` results, needs of an op: its own; of experts each row's input, and the
    hidden row before and after its activation, too."""
    own = op.output_bytes if op.name in read else 0
    if op.kind != OpKind.MOE_FFN:
        return own
    d = op.dims
    row = d["d_model"] + (3 if d["gated"] else 2) * d["d_ff"]
    return own + d["tokens"] * d["top_k"] * row * op.dtype.bits // 8


def pieces_of(trace: Trace, count: int) -> list[Piece]:
    """A rank's training step in ``count`` pieces. Raises MappingError when it is none, or has too few layers."""
    if trace.meta.get("phase") != TRAIN:
        raise MappingError(f"{trace.name} is no training step; trace one with --phase train", key="parallel")
    layers = sorted({layer for op in trace.ops if (layer := layer_of(op)) is not None})
    if count > max(1, len(layers)):
        raise MappingError(f"{len(layers)} layers can't be divided into {count} pieces", key="parallel.pp")
    place = {layer: i * count // len(layers) for i, layer in enumerate(layers)}
    parts: list[tuple[list[Op], list[Op], list[Op]]] = [([], [], []) for _ in range(count)]
    owner, phase, here = dict[str | None, int](), 0, 0
    for op in trace.ops:
        phase = max(phase, 2 if op.label == UPDATE else 1 if op.label.startswith("bwd") else 0)
        if (layer := layer_of(op)) is not None:
            here = place[layer]
        elif phase:
            here = owner.get(op.weight, owner.get(op.module, here))
        elif owner and layers and here == place[layers[-1]]:
            here = count - 1
        if phase == 0:
            owner.update({key: owner.get(key, here) for key in (op.weight, op.module) if key})
        parts[here][phase].append(op)
    return [Piece(_closed(forward), tuple(backward), tuple(updates)) for forward, backward, updates in parts]


def _closed(ops: Sequence[Op]) -> tuple[Op, ...]:
    """Ops with the dependencies among themselves alone."""
    names = {op.name for op in ops}
    return tuple(op.with_(deps=tuple(dep for dep in op.deps if dep in names)) for op in ops)


def forward_trace(piece: Piece, layout: Layout) -> Trace:
    """One forward pass of a piece."""
    gathers = _gathers(piece.forward, layout) if layout.zero == 3 else {}
    return Trace("forward", tuple(_with_gathers(piece.forward, gathers)), {"phase": TRAIN})


def backward_trace(piece: Piece, layout: Layout, last: bool) -> Trace:
    """One backward pass of a piece; of the ``last`` micro-batch with synchronization and updates."""
    ops: list[Op] = list(_closed(piece.backward))
    if layout.zero == 3:
        ops = list(_with_gathers(ops, _gathers(ops, layout)))
    if layout.recompute:
        again = [
            op.with_(name=f"again.{op.name}", deps=tuple(f"again.{dep}" for dep in op.deps)) for op in piece.forward
        ]
        ops = [*again, *ops]
    if not last:
        return Trace("backward", tuple(ops), {"phase": TRAIN})
    return Trace("backward and update", tuple(_synchronized(ops, piece.updates, layout)), {"phase": TRAIN})


def whole_step(trace: Trace, layout: Layout) -> Trace:
    """A training step of one micro-batch, all stages, with the exchange of gradients before the updates."""
    (piece,) = pieces_of(trace, 1)
    ops = (*piece.forward, *_synchronized(piece.backward, piece.updates, layout, piece.forward))
    return replace(trace, ops=ops)


def _gathers(ops: Sequence[Op], layout: Layout) -> dict[str, Op]:
    """The all-gather of parameters before the first op that reads them in each layer, by the op's name."""
    found: dict[str, Op] = {}
    sizes: dict[tuple[int | None, str], int] = {}
    first: dict[tuple[int | None, str], str] = {}
    for op in ops:
        if op.weight and op.label != BACKWARD_WEIGHT and op.kind in (OpKind.LINEAR, OpKind.MOE_FFN):
            key = layer_of(op), EXPERTS if op.kind == OpKind.MOE_FFN else DENSE
            sizes[key] = sizes.get(key, 0) + op.resident_bytes
            first.setdefault(key, op.name)
    for (layer, span), name in first.items():
        ranks = span_ranks(layout, span)
        if ranks > 1:
            found[name] = _over("all_gather", sizes[layer, span] // ranks, span, layout, f"{name}.gather", ())
    return found


def _with_gathers(ops: Sequence[Op], gathers: dict[str, Op]) -> Iterator[Op]:
    """``ops`` with each gather issued a layer ahead of the op that needs it: the gather before it is done."""
    before: tuple[str, ...] = ()
    for op in ops:
        gather = gathers.get(op.name)
        if gather is None:
            yield op
            continue
        yield gather.with_(deps=before)
        before = (gather.name,)
        yield op.with_(deps=(*op.deps, gather.name))


def span_ranks(layout: Layout, span: str) -> int:
    """Ranks over which gradients of a kind are added up."""
    return layout.cp * layout.dp if span == DENSE else layout.stage_ranks // layout.expert_ranks


def _synchronized(ops: Sequence[Op], updates: Sequence[Op], layout: Layout, forward: Sequence[Op] = ()) -> Iterator[Op]:
    """Backward ops, an exchange of gradients per layer and kind, then the updates of a rank's own share, which may
    depend on ops of ``forward`` too."""
    yield from ops
    made, sizes = dict[tuple[int | None, str], list[str]](), dict[tuple[int | None, str], int]()
    for op in ops:
        if op.weight and op.label.startswith("bwd") and op.label != "bwd_input":
            key = layer_of(op), EXPERTS if op.kind == OpKind.MOE_FFN else DENSE
            made.setdefault(key, []).append(op.name)
            sizes[key] = sizes.get(key, 0) + _gradient_bytes(op)
    synced: list[str] = []
    after = [ops[-1].name] if layout.sync == GradientSync.AFTER else []
    for (layer, span), names in made.items():
        if span_ranks(layout, span) > 1:
            name = f"{span}.gradients" if layer is None else f"layers.{layer}.{span}.gradients"
            label = "reduce_scatter" if layout.zero else "all_reduce"
            yield _over(label, sizes[layer, span], span, layout, name, [*names, *after])
            synced.append(name)
    yield from _updated((*forward, *ops), updates, synced, layout)
    for span in (DENSE, EXPERTS) if layout.zero in (1, 2) and updates else ():
        size = sum(own for (_, kind), own in sizes.items() if kind == span)
        if size and span_ranks(layout, span) > 1:
            yield _over("all_gather", size // span_ranks(layout, span), span, layout, f"{span}.parameters",
                        [updates[-1].name])  # fmt: skip


def _updated(ops: Sequence[Op], updates: Sequence[Op], synced: Sequence[str], layout: Layout) -> Iterator[Op]:
    """The optimizer's updates; with ZeRO each rank has its share of what its replicas have."""
    known, experts = {op.name for op in ops}, {op.module for op in ops if op.kind == OpKind.MOE_FFN}
    for op in updates:
        deps = (*(dep for dep in op.deps if dep in known), *synced[-1:])
        span = EXPERTS if (op.weight or "").rpartition(".")[0] in experts else DENSE
        yield scaled(op.with_(deps=deps), Fraction(1, span_ranks(layout, span) if layout.zero else 1))


def _over(label: str, size: int, span: str, layout: Layout, name: str, deps: Sequence[str]) -> Op:
    return collective(label, max(1, size), span_ranks(layout, span), group=span, name=name, dtype="bf16",
                      deps=tuple(deps))  # fmt: skip


def _gradient_bytes(op: Op) -> int:
    """Bytes of the gradients of the parameters that an op reads."""
    if op.kind == OpKind.MOE_FFN:
        return op.resident_bytes
    return int(op.stats.get("parameter_bytes", 0)) or op.output_bytes


def one_stage(layout: Layout) -> Layout:
    """The layout of one stage alone, among the ranks of all."""
    return replace(layout, pp=1, chunks=1, schedule="1f1b")
