# SPDX-License-Identifier: Apache-2.0
"""Two ways to give commands their times: arithmetic on lanes (level 0), or the event engine (level 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter

from simsparse.core.varying_arrays import running_sums
from simsparse.events import Observer, Simulator
from simsparse.events.simulator import Process
from simsparse.lowering.command_graph import CostedGraph
from simsparse.lowering.live_run import LiveRun, Recorder
from simsparse.lowering.machine import Machine
from simsparse.lowering.records import Records

Control = Callable[[LiveRun], Process | None]
"""What a policy does during the run."""


def run_closed_form(costed: CostedGraph) -> Records:
    """Level 0: each command starts when its lane is free and what it waits for is done.

    One pass without events: on one lane this is the sum of the latencies; with copies on a second
    lane it is the max of compute and transfer of each layer. Copies take the time they take alone,
    so the answer is a lower bound where copies share a link.
    """
    graph, machine = costed.graph, costed.machine
    if graph.is_queue:
        ends = running_sums(costed.fs)
        return Records(graph, costed.costs, [0, *ends[:-1]], ends, graph.allocations)
    if graph.on_one_lane and (times := _without_pause(costed)) is not None:
        ends = running_sums(times)
        return Records(graph, costed.costs, [0, *ends[:-1]], ends, graph.allocations)
    free: dict[tuple[str, str], int] = {}
    issued: dict[tuple[str, str], int] = {}
    starts, ends = list[int](), list[int]()
    waits = map(attrgetter("after", "src"), graph.commands)
    for command, (after, src), lane, fs in zip(graph.commands, waits, graph.lanes, costed.fs, strict=True):
        start = free.get(lane, 0)
        if after:
            start = max(start, *map(ends.__getitem__, after))
        end = start + fs
        if src:
            start = max(start, issued.get(lane, 0))
            issued[lane] = start + (0 if command.channel else machine.issue_fs(command.src, command.dst))
            end = start + machine.copy_fs(command.src, command.dst, command.bytes, command.beside, command.channel)
        free[lane] = end
        starts.append(start)
        ends.append(end)
    return Records(graph, costed.costs, starts, ends, graph.allocations)


def _without_pause(costed: CostedGraph) -> list[int] | None:
    """Femtoseconds of each command of one lane; None where a copy ends before its lane may issue another."""
    graph, machine, found = costed.graph, costed.machine, list(costed.fs)
    known: dict[tuple[object, ...], int] = {}
    for i in graph.moves:
        command = graph.commands[i]
        copy = command.src, command.dst, command.bytes, command.beside, command.channel
        if copy not in known:
            known[copy] = machine.copy_fs(*copy)
            if command.channel is None and known[copy] < machine.issue_fs(command.src, command.dst):
                return None
        found[i] = known[copy]
    return found


def run_events(
    costed: CostedGraph, level: int, seed: int = 0, controls: Sequence[Control] = (), observers: Sequence[Observer] = ()
) -> Records:
    """Level 1: the commands through the event engine, with shared links and limited memories.

    ``controls`` make processes that may issue more during the run, with random numbers from ``seed``.
    Where commands share one lane and nothing else acts, none can meet another: arithmetic gives the same times.
    Raises SimulationError when a memory is full or work waits for what never happens.
    """
    acts = controls or observers or costed.streaming
    if not acts and costed.graph.on_one_lane and not costed.graph.has_collectives:
        return run_closed_form(costed)
    sim = simulator(costed.machine)
    for observer in observers:
        sim.subscribe(observer)
    for each in costed.graph.allocations:
        sim.alloc(each.device, each.bytes, each.purpose)
    run = Recorder(sim, costed, level, seed)
    if acts:
        run.issue_graph()
    else:
        run.issue_chains()
    for process in filter(None, [control(run) for control in controls]):
        run.watch(process)
    sim.run()
    return run.records()


def simulator(machine: Machine) -> Simulator:
    """A simulator with the machine's devices and links, at time 0."""
    sim = Simulator()
    for name in machine.system.devices:
        end = machine.ends.get(name)
        sim.add_device(name, machine.devices[name].model.memory_bytes, end and replace(end, moved=[0, 0]))
    for link in machine.links.values():
        sim.add_link(replace(link, moved=[0, 0]))
    return sim
