# SPDX-License-Identifier: Apache-2.0
"""Single operators on single parts: latency, energy and bound, one or many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simsparse.config.accuracy import error_of
from simsparse.config.hardware import part_of
from simsparse.config.quantity import Part
from simsparse.core import Action, Op, OpCost, OpCycles, Trace
from simsparse.core.result import html_table
from simsparse.devices.base import CostArrays, Device, Mask, device_for
from simsparse.errors import MappingError, SpecError, nearest
from simsparse.lowering.energy import op_energy
from simsparse.lowering.power import LIMITED
from simsparse.sparsity.drawn import Operand
from simsparse.trace.masks import Masks

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """One operator alone on one part.

    ``latency_s``; ``energy_j``, static power over that time included; ``bound``, the contributor that
    sets the latency; ``breakdown``, seconds by contributor, which may overlap; ``energy_by_component``,
    joules by ``component.action`` and ``static``; ``validated``, the reference that the model was
    checked against, None when nothing checks it; ``error``, its mean absolute relative error there, where known.

    ``latency_s`` is that under a steady load, back to back without pauses; ``burst_latency_s`` that of a device which
    has rested, whose power limit allows it a faster clock for a while. A simulation of the operator alone takes a time
    between the two (``Result.clock`` says at which rate). ``notes`` says what a device does with the weights.
    """

    latency_s: float
    energy_j: float
    bound: str
    breakdown: Mapping[str, float]
    energy_by_component: Mapping[str, float]
    validated: str | None
    level: int
    burst_latency_s: float = 0.0
    notes: tuple[str, ...] = ()
    error: float | None = None

    def _repr_html_(self) -> str:
        """What notebooks show: the answer in a table, and what it rests on."""
        off = f", mean error {self.error:.1%}" if self.error is not None else ""
        return html_table({
            "latency": f"{self.latency_s:.4g} s", "energy": f"{self.energy_j:.4g} J", "bound": self.bound,
            "breakdown": ", ".join(f"{name} {seconds:.4g} s" for name, seconds in self.breakdown.items()),
            "checked against": f"{self.validated}{off}" if self.validated else "nothing: unvalidated",
            "notes": "; ".join(self.notes),
        })  # fmt: skip


@dataclass(frozen=True)
class Estimates:
    """Operators by parts: arrays of shape (operators, parts).

    Latency and energy are NaN and ``bound`` is empty where a part does not support an operator.
    """

    latency_s: Floats
    energy_j: Floats
    bound: NDArray[np.str_]


def estimate(op: Op, hw: Part | str | Path, level: int = 0) -> Estimate:
    """Latency and energy of ``op`` alone on ``hw``, a part or the name or path of one, weights in its own memory.

    Raises MappingError when the part does not support the op, SpecError when it is not known.
    """
    device = device_for(part_of(hw))
    if reason := device.supports(op):
        raise MappingError(f"can't run on {device.part.name}: {reason}", key=op.name)
    cost = device.costs([op], level)[0]
    prices = device.prices
    energy = {
        f"{component}.{action}": op_energy(type(cost.counts)({(component, action): count}), prices)
        for (component, action), count in cost.counts.items()
    }
    energy["static"] = device.static_watts * cost.latency_s
    return Estimate(
        cost.latency_s,
        sum(energy.values()),
        cost.bound,
        cost.breakdown,
        energy,
        cost.validated,
        cost.level,
        cost.latency_s - _burst_gain(device, op, cost),
        device.notes(op),
        error_of(cost.validated),
    )


def _burst_gain(device: Device, op: Op, cost: OpCost) -> float:
    """Seconds that the op gains on a device that has power to spare."""
    budget = device.power_budget
    limited = budget is not None and budget.speed > 1 and cost.bound == LIMITED
    return float(device.op_burst_gain([op])[0]) if limited else 0.0


def estimate_many(ops: Sequence[Op], parts: Sequence[Part | str | Path], level: int = 0) -> Estimates:
    """Every op on every part, vectorised over the ops; ops of equal signature are computed once."""
    first: dict[tuple[object, ...], int] = {}
    slots = np.array([first.setdefault(op.signature, len(first)) for op in ops], np.intp)
    unique: list[Op] = list(ops[: len(first)])
    for op, slot in zip(ops, slots.tolist(), strict=True):
        unique[slot] = op
    chosen = tuple(unique)  # devices remember what a tuple of ops runs, for the next part
    shape = (len(chosen), len(parts))
    latency, energy, bound = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, "", "<U32")
    for column, hw in enumerate(parts):
        device = device_for(part_of(hw))
        able, costs = _costs(device, chosen, level)
        if costs is None:
            continue
        latency[able, column] = costs.latency_s
        energy[able, column] = _joules(costs, device)
        bound[able, column] = np.array(list(costs.contributors))[costs.bound]
    return Estimates(latency[slots], energy[slots], bound[slots])


def cycles(
    op: Op, hw: Part | str | Path, weight_mask: Mask | None = None, input_mask: Mask | None = None, seed: int = 0
) -> OpCycles:
    """Level 2: the cycles of ``op`` with real masks, weights (n, k) and inputs (m, k).

    Without a mask an operand is as its sparsity says: a draw from ``seed`` (simsparse.sparsity.drawn), or dense. Dense
    operands on a systolic array come over its DRAM interface, and ``causes`` holds its stalls; with masks they are on
    chip. Raises MappingError when ``hw`` has no cycle core or a mask's shape is not the op's.
    """
    part = part_of(hw)
    return device_for(part).cycles(op, weight_mask, input_mask, seed)


def trace_cycles(trace: Trace, hw: Part | str | Path, masks: Masks | None = None) -> dict[str, OpCycles | str]:
    """Level 2 of the ops with weights of ``trace``, by name, each alone; the reason in place of one that has none.

    With ``masks`` of the trace (simsparse.trace.masks) those of every weight, and of the inputs of linear ops, are
    the real ones; else operands are as their sparsity says. Ops of equal signature without masks are computed once.
    """
    part = part_of(hw)
    known: dict[object, OpCycles | str] = {}
    found: dict[str, OpCycles | str] = {}
    for op in trace.ops:
        operands = op.definition.masked
        if Operand.WEIGHT not in operands:
            continue
        weight = masks.weight(op) if masks else None
        inputs = masks.input(op) if masks and Operand.INPUT in operands else None
        key: object = op.signature if weight is None and inputs is None else op.name
        if key not in known:
            try:
                known[key] = cycles(op, part, weight, inputs)
            except MappingError as error:
                known[key] = error.message
        found[op.name] = known[key]
    return found


def _costs(device: Device, ops: Sequence[Op], level: int) -> tuple[NDArray[np.intp], CostArrays | None]:
    """Indexes of the ops that the device supports, and their costs."""
    try:
        return np.arange(len(ops)), device.op_arrays(ops, level) if ops else None
    except MappingError:
        able = [i for i, op in enumerate(ops) if device.supports(op) is None]
        return np.array(able, np.intp), device.op_arrays([ops[i] for i in able], level) if able else None


def _joules(costs: CostArrays, device: Device) -> Floats:
    """Energy of each op, static power over its time included. Raises SpecError on an unpriced action."""
    prices = device.prices
    total: Floats = costs.latency_s * device.static_watts
    for action, counts in costs.counts.items():
        total = total + counts * _price(action, prices, device) if counts.any() else total
    return total


def _price(action: Action, prices: Mapping[Action, float], device: Device) -> float:
    if action not in prices:
        known = nearest(".".join(action), (".".join(name) for name in prices))
        raise SpecError(f"no energy price for {'.'.join(action)}; {known}", key=device.part.name)
    return prices[action]
