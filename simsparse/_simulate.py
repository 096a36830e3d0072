# SPDX-License-Identifier: Apache-2.0
"""The pipeline: place, lower, run, account, price, Result."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from simsparse.config.hardware import System, system_of
from simsparse.config.layout import Layout
from simsparse.core import Keep, Result, Timeline, Trace
from simsparse.core.deferred import Deferred
from simsparse.core.memo import by_identity
from simsparse.errors import MappingError, SpecError, nearest
from simsparse.events import Observer
from simsparse.lowering.account import Account, merged
from simsparse.lowering.energy import price
from simsparse.lowering.machine import Machine, machine_of
from simsparse.lowering.parallel import rank_system, rank_trace
from simsparse.lowering.parallel.pieces import whole_step
from simsparse.lowering.parallel.shares import TRAIN
from simsparse.lowering.power import within_power
from simsparse.lowering.run import run_closed_form, run_events
from simsparse.lowering.stacks import DEFAULT_STACK, Stack, launched_by, stack_of
from simsparse.lowering.trace_index import TraceIndex
from simsparse.policies import Policy, policy_of
from simsparse.policies.placement import Placer
from simsparse.policies.placement.greedy import Greedy
from simsparse.policies.placement.stages import Stages
from simsparse.sources import OnePass, Source, Steps
from simsparse.units import fs_to_seconds

OF_STEPS = ("micro", "schedule", "chunks", "zero", "recompute", "sync")
"""Keys of a layout that say how micro-batches make a training step, where a simulation runs one."""
LEVELS = (0, 1, 2)
"""Fidelities of a simulation: closed forms, discrete events, and these with cycle cores where a device has one."""


Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def _collector_at_rest(function: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """Decorator: a run makes millions of objects and drops none before its end; a collector would walk them in vain."""

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        if not gc.isenabled():
            return function(*args, **kwargs)
        gc.disable()
        try:
            return function(*args, **kwargs)
        finally:
            gc.enable()

    return call


@_collector_at_rest
def simulate(
    trace: Trace | Source,
    system: System | str | Path,
    policy: str | Mapping[str, Any] | Policy = "resident",
    seed: int = 0,
    level: int = 1,
    observers: Sequence[Observer] = (),
    repeats: int | None = None,
    keep: Keep | str = Keep.TIMELINE,
    stack: str | Stack = DEFAULT_STACK,
    steps: int = 1,
    routing: str = "",
    parallel: str | Mapping[str, Any] | Layout = "",
) -> Result:
    """Run ``trace`` on ``system``, a System or the name or path of one, under ``policy``.

    ``trace`` may be a Source, such as Steps; ``steps`` above 1 makes one of a decode trace, whose tokens
    ``routing`` sends to experts in each step. ``policy`` is a name, or a composition such as
    ``{"residency": {"kind": "lru", "experts": 64}, "prefetch": "none"}``.
    ``level`` 0 adds up closed forms, 1 runs the event engine, 2 does so with operators timed by cycle
    cores on the devices that have one. ``seed`` is for policies that draw. ``repeats``: back-to-back
    runs, starting cold; None = steady state; it matters where a power limit averages over time.
    ``stack``: the software that launches kernels for the trace's ops, such as ``eager`` or ``compiled+graph``.
    ``parallel``: a layout over several GPUs, such as ``{"tp": 2, "ep": 4}`` or ``"tp=2 pp=4"``; the result is that of
    one rank of each stage, which stands for its equals. A trace of a training step is one micro-batch, after which
    gradients are added up over the replicas.
    ``keep``: what is recorded, ``summary``, ``rows`` or ``timeline``; the numbers do not depend on it.

    Raises MappingError when an op has no device, SimulationError when a memory is full, SpecError on
    an unknown system, policy, level or ``keep``, on ``repeats`` below 1, and when level 0 is asked for
    observers or a policy that decides during the run.
    """
    layout, kept = Layout.parse(parallel), _keep(keep)
    chosen, system = policy_of(policy), system_of(system)
    if layout.said:
        chosen, system = laid_out(chosen, system, layout)
        trace = _rank_of(trace, layout)
    machine = machine_of(system)
    _check(chosen, level, observers, repeats)
    if isinstance(trace, Trace) and type(chosen.placement).divided is not Placer.divided:
        trace = _divided(trace)(chosen.placement, machine)
    source, software = source_of(trace, steps, routing), _stack_on(machine, stack)
    index = index_of(source, software, seed)
    placements = chosen.place(index, machine)
    costed = chosen.lower(index, placements, machine, level, seed)
    costed.check_memory()
    costed = within_power(costed, repeats)
    records = run_closed_form(costed) if level == 0 else run_events(costed, level, seed, chosen.controls, observers)
    account, latency_s = Account(records, machine, software.follows_layouts), fs_to_seconds(records.finish_fs)
    energy = price(account.counts, latency_s, machine.prices, machine.static_watts)
    used = machine.system
    return Result(
        source.name, used.name, placements.policy, seed, level, latency_s, sum(energy.values()),
        () if kept is Keep.SUMMARY else Deferred(account.rows), energy, merged(account.counts),
        records.timeline() if kept is Keep.TIMELINE else Timeline((), records.finish_fs),
        assumed=used.assumed, overrides=dict(used.overrides),
        unvalidated=account.unvalidated(chosen.name, chosen.validated), area_mm2=used.area_mm2,
        seconds_by_bound=account.seconds_by_bound, meta=dict(source.meta), power_w=used.power_w,
        memory=account.peak_memory, cache=records.cache or records.graph.cache, notes=account.notes,
        stack=str(software), runs_as=account.runs_as, clock=costed.clock, error_estimate=account.error_estimate,
    )  # fmt: skip


def laid_out(policy: Policy, system: System, layout: Layout) -> tuple[Policy, System]:
    """Policy and system of one rank of each stage. Raises MappingError when the policy places ops itself."""
    if policy.placement != Greedy():
        raise MappingError(f"a layout places layers itself; the policy {policy.name} has a placement", key="parallel")
    return replace(policy, placement=Stages()), _rank_system(system)(layout)


@by_identity(maxsize=64)
def _divided(trace: Trace) -> Callable[[Placer, Machine], Trace]:
    """The trace as a placement divides it for a machine, remembered so that what is known of it is too."""

    def own(placement: Placer, machine: Machine) -> Trace:
        return placement.divided(trace, machine)

    return lru_cache(maxsize=16)(own)


def _rank_of(trace: Trace | Source, layout: Layout) -> Trace:
    if not isinstance(trace, Trace):
        raise SpecError("a layout needs a trace; give steps and routing beside it", key="parallel")
    if others := [key for key in layout.said if key in OF_STEPS]:
        raise SpecError(f"{', '.join(others)} are of whole training steps; use simsparse layouts or "
                        "simsparse.advice.training_step", key="parallel")  # fmt: skip
    return _rank_trace(trace)(layout)


@by_identity(maxsize=64)
def _rank_trace(trace: Trace) -> Callable[[Layout], Trace]:
    def own(layout: Layout) -> Trace:
        divided = rank_trace(trace, layout)
        return whole_step(divided, layout) if trace.meta.get("phase") == TRAIN else divided

    return lru_cache(maxsize=64)(own)


@by_identity(maxsize=64)
def _rank_system(system: System) -> Callable[[Layout], System]:
    return lru_cache(maxsize=64)(partial(rank_system, system))


def _stack_on(machine: Machine, stack: str | Stack) -> Stack:
    """The stack, told what the machine's processors multiply by kernels of their own."""
    return _stack(stack, any(machine.devices[name].model.multiplies_24 for name in machine.processors))


