# SPDX-License-Identifier: Apache-2.0
"""Weights as policies know them: an identity that lasts across steps, and which ops read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    return [
        op.unit is not Unit.LINK
        and (op.definition.routed or (scope is WeightScope.ALL and index.facts(i).weight_bytes > 0))
        for i, op in enumerate(index.ops)
    ]


def weights_read(index: TraceIndex, i: int) -> tuple[Weight, ...]:
    """The weights that op ``i`` reads: its matrix, or the experts that it hits."""
    facts = index.facts(i)
    return tuple(_weights(index, i, facts.experts_hit if facts.experts else None))


def weights_stored(index: TraceIndex, i: int) -> tuple[Weight, ...]:
    """The weights of op ``i``, experts that it does not hit among them."""
    facts = index.facts(i)
    return tuple(_weights(index, i, tuple(range(facts.experts)) if facts.experts else None))


def _weights(index: TraceIndex, i: int, experts: tuple[int, ...] | None) -> Iterator[Weight]:
    op, facts = index.ops[i], index.facts(i)
    matrix = op.weight or same_in_every_step(op.name)
    if experts is None:
        yield Weight(index.layer[i], matrix, None, facts.weight_bytes)
        return
    for expert in experts:
        yield Weight(index.layer[i], matrix, expert, facts.expert_bytes, facts.experts)
