# SPDX-License-Identifier: Apache-2.0
"""What makes weights out of parameters is left out of an inference pass: it is the same in every pass.

A model computes a pruned, normalised, merged or dequantised weight anew each time that it runs; whoever serves it does
so once. Only what ends in weights of products and tables of embeddings alone is left out. A training step keeps it all.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from simsparse.trace.capture.event import Event, EventRole, Recording


def without_weight_making(recording: Recording) -> tuple[Recording, int]:
    """``recording`` without the events that make nothing but weights, and how many they were."""
    readers: dict[int, list[int]] = defaultdict(list)
    for i, event in enumerate(recording.events):
        for access in event.reads:
            readers[access.value].append(i)
    folded: set[int] = set()
    for i in range(len(recording.events) - 1, -1, -1):
        if _makes_weights(recording, recording.events[i], readers, folded):
            folded.add(i)
    kept = [event for i, event in enumerate(recording.events) if i not in folded]
    return replace(recording, events=kept), len(folded)


def _makes_weights(recording: Recording, event: Event, readers: dict[int, list[int]], folded: set[int]) -> bool:
    made = {access.value for access in event.writes}
    if event.stage or not made or not made <= recording.made_weights.keys() or made & recording.returned:
        return False
    used = [(i, value) for value in made for i in readers[value]]
    return bool(used) and all(i in folded or _is_weight_of(recording.events[i], value) for i, value in used)


def _is_weight_of(event: Event, value: int) -> bool:
    return event.role in (EventRole.OWN, EventRole.GATHER) and value in event.weights
