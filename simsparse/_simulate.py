"""The pipeline: plan, lower, run, price, Result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simsparse.config.hardware import System
from simsparse.core import Result, Trace
from simsparse.errors import SpecError
from simsparse.events import Observer
from simsparse.lowering.account import action_counts, merged, rows, unvalidated
from simsparse.lowering.energy import price
from simsparse.lowering.machine import machine_of
from simsparse.lowering.power import within_power
from simsparse.lowering.run import run_closed_form, run_events
from simsparse.policies import POLICIES, Policy
from simsparse.units import fs_to_seconds

LEVELS = (0, 1, 2)
"""Fidelities of a simulation: closed forms, discrete events, and these with cycle cores where a device has one."""


def simulate(
    trace: Trace,
    system: System,
    policy: str | Policy = "resident",
    seed: int = 0,
    level: int = 1,
    observers: Sequence[Observer] = (),
    repeats: int | None = None,
) -> Result:
    """Run ``trace`` on ``system`` under ``policy``.

    ``level`` 0 adds up closed forms, 1 runs the event engine, 2 does so with operators timed by cycle
    cores on the devices that have one. ``seed`` is for policies that draw;
    those here do not. ``repeats`` is how often the trace runs in a row on devices that rested
    before, None: without end; it matters where a power limit averages over time. Raises MappingError
    when an op has no device, SimulationError when a memory is full, SpecError on an unknown policy
    or level and on ``repeats`` below 1.
    """
    if level not in LEVELS:
        raise SpecError(f"{level!r} is not a level; allowed: {', '.join(map(str, LEVELS))}", key="level")
    if repeats is not None and repeats < 1:
        raise SpecError(f"{repeats!r} runs in a row; expected 1 or more", key="repeats")
    chosen = policy_of(policy)
    machine = machine_of(system)
    schedule = chosen.plan(trace, system)
    program = chosen.lower(schedule, system, level)
    program.check_memory(machine)
    program = within_power(program, machine, repeats)
    times = run_closed_form(program, machine) if level == 0 else run_events(program, machine, chosen.control, observers)
    counts = action_counts(program, machine)
    latency_s = fs_to_seconds(times.timeline.end_fs)
    energy = price(counts, latency_s, machine.prices, machine.static_watts)
    result = Result(
        trace.name, system.name, schedule.policy, seed, level, latency_s, sum(energy.values()),
        rows(program, times, machine), energy, merged(counts), times.timeline,
        assumed=system.assumed, overrides=dict(system.overrides),
        unvalidated=unvalidated(program, machine, chosen.name, chosen.validated), area_mm2=system.area_mm2,
        meta=dict(trace.meta), power_w=system.power_w,
    )  # fmt: skip
    return replace(result, bound=next(iter(result.seconds_by_bound), ""))


def policy_of(policy: str | Policy) -> Policy:
    """A policy by name, with its default options. Raises SpecError with the nearest name."""
    return POLICIES.get(policy)() if isinstance(policy, str) else policy
