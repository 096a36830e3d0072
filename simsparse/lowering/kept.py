# SPDX-License-Identifier: Apache-2.0
"""What each op keeps in memory for the whole run: weights, cached keys and values, optimizer state."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from simsparse.core import Op, OpKind

UPDATE = "update"
"""Label of an optimizer's update of one parameter."""
BACKWARD, BACKWARD_INPUT = "bwd", "bwd_input"
"""How labels of the backward pass begin, and the label of a gradient of an input."""
STATE_BYTES, PARAMETER_BYTES = "state_bytes", "parameter_bytes"
"""Facts of an op: what the optimizer keeps of its parameter, and the parameter where the dims do not give its size."""
CACHE_BYTES = "cache_bytes"
"""Fact of an op: states of recurrences that it leaves in a cache."""
WITHOUT_CACHE = ("forward", "train")
"""Phases in which keys and values are activations."""
WEIGHT_PART = "weight_part"
"""Fact of an op that reads a part of a parameter: which."""
_STEP = re.compile(r"^step\d+\.")


class KeptBytes(NamedTuple):
    """Bytes that an op keeps in a device's memory; 0 of what an earlier op has.

    ``weights``, every expert's included; ``kv``, keys, values and states in a cache; ``state``, of the optimizer.
    """

    weights: int = 0
    kv: int = 0
    state: int = 0


NOTHING = KeptBytes()


def kept_bytes(ops: Sequence[Op], caches: bool) -> tuple[KeptBytes, ...]:
    """What each op keeps. Parameters of one name take memory once, and so does the cache of an op in several steps.

    ``caches``: keys and values stay after the pass. The matrices of experts, which an optimizer updates one by one,
    are those of their layer's op.
    """
    firsts, seen, cached = first_places(ops), set[tuple[str, str]](), dict[str, int]()
    unlike = [ops[i] for i in firsts]
    sizes = updated_bytes(unlike)
    mixtures = {name for op in unlike if op.kind == OpKind.MOE_FFN for name in (op.weight, op.module) if name}
    first: list[KeptBytes] = []
    again: dict[int, KeptBytes] = {}  # what an op keeps is there when a later step runs it
    for op in unlike:
        weights, name, kv = 0, same_in_every_step(op.name), op.resident_kv_bytes if caches else 0
        kv += int(op.stats.get(CACHE_BYTES, 0)) if caches else 0
        matrix = (op.weight or name, "" if op.weight in sizes else str(op.stats.get(WEIGHT_PART, "")))
        of_experts = op.label == UPDATE and matrix[0].rpartition(".")[0] in mixtures
        if matrix not in seen and not of_experts:
            weights = sizes.get(matrix[0]) or op.resident_bytes or int(op.stats.get(PARAMETER_BYTES, 0))
        if weights:
            seen.add(matrix)
        state = int(op.stats.get(STATE_BYTES, 0))
        first.append(KeptBytes(weights, max(0, kv - cached.get(name, 0)), state))
        again[id(op)] = KeptBytes(state=state) if state else NOTHING
        if kv:
            cached[name] = max(kv, cached.get(name, 0))
    found = list(map(again.__getitem__, map(id, ops)))
    for i, kept in zip(firsts, first, strict=True):
        found[i] = kept
    return tuple(found)


def first_places(ops: Sequence[Op]) -> list[int]:
    """Where each op object comes first, in order: steps share the ops that do not change."""
    places = range(len(ops) - 1, -1, -1)
    return sorted(dict(zip(map(id, reversed(ops)), places, strict=True)).values())


def updated_bytes(ops: Sequence[Op]) -> Mapping[str, int]:
    """Bytes of each parameter that an optimizer updates: what its update writes beside the state."""
    return {
        op.weight: op.output_bytes - int(op.stats.get(STATE_BYTES, 0))
        for op in ops
        if op.label == UPDATE and op.weight is not None
    }


def same_in_every_step(name: str) -> str:
    """The name of an op without the step that a trace of several decode steps puts before it."""
    return _STEP.sub("", name)
