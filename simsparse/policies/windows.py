# SPDX-License-Identifier: Apache-2.0
"""Windows: the ops between which weights may be copied ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simsparse.lowering.trace_index import TraceIndex
from simsparse.lowering.weights import Weight, WeightScope, weights_read, weights_stored


@dataclass(frozen=True)
class PrefetchWindow:
    """Consecutive ops of one step; ``streamed`` are those among them whose weights rest in host memory."""

    ops: range
    streamed: tuple[int, ...]

    def read(self, index: TraceIndex) -> tuple[Weight, ...]:
        """The streamed weights that the window's ops read, in order."""
        return tuple(weight for i in self.streamed for weight in weights_read(index, i))

    def stored(self, index: TraceIndex) -> tuple[Weight, ...]:
        """The same with experts that are not hit."""
        return tuple(weight for i in self.streamed for weight in weights_stored(index, i))


def windows(index: TraceIndex, scope: WeightScope, streamed: Sequence[bool]) -> tuple[tuple[PrefetchWindow, ...], ...]:
    """The windows of each step.

    ``experts``: a window ends with each MoE op. ``all``: a window is a run of ops of one layer; an op
    with weights outside of layers is a window of its own.
    """
    return tuple(_of_step(index, scope, streamed, step) for step in index.steps)


def _of_step(
    index: TraceIndex, scope: WeightScope, streamed: Sequence[bool], step: range
) -> tuple[PrefetchWindow, ...]:
    begins = _after_each_moe(streamed, step) if scope is WeightScope.EXPERTS else _between_layers(index, streamed, step)
    starts = [step.start, *begins]
    return tuple(
        PrefetchWindow(range(start, end), tuple(i for i in range(start, end) if streamed[i]))
        for start, end in zip(starts, [*begins, step.stop], strict=True)
        if start < end
    )


def _after_each_moe(streamed: Sequence[bool], step: range) -> list[int]:
    return [i + 1 for i in step if streamed[i] and i + 1 < step.stop]


def _between_layers(index: TraceIndex, streamed: Sequence[bool], step: range) -> list[int]:
    """Indexes at which a new window begins."""
    owners: list[int] = []
    for i in step:
        layer = index.layer[i]
        if layer is not None:
            owners.append(layer)
        elif streamed[i] or not owners:
            owners.append(-1 - i)
        else:
            owners.append(owners[-1])
    return [step.start + i for i in range(1, len(owners)) if owners[i] != owners[i - 1]]
