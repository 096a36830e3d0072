# SPDX-License-Identifier: Apache-2.0
"""Fusion of recorded events into operators, on hand-made recordings."""

from __future__ import annotations

import random

import pytest

from simsparse.core import OpKind, Trace, TraceBuilder, ops
from simsparse.trace.capture.event import Access, Event, EventRole, Recording
from simsparse.trace.capture.fuse import build, group_events

SIZE = 100


class Script:
    """Writes a recording line by line; every value has SIZE bytes."""

    def __init__(self) -> None:
        self.recording = Recording()

    def value(self) -> int:
        """A new value, at first an input."""
        self.recording.value_bytes[len(self.recording.value_bytes)] = SIZE
        return len(self.recording.value_bytes) - 1

    def run(self, aten: str, scope: str, *reads: int, role: EventRole = EventRole.FUSED) -> int:
        """An event that reads whole values and writes a new one."""
        out = self.value()
        op = ops.linear(1, 1, 1, name=f"{scope}.{aten}") if role is EventRole.OWN else None
        accesses = tuple(Access(value, SIZE) for value in reads)
        event = Event(aten, scope, scope, role, "fp32", accesses, (Access(out, SIZE),), flops=7, op=op)
        self.recording.events.append(event)
        return out

    def trace(self, *returned: int) -> Trace:
        self.recording.returned = set(returned)
        return build(self.recording, TraceBuilder("t")).build()


def shape(trace: Trace) -> list[tuple[str, int, int, int]]:
    return [
        (op.label, op.dims["read_bytes"], op.dims["write_bytes"], op.dims["flops"])
        for op in trace.ops if op.kind == OpKind.ELEMENTWISE
    ]  # fmt: skip


def test_a_chain_reads_its_input_and_writes_its_result_once() -> None:
    script = Script()
    x = script.value()
    y = script.run("mul", "m", script.run("neg", "m", script.run("exp", "m", x)))
    assert shape(script.trace(y)) == [("exp_mul_neg", SIZE, SIZE, 21)]


def test_an_activation_fuses_with_a_later_product_across_a_linear_that_does_not_read_it() -> None:
    script = Script()
    x = script.value()
    gate = script.run("gate", "mlp", x, role=EventRole.OWN)
    activated = script.run("silu", "mlp", gate)
    up = script.run("up", "mlp", x, role=EventRole.OWN)
    y = script.run("mul", "mlp", activated, up)
    trace = script.trace(y)
    assert shape(trace) == [("silu_mul", 2 * SIZE, SIZE, 14)]
    assert trace.ops[-1].deps == ("mlp.gate", "mlp.up")


def test_a_residual_sum_does_not_fuse_with_the_next_one_through_the_block_between() -> None:
    script = Script()
    x = script.value()
    first = script.run("add", "layer", x, script.run("a", "layer", x, role=EventRole.OWN))
    second = script.run("add", "layer", first, script.run("b", "layer", first, role=EventRole.OWN))
    trace = script.trace(second)
    assert [op.name for op in trace.ops] == ["layer.a", "layer.add", "layer.b", "layer.add.1"]
    assert trace.ops[3].deps == ("layer.add", "layer.b")


def test_a_value_used_inside_and_outside_is_written() -> None:
    script = Script()
    x = script.value()
    middle = script.run("exp", "m", x)
    end = script.run("neg", "m", middle)
    script.run("head", "m", middle, end, role=EventRole.OWN)
    assert shape(script.trace()) == [("exp_neg", SIZE, 2 * SIZE, 14)]


def test_views_of_one_value_are_not_read_beyond_its_size() -> None:
    script = Script()
    x, out = script.value(), script.value()
    halves = tuple(Access(x, SIZE // 2, (offset,)) for offset in (0, 50, 0, 25))
    event = Event("cat", "m", "m", EventRole.FUSED, "fp32", halves, (Access(out, SIZE),))
    script.recording.events.append(event)
    assert shape(script.trace(out))[0][1] == SIZE


def test_events_of_other_modules_do_not_fuse() -> None:
    script = Script()
    y = script.run("neg", "b", script.run("exp", "a", script.value()))
    assert [op.name for op in script.trace(y).ops] == ["a.exp", "b.neg"]


def test_what_is_not_understood_is_kept_as_other_with_its_bytes() -> None:
    script = Script()
    y = script.run("mystery", "m", script.value(), role=EventRole.UNKNOWN)
    op = script.trace(y).ops[0]
    assert (op.kind, op.label, op.min_bytes) == (OpKind.OTHER, "mystery", 2 * SIZE)


@pytest.mark.parametrize("seed", range(40))
def test_groups_of_any_recording_run_after_what_they_read(seed: int) -> None:
    rng, script = random.Random(seed), Script()
    values = [script.value() for _ in range(3)]
    for _ in range(60):
        reads = rng.sample(values[-8:], rng.randint(1, min(3, len(values))))
        role = rng.choices([EventRole.FUSED, EventRole.OWN], [4, 1])[0]
        values.append(script.run(rng.choice(["exp", "neg", "mul"]), rng.choice("ab"), *reads, role=role))
    groups = group_events(script.recording)
    assert sorted(i for group in groups for i in group.events) == list(range(60))
    made: set[int] = set(range(3))
    for group in groups:
        inner = {access.value for i in group.events for access in script.recording.events[i].writes}
        read = {access.value for i in group.events for access in script.recording.events[i].reads}
        assert read - inner <= made
        made |= inner
    trace = script.trace(values[-1])
    assert sum(op.dims["flops"] for op in trace.ops if op.kind == OpKind.ELEMENTWISE) == 7 * sum(
        event.role is EventRole.FUSED for event in script.recording.events
    )
