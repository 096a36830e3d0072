# SPDX-License-Identifier: Apache-2.0
"""Commands that run without a pause as one task: the same times as one task each."""

from __future__ import annotations

import pytest

from simsparse import simulate
from simsparse.events import Observer, Task
from simsparse.sources import Steps
from simsparse.testing.fake_machine import moe_trace, offload_system
from simsparse.trace.routing import RoutingProcess, generate, generate_steps


class Watching(Observer):
    """Sees every command, so that each has to be a task."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_span(self, task: Task) -> None:
        self.names.append(task.name)


@pytest.mark.parametrize(
    "policy",
    [
        "resident",
        "on_demand",
        "pregated",
        {"residency": {"kind": "lru", "experts": 2, "per_layer": True}, "prefetch": {"kind": "guessed", "right": 0.5}},
        {"residency": {"kind": "lru", "experts": 4}, "site": "soonest"},
    ],
)
def test_a_run_that_nothing_watches_has_the_times_of_one_that_is_watched(policy: object) -> None:
    source = Steps(moe_trace(experts=5, linears=4), 6, "uniform")
    system, watching = offload_system(issue="3 us"), Watching()
    alone = simulate(source, system, policy, seed=2)
    watched = simulate(source, system, policy, seed=2, observers=[watching])
    assert alone == watched
    assert sorted(watching.names) == sorted(span.name for span in alone.timeline.spans)


@pytest.mark.parametrize("text", ["uniform", "zipf:1.2", "reuse:0.5"])
def test_the_routing_of_many_steps_is_that_of_each(text: str) -> None:
    process = RoutingProcess.parse(text)
    together = generate_steps(process, 3, 8, 2, 1, 5, 4)
    assert together == [generate(process, 3, 8, 2, 1, 5, sequences=3, start=step) for step in range(4)]
    assert len({routing.ids for routing in together}) > 1
