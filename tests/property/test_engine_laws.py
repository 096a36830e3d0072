# SPDX-License-Identifier: Apache-2.0
"""Laws of the event engine and of simulate, on random work."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

import simsparse as ss
from simsparse.core import Span, Timeline
from simsparse.events import Link, Observer, Simulator, Task, TimelineRecorder
from simsparse.policies import POLICIES
from simsparse.testing.fake_machine import moe_trace, offload_system
from simsparse.units import FS_PER_SECOND

law = settings()
pipeline = settings(max_examples=30)

RATE = 7_000_003
DEVICES = ("a", "b", "c")
LINKS = (("ab", ("a", "b")), ("bc", ("b", "c")))


@dataclass(frozen=True)
class Work:
    """A launch, or a copy when ``dst`` differs from ``device``; ``after`` counts back in the list."""

    device: int
    lane: int
    size: int
    after: tuple[int, ...]
    dst: int


work = st.builds(
    Work, st.integers(0, 2), st.integers(0, 2), st.integers(0, 10**6),
    st.lists(st.integers(1, 6), max_size=3).map(tuple), st.integers(0, 2),
)  # fmt: skip
programs = st.lists(work, max_size=40)


class Clock(Observer):
    """Every time at which something was told."""

    def __init__(self, sim: Simulator) -> None:
        self._sim, self.times = sim, [0]

    def on_start(self, task: Task) -> None:
        self.times += [self._sim.now_fs, task.start_fs]

    def on_span(self, task: Task) -> None:
        self.times += [self._sim.now_fs, task.end_fs]


def run(program: list[Work], duplex: float = 1.5) -> tuple[Timeline, list[Task], Simulator, Clock]:
    sim = Simulator()
    recorder, clock = TimelineRecorder(), Clock(sim)
    for name in DEVICES:
        sim.add_device(name)
    for name, between in LINKS:
        sim.add_link(Link(name, between, RATE, latency_fs=10**6, duplex=duplex))
    for observer in (recorder, clock):
        sim.subscribe(observer)
    tasks: list[Task] = []
    for i, item in enumerate(program):
        after = [tasks[i - back] for back in item.after if back <= i]
        device, dst, lane = DEVICES[item.device], DEVICES[item.dst], f"lane{item.lane}"
        if dst == device:
            tasks.append(sim.launch(device, lane, item.size, f"t{i}", after))
        else:
            tasks.append(sim.copy(device, dst, item.size, f"t{i}", after, device=device, lane=lane))
    return recorder.timeline(sim.run()), tasks, sim, clock


@law
@given(programs)
def test_time_never_goes_back(program: list[Work]) -> None:
    timeline, _, _, clock = run(program)
    assert clock.times == sorted(clock.times)
    assert all(span.start_fs <= span.end_fs <= timeline.end_fs for span in timeline.spans)


@law
@given(programs)
def test_everything_runs_once_after_what_it_waits_for(program: list[Work]) -> None:
    timeline, tasks, _, _ = run(program)
    assert sorted(span.name for span in timeline.spans) == sorted(task.name for task in tasks)
    for i, item in enumerate(program):
        for back in item.after:
            if back <= i:
                assert tasks[i].start_fs >= tasks[i - back].end_fs


@law
@given(programs)
def test_lanes_conserve_work(program: list[Work]) -> None:
    """Spans of a lane do not overlap; a lane stands still only when its next task waits for another."""
    timeline, tasks, _, _ = run(program)
    lanes: dict[tuple[str, str], list[int]] = {}
    for i, task in enumerate(tasks):
        lanes.setdefault((task.device, task.lane.name), []).append(i)
    for own in lanes.values():
        free = 0
        for i in own:
            ready = max((tasks[i - back].end_fs for back in program[i].after if back <= i), default=0)
            assert tasks[i].start_fs == max(free, ready)
            free = tasks[i].end_fs
    busy = {lane: sum(tasks[i].end_fs - tasks[i].start_fs for i in own) for lane, own in lanes.items()}
    for (device, lane), femtoseconds in busy.items():
        assert round(timeline.busy_s(device, lane) * FS_PER_SECOND) == femtoseconds


@law
@given(programs, st.sampled_from([1.0, 1.5, 2.0]))
def test_bytes_in_are_bytes_out_and_no_link_is_faster_than_it_is(program: list[Work], duplex: float) -> None:
    timeline, _, sim, _ = run(program, duplex)
    expected = {name: [0, 0] for name, _ in LINKS}
    for item in program:
        step = 1 if item.dst > item.device else -1
        for here in range(item.device, item.dst, step):
            hop = min(here, here + step)
            expected[LINKS[hop][0]][0 if step > 0 else 1] += item.size
    assert {name: link.moved for name, link in sim.links.items()} == expected
    for link in sim.links.values():
        assert all(moved * FS_PER_SECOND <= RATE * timeline.end_fs for moved in link.moved)


@law
@given(programs)
def test_same_work_gives_the_same_timeline(program: list[Work]) -> None:
    assert run(program)[0] == run(program)[0]


traces = st.builds(
    moe_trace, layers=st.integers(1, 4), experts=st.just(6), hit=st.integers(1, 6), linears=st.integers(0, 3),
    d=st.sampled_from([8, 16, 64]),
)  # fmt: skip


@pipeline
@given(traces, st.sampled_from(sorted(POLICIES)), st.sampled_from([0, 1]))
def test_energy_is_the_sum_of_its_parts(trace: ss.Trace, policy: str, level: int) -> None:
    """By component, and by operator and copies plus static power over time."""
    system = offload_system()
    result = ss.simulate(trace, system, policy, level=level)
    parts = result.energy_by_component
    assert result.energy_j == sum(parts.values())
    static = sum(joules for name, joules in parts.items() if name.endswith(".static"))
    assert abs(static - (10 + 5 + 1) * result.latency_s) <= 1e-12 * result.energy_j
    assert abs(sum(op.energy_j for op in result.ops) - (result.energy_j - static)) <= 1e-9 * result.energy_j


@pipeline
@given(traces, st.sampled_from(sorted(POLICIES)), st.sampled_from([0, 1]))
def test_the_same_inputs_give_the_same_result(trace: ss.Trace, policy: str, level: int) -> None:
    first, second = (ss.simulate(trace, offload_system(), policy, seed=3, level=level) for _ in range(2))
    assert first == second
    assert first.summary() == second.summary()


@pipeline
@given(traces, st.sampled_from(sorted(POLICIES)))
def test_rows_add_up_to_the_latency(trace: ss.Trace, policy: str) -> None:
    result = ss.simulate(trace, offload_system(), policy)
    assert abs(sum(op.latency_s for op in result.ops) - result.latency_s) <= 1e-9 * result.latency_s


@pipeline
@given(traces, st.sampled_from(sorted(POLICIES)))
def test_without_contention_the_levels_agree(trace: ss.Trace, policy: str) -> None:
    """One copy at a time on a link: the closed form is the engine's answer."""
    estimate, events = (ss.simulate(trace, offload_system(issue="5 us"), policy, level=level) for level in (0, 1))
    assert set(estimate.timeline.spans) == set(events.timeline.spans)


@law
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20))
def test_a_timeline_is_in_order(pairs: list[tuple[int, int]]) -> None:
    timeline = Timeline.of(Span(a, a + b, "d", "l", "n", "k") for a, b in pairs)
    assert [span.start_fs for span in timeline.spans] == sorted(a for a, _ in pairs)
