# SPDX-License-Identifier: Apache-2.0
"""Rates of processors whose power limit averages over time.

A steady load runs at the rate that the limit lets it hold, which is what a device's costs say. A
device that waits for copies, or has just begun, has power to spare and runs its limited operators
faster: all of them at one speed, the largest with which the average power of the run is within the
limit. Dynamic power grows as the cube of the speed, so the energy of an operator as its square; at
speed 1 a limited operator draws the whole limit. Everything else draws the energy of its counts.
Source: derived (voltage in step with frequency); checked against section power of the GPU
measurements.

Left out: how the speed changes within a run; the higher energy of what runs faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from simsparse.core import OpCost
from simsparse.core.varying_arrays import larger, root, smaller
from simsparse.devices.base import PowerBudget
from simsparse.lowering.command_graph import CostedGraph
from simsparse.lowering.energy import op_energy
from simsparse.lowering.machine import Machine
from simsparse.lowering.run import run_closed_form
from simsparse.units import fs_to_seconds

LIMITED = "compute"
"""What bounds an operator that a power limit can hold down."""
LEAST_SHARE = 1e-3
"""Share of a run below which limited operators are left as they are."""
ROUNDS = 8
"""Rounds in which speed and run time are brought into agreement; the difference halves in each."""

OpKey = tuple[str, int]


@dataclass(frozen=True)
class _Load:
    """Time that one run of the trace spends on a power-limited device.

    ``gains``: seconds saved per limited operator at full clock. ``limited_s``: seconds of the limited
    operators at base clock. ``other_s``: base-clock-equivalent seconds of the rest, those that draw
    the same energy at the limit.
    """

    gains: Mapping[OpKey, float]
    limited_s: float
    other_s: float

    def speed(self, budget: PowerBudget, available_s: float) -> float:
        """The speed that spends the energy of ``available_s`` seconds at the limit."""
        sustained = root(larger(available_s - self.other_s, 0.0) / self.limited_s)
        speed: float = smaller(larger(sustained, 1.0), budget.speed)
        return speed


def within_power(costed: CostedGraph, repeats: int | None = None) -> CostedGraph:
    """The commands with limited operators as fast as each device's power limit allows.

    They are one of ``repeats`` back-to-back runs, starting cold; None = steady state. Left out: what
    a policy issues during the run.
    """
    machine = costed.machine
    for device in machine.processors:
        budget = machine.devices[device].model.power_budget
        if budget is not None and budget.speed > 1 and (load := _load(costed, machine, device, budget)):
            costed = _paced(costed, device, load, budget, repeats)
    return costed


def _load(costed: CostedGraph, machine: Machine, device: str, budget: PowerBudget) -> _Load | None:
    slots, ops = costed.graph.ops_by_device.get(device, ((), ()))
    ran = {(device, slot): costed.graph.runs[device, slot] for slot in slots}
    if not any(costed.costs[key].bound == LIMITED for key in ran):
        return None
    gained = zip(ran, machine.devices[device].model.op_burst_gain(ops).tolist(), strict=True)
    gains = {key: gain for key, gain in gained if costed.costs[key].bound == LIMITED}
    limited_s = sum(ran[key] * gain for key, gain in gains.items()) / (1 - 1 / budget.speed)
    if limited_s <= LEAST_SHARE * sum(times * costed.costs[key].latency_s for key, times in ran.items()):
        return None
    prices = machine.prices[device]
    others = ((costed.costs[key], times) for key, times in ran.items() if not gains.get(key))
    other_s = sum(
        times * smaller(cost.latency_s, op_energy(cost.counts, prices) / budget.watts) for cost, times in others
    )
    return _Load(gains, limited_s, other_s)


def _paced(costed: CostedGraph, device: str, load: _Load, budget: PowerBudget, repeats: int | None) -> CostedGraph:
    """The commands at the speed that their own run time allows."""
    rested_s = budget.window_s / repeats if repeats else 0.0
    speed = budget.speed
    for _ in range(ROUNDS):
        paced = _at_speed(costed, load, speed, budget)
        run_s = fs_to_seconds(run_closed_form(paced).finish_fs)
        allowed = load.speed(budget, larger(run_s, rested_s))
        if allowed == speed:
            break
        speed = allowed
    return replace(paced, clock={**costed.clock, device: speed})


def _at_speed(costed: CostedGraph, load: _Load, speed: float, budget: PowerBudget) -> CostedGraph:
    fraction = budget.saving_fraction(speed)
    faster = {key: _less(costed.costs[key], fraction * gain) for key, gain in load.gains.items()}
    return replace(costed, costs={**costed.costs, **faster})


def _less(cost: OpCost, seconds: float) -> OpCost:
    breakdown = {**cost.breakdown, LIMITED: larger(cost.breakdown[LIMITED] - seconds, 0.0)}
    return replace(cost, latency_s=cost.latency_s - seconds, breakdown=breakdown)
