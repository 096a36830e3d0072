"""The summary of a level-0 simulation without its rows and timeline, for sweeps that keep neither.

On one processor with everything resident, a program is one queue of operators: its latency is the
sum of theirs. The numbers are those of ``simulate(..., level=0).summary()`` to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simsparse._simulate import policy_of
from simsparse.config.hardware import System
from simsparse.core import Result, Timeline, Trace
from simsparse.core.memo import by_identity
from simsparse.lowering.account import action_counts, merged, peak_memory, unvalidated
from simsparse.lowering.command_graph import CommandGraph, CostedGraph
from simsparse.lowering.energy import price
from simsparse.lowering.machine import machine_of
from simsparse.lowering.power import within_power
from simsparse.lowering.records import Records
from simsparse.units import FS_PER_SECOND, fs_to_seconds, seconds_to_fs

POLICY = "resident"


def queue_summary(trace: Trace, system: System, seed: int, assumed: tuple[str, ...]) -> dict[str, Any] | None:
    """The summary under the policy ``resident``; None when the system or trace needs more than one queue.

    ``assumed`` is ``system.assumed``, which points that differ in one number share.

    Raises MappingError when an op has no device, SimulationError when the memory is full.
    """
    machine = machine_of(system)
    if len(machine.processors) != 1:
        return None
    graph = _graph(trace, system)
    if any(command.src for command in graph.commands):
        return None
    costed = CostedGraph.of(graph, machine, level=0)
    costed.check_memory()
    costed = within_power(costed)
    end_fs = sum(times * seconds_to_fs(costed.costs[key].latency_s) for key, times in graph.runs.items())
    records = Records(graph, costed.costs, (), (), graph.allocations)
    counts = action_counts(records, machine)
    energy = price(counts, fs_to_seconds(end_fs), machine.prices, machine.static_watts)
    seconds = _seconds_by_bound(costed)
    result = Result(
        trace.name, system.name, POLICY, seed, 0, fs_to_seconds(end_fs), sum(energy.values()), (), energy,
        merged(counts), Timeline((), end_fs), assumed, dict(system.overrides),
        unvalidated(records, machine, POLICY, policy_of(POLICY).validated), system.area_mm2, next(iter(seconds), ""),
        power_w=system.power_w, memory=peak_memory(records),
    )  # fmt: skip
    return result.summary() | {"seconds_by_bound": seconds}


def _graph(trace: Trace, system: System) -> CommandGraph:
    """The command graph of a trace on a system, made once for systems of the same parts, whatever their numbers."""
    known, parts = _graphs(trace), tuple((name, part.name) for name, part in system.devices.items())
    if parts not in known:
        policy = policy_of(POLICY)
        known[parts] = policy.lower(policy.place(trace, system), system, level=0).graph
    return known[parts]


@by_identity(maxsize=64)
def _graphs(trace: Trace) -> dict[tuple[tuple[str, str], ...], CommandGraph]:
    del trace
    return {}


@by_identity(maxsize=256)
def _order(graph: CommandGraph) -> NDArray[np.intp]:
    """Which of the distinct ops each command runs, as a place in ``graph.runs``."""
    place = {key: i for i, key in enumerate(graph.runs)}
    return np.array([place[key] for key in graph.keys if key], np.intp)


def _seconds_by_bound(costed: CostedGraph) -> dict[str, float]:
    """Op seconds by what bounds them, added up in program order, largest first."""
    costs, order = [costed.costs[key] for key in costed.graph.runs], _order(costed.graph)
    names = list(dict.fromkeys(cost.bound for cost in costs))
    bound = np.array([names.index(cost.bound) for cost in costs], np.intp)
    seconds = np.array([seconds_to_fs(cost.latency_s) / FS_PER_SECOND for cost in costs])
    sums = zip(names, np.bincount(bound[order], seconds[order]).tolist(), strict=True)
    return dict(sorted(sums, key=lambda item: -item[1]))
