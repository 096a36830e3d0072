"""A trace as policies see it: distinct operators, what they hold in memory, which layer they are in."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simsparse.core import Op, Trace
from simsparse.core.memo import by_identity
from simsparse.lowering.kept import WITHOUT_CACHE, kept_bytes
from simsparse.sparsity import USUAL

if TYPE_CHECKING:
    from simsparse.lowering.command_graph import CommandGraph

_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|blocks|block|h)\.(\d+)(?:\.|$)")


@dataclass(frozen=True, slots=True)
class OpFacts:
    """Bytes and flops of an op. ``input_bytes`` are those of activations, without ``kv_bytes``, the keys and values
    that it reads."""

    weight_bytes: int
    expert_bytes: int
    experts_hit: tuple[int, ...]
    experts: int
    kv_bytes: int
    input_bytes: int
    output_bytes: int
    min_bytes: int
    flops: int

    @classmethod
    def of(cls, op: Op) -> OpFacts:
        experts = op.dims["experts"] if op.definition.routed else 0
        hit = op.routing.hit if op.routing else ()
        weight, kv, into, out = op.weight_bytes, op.kv_bytes, op.input_bytes, op.output_bytes
        return cls(weight, op.expert_bytes, hit, experts, kv, into - kv, out, weight + into + out, op.flops)


class TraceIndex:
    """A trace with its distinct ops (equal signature) told apart once.

    ``unique[slot[i]]`` costs what op i costs; ``deps[i]`` are indexes of earlier ops; ``layer[i]``
    is the decoder layer that the module path names, None outside of layers; ``special_weights`` are the distinct ops
    whose weights are sparse or in a format that is not the usual one, by slot; ``kept[i]`` what op i keeps
    in memory; ``caches`` whether keys and values stay after the pass; ``graphs`` remembers the command
    graphs that policies made of the trace.
    """

    def __init__(self, trace: Trace) -> None:
        first: dict[tuple[object, ...], int] = {}
        unique: list[Op] = []
        slots: list[int] = []
        for op in trace.ops:
            # Experts hit by number matter to what is copied, not to what the op costs.
            key = (op.signature, op.routing.hit if op.routing else ())
            slot = first.setdefault(key, len(first))
            if slot == len(unique):
                unique.append(op)
            slots.append(slot)
        self.trace, self.unique, self.slot = trace, tuple(unique), tuple(slots)
        self._facts = tuple(map(OpFacts.of, unique))
        index = {op.name: i for i, op in enumerate(trace.ops)}
        self.deps = tuple(tuple(index[dep] for dep in op.deps) for op in trace.ops)
        self.layer = tuple(layer_of(op) for op in trace.ops)
        self.special_weights = {
            slot: op for slot, op in enumerate(unique) if not op.weight_sparsity.is_dense or op.weight_format != USUAL
        }
        self.graphs: dict[Hashable, CommandGraph] = {}
        self.caches = trace.meta.get("phase") not in WITHOUT_CACHE
        self.kept = kept_bytes(trace.ops, self.caches)

    def facts(self, index: int) -> OpFacts:
        """What op ``index`` holds and moves."""
        return self._facts[self.slot[index]]


def layer_of(op: Op) -> int | None:
    """The number after ``layers`` (or ``h``, ``block``) in the op's module path, or else its name."""
    match = _LAYER.search(op.module) or _LAYER.search(op.name)
    return int(match[1]) if match else None


@by_identity(maxsize=64)
def trace_index_of(trace: Trace) -> TraceIndex:
    """The trace's TraceIndex; the last 64 are kept."""
    return TraceIndex(trace)
