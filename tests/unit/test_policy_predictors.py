# SPDX-License-Identifier: Apache-2.0
"""Predictors and the caches that came with them: their contracts, and what each of them must find."""

from __future__ import annotations

from collections import OrderedDict

import pytest

from simsparse import simulate
from simsparse.core import CacheUse
from simsparse.errors import SpecError
from simsparse.policies import policy_of
from simsparse.policies.prefetch.co_activated import CoActivated
from simsparse.policies.prefetch.nearest import Nearest
from simsparse.policies.prefetch.perfect import Perfect
from simsparse.policies.residency.fifo import Fifo
from simsparse.policies.residency.frequency_layer import FrequencyLayer
from simsparse.policies.residency.ring import BufferRing
from simsparse.sources import Steps
from simsparse.testing import PolicyPartContract
from simsparse.testing.fake_machine import moe_trace, offload_system

LAYERS, EXPERTS = 3, 8


class TestFifo(PolicyPartContract):
    part = Fifo(experts=4)


class TestFrequencyLayer(PolicyPartContract):
    part = FrequencyLayer(experts=4)


class TestRing(PolicyPartContract):
    part = BufferRing()


class TestPerfect(PolicyPartContract):
    part = Perfect()


class TestCoActivated(PolicyPartContract):
    part = CoActivated()


class TestNearest(PolicyPartContract):
    part = Nearest()


def source(ids: list[list[int]]) -> Steps:
    """Steps of three layers with one of eight experts each: ``ids[step][layer]``."""
    given = [{f"layers.{layer}.moe": [[expert]] for layer, expert in enumerate(step)} for step in ids]
    return Steps(moe_trace(layers=LAYERS, experts=EXPERTS, hit=1), len(ids), given)


def use(ids: list[list[int]], **roles: object) -> CacheUse:
    return simulate(source(ids), offload_system(), roles).cache["gpu0"]


def drawn(steps: int) -> list[list[int]]:
    """Some experts, most of them among a few."""
    return [
        [(step * step + 3 * layer) % (EXPERTS if step % 3 else 3) for layer in range(LAYERS)] for step in range(steps)
    ]


@pytest.mark.parametrize("room", [2, 4, 7])
def test_fifo_misses_what_a_queue_misses(room: int) -> None:
    ids, queue, misses = drawn(24), OrderedDict[tuple[int, int], None](), 0
    for step in ids:
        for key in enumerate(step):
            if key not in queue:
                misses += 1
                if len(queue) == room:
                    queue.popitem(last=False)
                queue[key] = None
    found = use(ids, residency={"kind": "fifo", "experts": room})
    assert (found.misses, found.hits) == (misses, 24 * LAYERS - misses)


def test_a_perfect_prediction_leaves_the_first_layer_to_wait() -> None:
    ids = drawn(10)
    for distance in (1, 2):
        found = use(ids, residency="ring", prefetch={"kind": "perfect", "distance": distance})
        assert (found.misses, found.copied_ahead) == (10, 10 * (LAYERS - 1))


def test_seeing_further_ahead_hides_more_of_a_copy() -> None:
    """A layer without compute to hide behind gets its experts during the layer before that."""
    seconds = [
        simulate(source(drawn(10)), offload_system(), {"residency": "ring",
                 "prefetch": {"kind": "perfect", "distance": distance}}).latency_s
        for distance in (1, 2)
    ]  # fmt: skip
    assert seconds[1] <= seconds[0]


def test_buffers_for_one_layer_are_not_given_two() -> None:
    with pytest.raises(SpecError, match="copies for 2 layers ahead, and the residency none has buffers for one"):
        policy_of({"residency": "none", "prefetch": {"kind": "nearest", "distance": 2}})


@pytest.mark.parametrize("kind", ["perfect", "nearest"])
@pytest.mark.parametrize("distance", [0, True, 1.5, 65])
def test_distances_are_checked(kind: str, distance: object) -> None:
    with pytest.raises(SpecError, match="no whole number from 1 to 64"):
        policy_of({"residency": "ring", "prefetch": {"kind": kind, "distance": distance}})


def test_pairs_that_always_go_together_are_found_after_they_were_seen() -> None:
    """Each layer's expert follows from that of the layer before; steps 0 to 4 show all pairs."""
    ids = [[step % 5, (step + 1) % 5, (step + 2) % 5] for step in range(15)]
    found = use(ids, residency="ring", prefetch="co_activated")
    seen, right = set[tuple[int, int, int]](), 0
    for step in ids:
        for layer in range(LAYERS - 1):
            pair = layer, step[layer], step[layer + 1]
            right += pair in seen
            seen.add(pair)
    assert found.hits == right == 20
    assert found.misses == 15 * LAYERS - right


def test_the_nearest_step_tells_the_next_layers() -> None:
    """Steps repeat with period three: from the fourth on, all but the first layer is right, whatever the distance."""
    ids = [[step % 3, 3 + step % 3, 5 + step % 3] for step in range(12)]
    for distance in (1, 2):
        found = use(ids, residency="ring", prefetch={"kind": "nearest", "distance": distance})
        assert found.hits == 9 * (LAYERS - 1)
    assert use(ids, residency="ring", prefetch={"kind": "nearest", "history": 2}).hits == 0


def test_a_popular_expert_outlasts_a_recent_one() -> None:
    """LRU loses expert 0 of a layer to three that come once; its share of the reads keeps it."""
    ids = [[0, 0, 0]] * 6 + [[number, number, number] for number in (1, 2, 3)] + [[0, 0, 0]]
    popular = use(ids, residency={"kind": "frequency_layer", "experts": 2, "per_layer": True})
    recent = use(ids, residency={"kind": "lru", "experts": 2, "per_layer": True})
    assert popular.misses == recent.misses - LAYERS
