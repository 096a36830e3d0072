"""The pipeline: place, lower, run, account, price, Result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simsparse.config.hardware import System, system_of
from simsparse.core import Keep, Result, Timeline, Trace
from simsparse.errors import SpecError, nearest
from simsparse.events import Observer
from simsparse.lowering.account import Account, merged
from simsparse.lowering.energy import price
from simsparse.lowering.machine import machine_of
from simsparse.lowering.power import within_power
from simsparse.lowering.run import run_closed_form, run_events
from simsparse.lowering.stacks import DEFAULT_STACK, Stack, launched_by, stack_of
from simsparse.policies import POLICIES, Policy
from simsparse.units import fs_to_seconds

LEVELS = (0, 1, 2)
"""Fidelities of a simulation: closed forms, discrete events, and these with cycle cores where a device has one."""


def simulate(
    trace: Trace,
    system: System | str | Path,
    policy: str | Policy = "resident",
    seed: int = 0,
    level: int = 1,
    observers: Sequence[Observer] = (),
    repeats: int | None = None,
    keep: Keep | str = Keep.TIMELINE,
    stack: str | Stack = DEFAULT_STACK,
) -> Result:
    """Run ``trace`` on ``system``, a System or the name or path of one, under ``policy``.

    ``level`` 0 adds up closed forms, 1 runs the event engine, 2 does so with operators timed by cycle
    cores on the devices that have one. ``seed`` is for policies that draw. ``repeats``: back-to-back
    runs, starting cold; None = steady state; it matters where a power limit averages over time.
    ``stack``: the software that launches kernels for the trace's ops, such as ``eager`` or ``compiled+graph``.
    ``keep``: what is recorded, ``summary``, ``rows`` or ``timeline``; the numbers do not depend on it.

    Raises MappingError when an op has no device, SimulationError when a memory is full, SpecError on
    an unknown system, policy, level or ``keep``, on ``repeats`` below 1, and when level 0 is asked for
    observers or a policy that decides during the run.
    """
    chosen, machine, kept = policy_of(policy), machine_of(system_of(system)), _keep(keep)
    _check(chosen, level, observers, repeats)
    software = stack_of(stack)
    placements = chosen.place(launched_by(trace, software), machine)
    costed = chosen.lower(placements, machine, level)
    costed.check_memory()
    costed = within_power(costed, repeats)
    records = run_closed_form(costed) if level == 0 else run_events(costed, level, seed, chosen.control, observers)
    account, latency_s = Account(records, machine), fs_to_seconds(records.finish_fs)
    energy = price(account.counts, latency_s, machine.prices, machine.static_watts)
    used = machine.system
    return Result(
        trace.name, used.name, placements.policy, seed, level, latency_s, sum(energy.values()),
        () if kept is Keep.SUMMARY else account.rows(), energy, merged(account.counts),
        records.timeline() if kept is Keep.TIMELINE else Timeline((), records.finish_fs),
        assumed=used.assumed, overrides=dict(used.overrides),
        unvalidated=account.unvalidated(chosen.name, chosen.validated), area_mm2=used.area_mm2,
        seconds_by_bound=account.seconds_by_bound, meta=dict(trace.meta), power_w=used.power_w,
        memory=account.peak_memory, notes=account.notes, stack=str(software),
    )  # fmt: skip


def _keep(keep: Keep | str) -> Keep:
    if keep not in list(Keep):
        raise SpecError(f"{keep!r} can't be kept; {nearest(str(keep), Keep)}", key="keep")
    return Keep(keep)


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