@lru_cache(maxsize=64)
def _stack(stack: str | Stack, sparse24: bool) -> Stack:
    return replace(stack_of(stack), sparse24=sparse24)


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
    if level == 0 and policy.controls:
        raise SpecError(f"{policy.name} decides during the run, which level 0 has not; use level 1 or 2", key="policy")


def source_of(trace: Trace | Source, steps: int = 1, routing: str = "") -> Source:
    """What is run: a Source itself, a trace once, or decode steps of it. Raises SpecError."""
    if isinstance(trace, Source):
        if steps != 1 or routing:
            raise SpecError(
                "a Source says its steps and their routing itself", key="steps" if steps != 1 else "routing"
            )
        return trace
    if steps == 1 and not routing:
        return _one_pass(trace)
    return _steps_of(trace)(steps, routing)


@by_identity(maxsize=64)
def _one_pass(trace: Trace) -> Source:
    return OnePass(trace)


@by_identity(maxsize=64)
def _steps_of(trace: Trace) -> Callable[[int, str], Source]:
    return lru_cache(maxsize=16)(partial(Steps, trace))


def index_of(source: Source, stack: Stack, seed: int) -> TraceIndex:
    """What a stack launches for a source, indexed; the last 64 are kept."""
    return _index(source, stack, seed if source.draws else 0)


@lru_cache(maxsize=64)
def _index(source: Source, stack: Stack, seed: int) -> TraceIndex:
    return TraceIndex(*(launched_by(each, stack) for each in source.passes(seed)))
