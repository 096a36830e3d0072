# SPDX-License-Identifier: Apache-2.0
"""A source as policies see it: distinct operators, what they hold in memory, which layer they are in."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, chain, repeat
from typing import TYPE_CHECKING, Any, TypeVar

from simsparse.core import Op, Trace
from simsparse.core.memo import by_identity
from simsparse.lowering.kept import NOTHING, WITHOUT_CACHE, KeptBytes, first_places, kept_bytes
from simsparse.sparsity import USUAL

if TYPE_CHECKING:
    from simsparse.lowering.command_graph import CommandGraph

T = TypeVar("T")
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
    """What policies see of a source: the ops of all its steps, one after another, with distinct ops told apart once.

    Distinct ops differ in signature, or in the experts that they hit. ``ops`` and ``names`` are those of all
    steps, names of later ones with the step before them; ``steps`` are the ranges of their indexes, ``step[i]`` the
    step of op i, ``first_places`` where each op object comes first. ``unique[slot[i]]``
    costs what op i costs; ``deps[i]`` are indexes of earlier ops that wrote what op i reads. A step waits for the one
    before it: its ops without ``deps`` are ``waiting``. ``layer[i]`` is the decoder layer that the
    module path names, None outside of layers; ``special_weights`` are the distinct ops whose weights are sparse or in a
    format that is not the usual one, by slot, ``special_read`` those of them whose outputs a later op reads;
    ``kept[i]`` what op i keeps in memory; ``caches`` whether keys
    and values stay after the pass; ``graphs`` remembers the command graphs that policies made of the source,
    ``weights`` and ``experts`` what simsparse.lowering.weights found of ops, which steps may share.
    ``trace`` and ``first`` are the first step and its index, whose ``kept`` is what its ops keep after all steps.
    """

    def __init__(self, *passes: Trace) -> None:
        self.trace = passes[0]
        self.ops = tuple(chain.from_iterable(each.ops for each in passes))
        ends = list(accumulate(len(each.ops) for each in passes))
        self.steps = tuple(map(range, [0, *ends], ends))
        self.names = tuple([f"step{step}.{op.name}" if step else op.name
                            for step, each in enumerate(passes) for op in each.ops])  # fmt: skip
        self.step = tuple(chain.from_iterable(repeat(step, len(each.ops)) for step, each in enumerate(passes)))
        self.first_places = first_places(self.ops)
        self.unique, self.slot = _distinct(self.ops, self.first_places)
        self._facts = tuple(map(OpFacts.of, self.unique))
        self.deps = _dependencies(passes, [step.start for step in self.steps])
        self.waiting = tuple([i for step in self.steps if step.start for i in step if not self.deps[i]])
        self.layer = _of_each(self.ops, self.first_places, layer_of)
        self.special_weights = {
            slot: op for slot, op in enumerate(self.unique) if is_special(op)
        }  # fmt: skip
        read = {self.slot[dep] for deps in self.deps for dep in deps} if self.special_weights else set()
        self.special_read = {slot: op for slot, op in self.special_weights.items() if slot in read}
        self.graphs: dict[Hashable, CommandGraph] = {}
        self.weights: dict[tuple[int, bool], tuple[Any, ...]] = {}
        self.experts: dict[Hashable, tuple[Any, ...]] = {}
        self.caches = self.trace.meta.get("phase") not in WITHOUT_CACHE
        self.kept = kept_bytes(self.ops, self.caches)
        self.first = self if len(passes) == 1 else TraceIndex(passes[0])
        if self.first is not self:
            self.first.kept = self._kept_at_the_end()

    def _kept_at_the_end(self) -> tuple[KeptBytes, ...]:
        """What the ops of the first step and those of the same names in later ones keep, by ops of the first."""
        found: dict[str, KeptBytes] = {}
        for i in self.keeping:
            name, before = self.ops[i].name, found.get(self.ops[i].name, NOTHING)
            found[name] = KeptBytes(*(each + more for each, more in zip(before, self.kept[i], strict=True)))
        return tuple(found[op.name] for op in self.trace.ops)

    @cached_property
    def keeping(self) -> Sequence[int]:
        """The ops of the first step, and those of later ones that keep more."""
        first = self.steps[0].stop
        return [*range(first), *(i for i, kept in enumerate(self.kept) if i >= first and kept is not NOTHING)]

    def waits(self, index: int) -> tuple[int, ...]:
        """The ops that have to be done before op ``index``, whose outputs it does not read."""
        begin = self.steps[self.step[index]].start
        return (begin - 1,) if begin and not self.deps[index] else ()

    def facts(self, index: int) -> OpFacts:
        """What op ``index`` holds and moves."""
        return self._facts[self.slot[index]]

    def facts_of(self, slot: int) -> OpFacts:
        """The same of the distinct op ``slot``."""
        return self._facts[slot]


def _distinct(ops: Sequence[Op], firsts: Sequence[int]) -> tuple[tuple[Op, ...], tuple[int, ...]]:
    """One op of each distinct kind, and the place of each op's kind among them; ``firsts`` as first_places."""
    first: dict[tuple[object, ...], int] = {}
    unique: list[Op] = []

    def slot(op: Op) -> int:
        # Experts hit by number matter to what is copied, not to what the op costs.
        key = (op.signature, op.routing.hit if op.routing else ())
        found = first.setdefault(key, len(first))
        if found == len(unique):
            unique.append(op)
        return found

    slots = _of_each(ops, firsts, slot)
    return tuple(unique), slots


def _of_each(ops: Sequence[Op], firsts: Sequence[int], of: Callable[[Op], T]) -> tuple[T, ...]:
    """``of`` each op, which is called once per op object; ``firsts`` as first_places."""
    known = {id(ops[i]): of(ops[i]) for i in firsts}
    return tuple(map(known.__getitem__, map(id, ops)))


def _dependencies(passes: Sequence[Trace], starts: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The dependencies of the ops of each pass, whose first op has the index of ``starts``."""
    found: list[tuple[int, ...]] = []
    within: list[tuple[int, ...]] = []
    before: tuple[Op, ...] = ()
    for each, start in zip(passes, starts, strict=True):
        if not _alike(each.ops, before):
            place = {op.name: i for i, op in enumerate(each.ops)}
            within = [tuple([place[dep] for dep in op.deps]) for op in each.ops]
        before = each.ops
        found += [(start + deps[0],) if len(deps) == 1 else tuple([start + dep for dep in deps]) for deps in within]
    return tuple(found)


def _alike(ops: Sequence[Op], others: Sequence[Op]) -> bool:
    """Whether two passes have ops of the same names and dependencies."""
    return len(ops) == len(others) and all(
        op is other or (op.name == other.name and op.deps == other.deps)
        for op, other in zip(ops, others, strict=True)
    )  # fmt: skip


def is_special(op: Op) -> bool:
    """Whether the weights of ``op`` are sparse, or in a format that is not the usual one."""
    return not op.weight_sparsity.is_dense or op.weight_format != USUAL


def layer_of(op: Op) -> int | None:
    """The number after ``layers`` (or ``h``, ``block``) in the op's module path, or else its name."""
    return _layer_in(op.module, op.name)


@lru_cache(maxsize=1 << 16)
def _layer_in(module: str, name: str) -> int | None:
    match = _LAYER.search(module) or _LAYER.search(name)
    return int(match[1]) if match else None


@by_identity(maxsize=64)
def trace_index_of(trace: Trace) -> TraceIndex:
    """The trace's TraceIndex; the last 64 are kept."""
    return TraceIndex(trace)
