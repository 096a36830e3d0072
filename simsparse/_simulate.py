"""The pipeline: place, lower, run, account, price, Result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simsparse.config.hardware import System
from simsparse.core import Result, Trace
from simsparse.errors import SpecError
from simsparse.events import Observer
from simsparse.lowering.account import action_counts, merged, peak_memory, rows, unvalidated
from simsparse.lowering.energy import price
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
    cores on the devices that have one. ``seed`` is for policies that draw. ``repeats``: back-to-back
    runs, starting cold; None = steady state; it matters where a power limit averages over time.

    Raises MappingError when an op has no device, SimulationError when a memory is full, SpecError on
    an unknown policy or level, on ``repeats`` below 1, and when level 0 is asked for observers or a
    policy that decides during the run.
    """
    chosen = policy_of(policy)
    _check(chosen, level, observers, repeats)
    placements = chosen.place(trace, system)
    costed = chosen.lower(placements, system, level)
    costed.check_memory()
    costed = within_power(costed, repeats)
    records = run_closed_form(costed) if level == 0 else run_events(costed, level, seed, chosen.control, observers)
    machine, latency_s = costed.machine, fs_to_seconds(records.finish_fs)
    counts = action_counts(records, machine)
    energy = price(counts, latency_s, machine.prices, machine.static_watts)
    result = Result(
        trace.name, system.name, placements.policy, seed, level, latency_s, sum(energy.values()),
        rows(records, machine), energy, merged(counts), records.timeline(),
        assumed=system.assumed, overrides=dict(system.overrides),
        unvalidated=unvalidated(records, machine, chosen.name, chosen.validated), area_mm2=system.area_mm2,
        meta=dict(trace.meta), power_w=system.power_w, memory=peak_memory(records),
    )  # fmt: skip
    return replace(result, bound=next(iter(result.seconds_by_bound), ""))


def _check(policy: Policy, level: int, observers: Sequence[Observer], repeats: int | None) -> None:
    if level not in LEVELS:
        raise SpecError(f"{level!r} is not a level; allowed: {', '.join(map(str, LEVELS))}", key="level")
    if repeats is not None and repeats < 1:
        raise SpecError(f"{repeats!r} runs in a row; expected 1 or more", key="repeats")
    if level == 0 and observers:
        raise SpecError("level 0 has no events to observe; use level 1 or 2", key="observers")
    if level == 0 and policy.needs_events:
        raise SpecError(f"{policy.name} decides during the run, which level 0 has not; use level 1 or 2", key="policy")


def policy_of(policy: str | Policy) -> Policy:
    """A policy by name, with its default options. Raises SpecError with the nearest name."""
    return POLICIES.get(policy)() if isinstance(policy, str) else policy
