# SPDX-License-Identifier: Apache-2.0
"""The event engine: each piece keeps its contract, times are those of arithmetic by hand."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from simsparse.core import Span
from simsparse.errors import SimulationError
from simsparse.events import Link, Observer, Pool, Priority, Progress, Simulator, Task, TimelineRecorder, route

US = 10**9
GB_PER_S = 10**9


def machine(**link: Any) -> tuple[Simulator, TimelineRecorder]:
    """``host`` and ``gpu0``, joined by ``pcie``: 1 GB/s, 1 us latency."""
    sim, recorder = Simulator(), TimelineRecorder()
    sim.add_device("host")
    sim.add_device("gpu0", memory_bytes=100)
    sim.add_link(Link("pcie", ("host", "gpu0"), **{"bytes_per_s": GB_PER_S, "latency_fs": US, **link}))
    sim.subscribe(recorder)
    return sim, recorder


def spans(sim: Simulator, recorder: TimelineRecorder) -> dict[str, tuple[int, int]]:
    """Start and end by name, after a run."""
    return {span.name: (span.start_fs, span.end_fs) for span in recorder.timeline(sim.run()).spans}


class TestLanes:
    def test_work_of_a_lane_runs_in_order(self) -> None:
        sim, recorder = machine()
        for name, time in (("a", 5), ("b", 0), ("c", 7)):
            sim.launch("gpu0", "compute", time, name)
        assert spans(sim, recorder) == {"a": (0, 5), "b": (5, 5), "c": (5, 12)}

    def test_lanes_run_side_by_side(self) -> None:
        sim, recorder = machine()
        sim.launch("gpu0", "compute", 5, "a")
        sim.launch("gpu0", "other", 7, "b")
        assert spans(sim, recorder) == {"a": (0, 5), "b": (0, 7)}

    def test_a_blocked_head_blocks_what_is_behind_it(self) -> None:
        sim, recorder = machine()
        slow = sim.launch("host", "compute", 50, "slow")
        sim.launch("gpu0", "compute", 5, "needs slow", after=[slow])
        sim.launch("gpu0", "compute", 1, "free")
        assert spans(sim, recorder) == {"slow": (0, 50), "needs slow": (50, 55), "free": (55, 56)}

    def test_a_wait_holds_its_lane_and_leaves_no_span(self) -> None:
        sim, recorder = machine()
        slow = sim.launch("host", "compute", 50, "slow")
        sim.wait("gpu0", "compute", [slow])
        sim.launch("gpu0", "compute", 1, "after")
        assert spans(sim, recorder) == {"slow": (0, 50), "after": (50, 51)}

    def test_what_has_happened_holds_nothing_back(self) -> None:
        sim, recorder = machine()
        early = sim.launch("host", "compute", 3, "early")
        assert sim.run() == 3
        sim.launch("gpu0", "compute", 1, "late", after=[early])
        assert spans(sim, recorder)["late"] == (3, 4)

    def test_negative_time_is_refused(self) -> None:
        with pytest.raises(SimulationError, match="time can't go back"):
            machine()[0].launch("gpu0", "compute", -1, "x")

    def test_an_unknown_device_is_named(self) -> None:
        with pytest.raises(SimulationError, match="'gpu1' is no device here; there are host, gpu0"):
            machine()[0].launch("gpu1", "compute", 1, "x")

    def test_a_deadlock_is_named(self) -> None:
        sim, _ = machine()
        sim.launch("gpu0", "compute", 1, "stuck", after=[sim.event()])
        with pytest.raises(SimulationError, match=r"deadlock.*stuck on gpu0\.compute"):
            sim.run()


class TestLinks:
    def test_a_copy_alone_takes_latency_and_bytes_over_rate(self) -> None:
        sim, recorder = machine()
        sim.copy("host", "gpu0", 5000, "a")
        assert spans(sim, recorder) == {"a": (0, 6 * US)}

    def test_copies_of_one_lane_follow_each_other(self) -> None:
        sim, recorder = machine()
        sim.copy("host", "gpu0", 5000, "a")
        sim.copy("host", "gpu0", 1000, "b")
        assert spans(sim, recorder) == {"a": (0, 6 * US), "b": (6 * US, 8 * US)}

    def test_concurrent_copies_share_fairly(self) -> None:
        """1 kB and 3 kB together: both at half rate for 2 us, then the longer one alone for 2 us."""
        sim, recorder = machine()
        sim.copy("host", "gpu0", 1000, "short", lane="one")
        sim.copy("host", "gpu0", 3000, "long", lane="two")
        assert spans(sim, recorder) == {"short": (0, 3 * US), "long": (0, 5 * US)}

    def test_directions_are_independent_when_the_link_is_full_duplex(self) -> None:
        sim, recorder = machine(duplex=2.0)
        sim.copy("host", "gpu0", 5000, "in")
        sim.copy("gpu0", "host", 5000, "out")
        assert spans(sim, recorder) == {"in": (0, 6 * US), "out": (0, 6 * US)}

    def test_a_duplex_limit_slows_both_directions(self) -> None:
        sim, recorder = machine(duplex=1.0)
        sim.copy("host", "gpu0", 5000, "in")
        sim.copy("gpu0", "host", 5000, "out")
        assert spans(sim, recorder) == {"in": (0, 11 * US), "out": (0, 11 * US)}

    def test_starts_of_copies_keep_the_issue_interval_and_compute_does_not(self) -> None:
        sim, recorder = machine(issue_fs=10 * US)
        for name in "ab":
            sim.copy("host", "gpu0", 1000, name, lane="compute")
        sim.launch("gpu0", "compute", US, "op")
        assert spans(sim, recorder) == {"a": (0, 2 * US), "b": (10 * US, 12 * US), "op": (12 * US, 13 * US)}

    def test_a_route_of_two_links_takes_both_latencies_and_the_lesser_rate(self) -> None:
        sim, recorder = machine()
        sim.add_device("gpu1")
        sim.add_link(Link("slow", ("gpu1", "host"), GB_PER_S // 2, 3 * US))
        sim.copy("gpu0", "gpu1", 1000, "a")
        assert spans(sim, recorder) == {"a": (0, (1 + 3 + 2) * US)}

    def test_a_copy_in_place_takes_no_time(self) -> None:
        sim, recorder = machine()
        sim.copy("gpu0", "gpu0", 1000, "a")
        assert spans(sim, recorder) == {"a": (0, 0)}

    def test_devices_without_a_link_are_named(self) -> None:
        with pytest.raises(SimulationError, match="no link leads from 'a' to 'z'"):
            route([Link("l", ("a", "b"), 1)], "a", "z")

    def test_a_link_name_is_taken_once(self) -> None:
        sim, _ = machine()
        with pytest.raises(SimulationError, match="'pcie' is there already"):
            sim.add_link(Link("pcie", ("host", "gpu0"), 1))


class TestMemory:
    def test_over_capacity_names_device_need_and_capacity(self) -> None:
        sim, _ = machine()
        sim.alloc("gpu0", 60, "weights")
        with pytest.raises(SimulationError, match="gpu0 is full: cache needs 50 bytes, 60 bytes of 100 bytes are"):
            sim.alloc("gpu0", 50, "cache")

    def test_a_waiting_allocation_gets_what_is_freed_in_order(self) -> None:
        sim, _ = machine()
        times: dict[str, int] = {}

        def user(name: str, size: int, hold_fs: int) -> Generator[Any, Any, None]:
            yield sim.alloc("gpu0", size, name, wait=True)
            times[name] = sim.now_fs
            yield sim.timeout(hold_fs)
            sim.free("gpu0", size)

        for request in (("a", 80, 5), ("b", 50, 7), ("c", 10, 1)):
            sim.process(user(*request))
        sim.run()
        assert times == {"a": 0, "b": 5, "c": 5}
        assert sim.memories["gpu0"].used == 0
        assert sim.memories["gpu0"].peak == 80

    def test_what_can_never_fit_fails_even_when_it_may_wait(self) -> None:
        with pytest.raises(SimulationError, match="needs 101 bytes"):
            machine()[0].alloc("gpu0", 101, "x", wait=True)

    def test_waiting_for_ever_is_a_deadlock(self) -> None:
        sim, _ = machine()
        sim.alloc("gpu0", 90, "a")
        sim.alloc("gpu0", 90, "b", wait=True)
        with pytest.raises(SimulationError, match="b waits for 90 bytes of gpu0"):
            sim.run()

    def test_freeing_more_than_was_taken_is_refused(self) -> None:
        sim, _ = machine()
        sim.alloc("gpu0", 5, "a")
        with pytest.raises(SimulationError, match="6 bytes freed, 5 in use"):
            sim.free("gpu0", 6)

    def test_a_memory_without_limit_holds_anything(self) -> None:
        sim, _ = machine()
        sim.alloc("host", 2**60, "a")
        assert sim.memories["host"].used == 2**60


class TestOrder:
    def test_simultaneous_events_go_by_priority_then_sequence(self) -> None:
        sim, _ = machine()
        seen: list[str] = []
        for name, priority in (("late", Priority.LATE), ("first", Priority.NORMAL), ("end", Priority.END),
                               ("second", Priority.NORMAL)):  # fmt: skip
            sim.call_in(10, lambda _, name=name: seen.append(name), priority)
        sim.call_in(9, lambda _: seen.append("before"))
        sim.run()
        assert seen == ["before", "end", "first", "second", "late"]

    def test_ends_of_the_same_time_come_in_the_order_of_their_starts(self) -> None:
        sim, recorder = machine()
        for lane in ("z", "a", "m"):
            sim.launch("gpu0", lane, 5, lane)
        ended: list[str] = []

        class Ends(Observer):
            def on_span(self, task: Task) -> None:
                ended.append(task.name)

        sim.subscribe(Ends())
        sim.run()
        assert ended == ["z", "a", "m"]
        assert recorder.timeline(sim.now_fs).end_fs == 5


class TestObservers:
    def test_hooks_see_starts_ends_and_memory(self) -> None:
        seen: list[object] = []

        class Everything(Observer):
            def on_start(self, task: Task) -> None:
                seen.append(("start", task.name))

            def on_span(self, task: Task) -> None:
                seen.append(task.span)

            def on_memory(self, memory: Pool, change: int) -> None:
                seen.append((memory.device, change))

        sim, _ = machine()
        sim.subscribe(Everything())
        sim.alloc("gpu0", 7, "x")
        sim.launch("gpu0", "compute", 3, "a", kind="linear")
        sim.run()
        assert seen == [("gpu0", 7), ("start", "a"), Span(0, 3, "gpu0", "compute", "a", "linear")]

    def test_without_observers_nothing_is_called(self) -> None:
        sim = Simulator()
        assert not sim.on_start
        assert not sim.on_span

    def test_progress_reports_every_so_many_tasks(self) -> None:
        sim, _ = machine()
        seen: list[tuple[int, int]] = []
        sim.subscribe(Progress(lambda done, fs: seen.append((done, fs)), every=2))
        for _ in range(5):
            sim.launch("gpu0", "compute", 3, "a")
        sim.run()
        assert seen == [(2, 6), (4, 12)]

    def test_an_op_costs_one_event(self) -> None:
        sim, _ = machine()
        for _ in range(100):
            sim.launch("gpu0", "compute", 3, "a")
        sim.run()
        assert sim.events == 100


def test_a_process_can_decide_on_what_has_happened() -> None:
    sim, recorder = machine()

    def control() -> Generator[Any, Any, None]:
        first = sim.launch("gpu0", "compute", 4, "first")
        yield first
        moved = sim.copy("host", "gpu0", 1000, "miss")
        yield moved
        sim.launch("gpu0", "compute", 1, "second")

    sim.process(control())
    assert spans(sim, recorder) == {
        "first": (0, 4), "miss": (4, 4 + 2 * US), "second": (4 + 2 * US, 5 + 2 * US),
    }  # fmt: skip
