# SPDX-License-Identifier: Apache-2.0
"""The last layers on the GPU, those before on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simsparse.core import Unit
from simsparse.errors import MappingError, SpecError
from simsparse.lowering.held import HeldWeights
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.policies.placement.base import PLACEMENTS, Placer

FIT = "fit"


@PLACEMENTS.register("layer_split")
@dataclass(frozen=True)
class LayerSplit(Placer):
    """The last ``layers`` layers, and what comes after them, on the first processor; the others, and what comes before
    them, on the host, as llama.cpp splits a model by a number of layers.

    ``fit``: as many layers as the processor's memory holds beside the ops after them; activations, the largest one of
    each, are left room. Raises SpecError on another number, MappingError where there is no host or an op is refused.
    """

    name = "layer_split"
    layers: int | str = FIT

    def __post_init__(self) -> None:
        number = isinstance(self.layers, int) and not isinstance(self.layers, bool) and self.layers >= 0
        if self.layers != FIT and not number:
            raise SpecError(f"{self.layers!r} is not {FIT} or a number of layers from 0", key="layers")

    def devices(self, index: TraceIndex, machine: Machine, streamed: Sequence[bool]) -> tuple[str, ...]:
        host, here = machine.require_host(self.name), machine.processors[0]
        numbers = sorted({layer for layer in index.layer if layer is not None})
        count = min(self.layers, len(numbers)) if isinstance(self.layers, int) else _fitting(
            index, machine, streamed, numbers, here)  # fmt: skip
        chosen, found, place = set(numbers[len(numbers) - count :]), list[str](), host
        for op, layer in zip(index.ops, index.layer, strict=True):
            if layer is not None:
                place = here if layer in chosen else host
            found.append(place)
            if op.unit is not Unit.LINK and (reason := machine.devices[place].supports(op)):
                raise MappingError(f"can't run on {place}: {reason}", key=op.name)
        return tuple(found)


def _fitting(index: TraceIndex, machine: Machine, streamed: Sequence[bool], numbers: Sequence[int], device: str) -> int:
    """How many of the last layers the memory of ``device`` holds."""
    room = machine.devices[device].model.memory_bytes
    if room is None:
        return len(numbers)
    held, sizes, after, seen = HeldWeights(index, machine), dict.fromkeys(numbers, 0), 0, False
    for i, layer in enumerate(index.layer):
        kept = (0 if streamed[i] else held.bytes(i, device)) + index.kept[i].kv
        if layer is not None:
            sizes[layer], seen = sizes[layer] + kept, True
        elif seen:
            after += kept
    room -= after + max((2 * index.facts(i).output_bytes + index.facts(i).input_bytes
                         for i in range(len(index.ops))), default=0)  # fmt: skip
    count = 0
    for layer in reversed(numbers):
        room -= sizes[layer]
        if room < 0:
            break
        count += 1
    return count
