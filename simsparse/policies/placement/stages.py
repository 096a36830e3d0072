# SPDX-License-Identifier: Apache-2.0
"""Layers in order over the stages of a pipeline, each stage on a processor of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simsparse.core import Unit
from simsparse.errors import MappingError
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.policies.placement.base import PLACEMENTS, Placer


@PLACEMENTS.register("stages")
@dataclass(frozen=True)
class Stages(Placer):
    """As many layers to each processor, the first ones one more where they are uneven; ops before the first layer to
    the first processor, those after the last to the last.

    Raises MappingError when there are fewer layers than processors, or an op refuses its processor.
    """

    name = "stages"

    def devices(self, index: TraceIndex, machine: Machine, streamed: Sequence[bool]) -> tuple[str, ...]:
        del streamed
        stages, layers = machine.processors, sorted({layer for layer in index.layer if layer is not None})
        if len(stages) > max(1, len(layers)):
            raise MappingError(f"{len(layers)} layers can't be divided over {len(stages)} stages", key=index.trace.name)
        place = {layer: i * len(stages) // len(layers) for i, layer in enumerate(layers)}
        found, here, seen = list[str](), 0, -1
        for op, layer in zip(index.ops, index.layer, strict=True):
            if layer is not None:
                here, seen = place[layer], max(seen, layer)
            elif layers and seen == layers[-1]:
                here = len(stages) - 1
            found.append(stages[here])
            if op.unit is not Unit.LINK and (reason := machine.devices[stages[here]].supports(op)):
                raise MappingError(f"can't run on {stages[here]}: {reason}", key=op.name)
        return tuple(found)
