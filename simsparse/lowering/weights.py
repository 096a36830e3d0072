# SPDX-License-Identifier: Apache-2.0
"""Weights as policies know them: an identity that lasts across steps, and which ops read them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from simsparse.core import Unit
from simsparse.core.memo import by_identity
from simsparse.lowering.kept import same_in_every_step
from simsparse.lowering.trace_index import TraceIndex


class WeightScope(StrEnum):
    """Which weights rest in host memory: those of experts, or every op's."""

    EXPERTS = "experts"
    ALL = "all"


class Weight(NamedTuple):
    """A matrix or an expert of a model; equal in every step.

    ``layer`` is None outside of layers; ``of``: how many experts the op has that reads it, 1 of a matrix.
    """

    layer: int | None
    matrix: str
    expert: int | None
    bytes: int
    of: int = 1


@by_identity(maxsize=64)
def streamed_ops(index: TraceIndex, scope: WeightScope | None) -> Sequence[bool]:
    """Per op whether its weights rest in host memory; None: no op's do."""
    if scope is None:
        return [False] * len(index.ops)
    known = {
        slot: op.unit is not Unit.LINK
        and (op.definition.routed or (scope is WeightScope.ALL and index.facts_of(slot).weight_bytes > 0))
        for slot, op in enumerate(index.unique)
    }
    return [known[slot] for slot in index.slot]


def weights_read(index: TraceIndex, i: int) -> tuple[Weight, ...]:
    """The weights that op ``i`` reads: its matrix, or the experts that it hits."""
    return _weights(index, i, stored=False)


def weights_stored(index: TraceIndex, i: int) -> tuple[Weight, ...]:
    """The weights of op ``i``, experts that it does not hit among them."""
    return _weights(index, i, stored=True)


def _weights(index: TraceIndex, i: int, *, stored: bool) -> tuple[Weight, ...]:
    key = id(index.ops[i]), stored
    if key not in index.weights:
        facts, whole = index.facts(i), _stored(index, i)
        index.weights[key] = whole if stored or not facts.experts else tuple([whole[e] for e in facts.experts_hit])
    found: tuple[Weight, ...] = index.weights[key]
    return found


def _stored(index: TraceIndex, i: int) -> tuple[Weight, ...]:
    """The matrix of op ``i``, or all its experts; ops that store the same share them."""
    op, facts, layer = index.ops[i], index.facts(i), index.layer[i]
    matrix = op.weight or same_in_every_step(op.name)
    if not facts.experts:
        return (Weight(layer, matrix, None, facts.weight_bytes),)
    key = layer, matrix, facts.expert_bytes, facts.experts
    if key not in index.experts:
        index.experts[key] = tuple([Weight(layer, matrix, expert, facts.expert_bytes, facts.experts)
                                    for expert in range(facts.experts)])  # fmt: skip
    found: tuple[Weight, ...] = index.experts[key]
    return found
