"""Two ways to give a program its times: arithmetic on lanes (level 0), or the event engine (level 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from simsparse.core import Span, Timeline
from simsparse.events import Observer, Simulator, Task, TimelineRecorder
from simsparse.events.simulator import Process
from simsparse.lowering.command_graph import CostedGraph
from simsparse.lowering.machine import Machine


@dataclass(frozen=True)
class Times:
    """Start and end of each command in femtoseconds, and the timeline of all that ran."""

    start_fs: Sequence[int]
    end_fs: Sequence[int]
    timeline: Timeline


def run_closed_form(program: CostedGraph, machine: Machine) -> Times:
    """Level 0: each command starts when its lane is free and what it waits for is done.

    One pass without events: on one lane this is the sum of the latencies; with copies on a second
    lane it is the max of compute and transfer of each layer. Copies take the time they take alone,
    so the answer is a lower bound where copies share a link.
    """
    free: dict[tuple[str, str], int] = {}
    issued: dict[tuple[str, str], int] = {}
    starts: list[int] = []
    ends: list[int] = []
    for command, lane, fs in zip(program.commands, program.layout.lanes, program.fs, strict=True):
        start = free.get(lane, 0)
        for index in command.after:
            start = max(start, ends[index])
        end = start + fs
        if command.src:
            start = max(start, issued.get(lane, 0))
            issued[lane] = start + machine.issue_fs(command.src, command.dst)
            end = start + fs + machine.copy_fs(command.src, command.dst, command.bytes)
        free[lane] = end
        starts.append(start)
        ends.append(end)
    spans = sorted(map(Span._make, zip(starts, ends, *program.layout.span_columns, strict=True)))
    return Times(starts, ends, Timeline(tuple(spans), max(ends, default=0)))


def run_events(
    program: CostedGraph, machine: Machine, control: Callable[[Simulator], Process | None],
    observers: Sequence[Observer] = (),
) -> Times:  # fmt: skip
    """Level 1: the commands through the event engine, with shared links and limited memories.

    Raises SimulationError when a memory is full or work waits for what never happens.
    """
    sim, recorder = simulator(machine), TimelineRecorder()
    for observer in (recorder, *observers):
        sim.subscribe(observer)
    for device, parts in program.layout.footprint.items():
        for what, size in parts.items():
            sim.alloc(device, size, what)
    if (process := control(sim)) is not None:
        sim.process(process)
    tasks: list[Task] = []
    for command, fs in zip(program.commands, program.fs, strict=True):
        after = [tasks[index] for index in command.after]
        if command.src:
            task = sim.copy(
                command.src, command.dst, command.bytes, command.name, after, device=command.device,
                lane=command.lane, extra_fs=fs, kind=command.kind,
            )  # fmt: skip
        else:
            task = sim.launch(command.device, command.lane, fs, command.name, after, command.kind)
        tasks.append(task)
    end = sim.run()
    return Times([task.start_fs for task in tasks], [task.end_fs for task in tasks], recorder.timeline(end))


def simulator(machine: Machine) -> Simulator:
    """A simulator with the machine's devices and links, at time 0."""
    sim = Simulator()
    for name in machine.system.devices:
        sim.add_device(name, machine.devices[name].model.memory_bytes)
    for link in machine.links.values():
        sim.add_link(replace(link, busy=[0, 0], moved=[0, 0]))
    return sim
