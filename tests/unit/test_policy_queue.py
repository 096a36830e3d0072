# SPDX-License-Identifier: Apache-2.0
"""A queue of guessed experts, which those that a layer misses go before.

The fake link takes 1 us and 1 ns per byte of a piece; each operator takes 1 us.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from simsparse import simulate
from simsparse.core import Result
from simsparse.errors import SpecError
from simsparse.policies import Policy, policy_of
from simsparse.policies.prefetch.queued import Queued
from simsparse.policies.residency.lru import Lru
from simsparse.sources import Steps
from simsparse.testing import PolicyPartContract
from simsparse.testing.fake_machine import moe_trace, offload_system
from simsparse.units import seconds_to_fs

LAYERS, EXPERTS, PIECE = 3, 8, 100


class TestQueued(PolicyPartContract):
    part = Queued(right=0.5)

    @property
    def policy(self) -> Policy:  # type: ignore[override]
        return Policy(self.part.name, residency=Lru(experts=8), prefetch=self.part)


def run(steps: int = 12, chunk: int | None = PIECE, experts: int = 12, **prefetch: object) -> Result:
    """Decode steps of three layers that choose one of eight experts each."""
    given = [{f"layers.{layer}.moe": [[(3 * step + layer + step // 4) % EXPERTS]] for layer in range(LAYERS)}
             for step in range(steps)]  # fmt: skip
    residency = {"kind": "lru", "experts": experts, **({"chunk_bytes": chunk} if chunk else {})}
    source = Steps(moe_trace(layers=LAYERS, experts=EXPERTS, hit=1), steps, given)
    result: Result = simulate(source, offload_system(), {"residency": residency, "prefetch": prefetch or "none"})
    return result


@pytest.mark.parametrize("right", [0.0, 0.5, 1.0])
def test_a_queue_in_the_order_of_its_calls_is_a_copy_engine(right: float) -> None:
    """Issued before the run, or called for when the gates have run: the same copies at the same times.

    Nothing is evicted, which a queue does when a copy begins, and other prefetches when they call for it; no expert is
    read twice, which of the queue alone waits for no wrong guess of its layer.
    """
    before = run(steps=4, experts=LAYERS * EXPERTS, kind="guessed", right=right)
    during = run(steps=4, experts=LAYERS * EXPERTS, kind="queued", right=right, interrupts=False)
    assert during.latency_s == before.latency_s
    assert during.cache["gpu0"].copied_bytes == before.cache["gpu0"].copied_bytes
    assert during.energy_j == pytest.approx(before.energy_j, rel=1e-12)


def test_wrong_guesses_cost_no_more_than_the_piece_under_way() -> None:
    """Uninterrupted they cost whole experts; the guess that is under way when a gate has run ends its piece."""
    demand, queued = run(), run(kind="queued", right=0.0)
    in_order = run(kind="queued", right=0.0, interrupts=False)
    piece = 1e-6 + PIECE * 1e-9
    assert demand.latency_s < queued.latency_s <= demand.latency_s + 12 * LAYERS * piece
    assert in_order.latency_s > queued.latency_s
    assert in_order.cache["gpu0"].copied_bytes > queued.cache["gpu0"].copied_bytes


def test_a_guess_that_the_gate_confirms_is_copied_on_from_where_it_is() -> None:
    right = run(kind="queued", right=1.0)
    assert right.latency_s < run().latency_s
    assert right.cache["gpu0"].copied_bytes == run().cache["gpu0"].copied_bytes


def test_what_is_needed_now_comes_right_behind_the_piece_under_way() -> None:
    """Two layers ahead are known; the copies of the second stop when the first misses an expert."""
    result = run(kind="queued", predictor="perfect", distance=2)
    copies = [span for span in result.timeline.spans if span.kind == "copy"]
    assert all(after.start_fs >= before.end_fs for before, after in pairwise(copies))
    nearest = [int(span.name.split("layers.")[1][0]) for span in copies]
    assert any(before > after for before, after in pairwise(nearest))
    assert max(span.end_fs - span.start_fs for span in copies) <= seconds_to_fs(1e-6 + PIECE * 1e-9) + 1


def test_all_time_is_accounted_for() -> None:
    result = run(kind="queued", right=0.5)
    assert sum(result.seconds_by_bound.values()) == pytest.approx(result.latency_s, rel=1e-9)
    use = result.cache["gpu0"]
    assert use.hits + use.misses == 12 * LAYERS
    assert use.copied_bytes == sum(span.bytes for span in result.timeline.spans if span.kind == "copy")


@pytest.mark.parametrize(("policy", "error"), [
    ({"residency": "none", "prefetch": "queued"}, "use a cache of experts"),
    ({"residency": "lru", "prefetch": "queued", "site": "host"}, "use a cache of experts"),
    ({"residency": "lru", "prefetch": {"kind": "queued", "predictor": "next_layer"}}, "can't be queued"),
    ({"residency": "lru", "prefetch": {"kind": "queued", "predictor": "nearest", "right": 0.5}}, "no option of the"),
    ({"residency": "lru", "prefetch": {"kind": "queued", "right": 2}}, "no number from 0 to 1"),
    ({"residency": "lru", "prefetch": {"kind": "queued", "interrupts": 1}}, "neither true nor false"),
])  # fmt: skip
def test_what_cannot_be_queued_is_an_error(policy: dict[str, object], error: str) -> None:
    with pytest.raises(SpecError, match=error):
        policy_of(policy)
