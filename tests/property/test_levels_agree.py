# SPDX-License-Identifier: Apache-2.0
"""Closed forms of sparse engines and systolic arrays against their cycle cores, over drawn shapes and patterns."""

from __future__ import annotations

import math
import random
from functools import cache
from statistics import fmean, stdev
from typing import Any

import pytest

import simsparse as ss
from simsparse.config.paths import part_names
from simsparse.core import Sparsity
from simsparse.dataflow.sparse_engine import PeConfig
from simsparse.devices.base import device_for
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.devices.systolic import Systolic
from simsparse.errors import SpecError
from simsparse.sparsity.drawn import Operand, drawn
from tests.conftest import SEED, draws

HELD = 0.995
"""Share of pairs that must lie within the tolerance of their engine."""
DRAWS, CLOSE, PLACES = (10, 60), 0.02, 16
"""Draws whose mean stands for a pattern, fewest and most: as many as make its standard error a small share of it. The
places that one draw keeps at least: below, chance decides."""
NM = ("2:4", "1:4", "1:2", "1:8", "2:8", "4:8", "1:16", "2:16", "1:3", "3:8", "5:7", "1:5")


@cache
def engine_device(name: str) -> SparseEngineDevice | None:
    device = device_for(ss.load_hardware(name))
    return device if isinstance(device, SparseEngineDevice) else None


@cache
def scheduled_array(name: str) -> Systolic | None:
    device = device_for(ss.load_hardware(name))
    return device if isinstance(device, Systolic) and device.part.array.dataflow in ("ws", "os", "is") else None


ENGINES = [name for name in part_names() if name.startswith("accel/") and engine_device(name)]
ARRAYS = [name for name in part_names() if name.startswith("accel/") and scheduled_array(name)]
ARRAY_TOLERANCES = {0.15: 0.9, 0.3: HELD}
"""Of systolic arrays: closed forms let the DRAM hide behind the array but for the first and last tiles, schedules of
folds wait wherever one fold needs more than the one before lets through."""


def sizes(source: random.Random) -> tuple[int, int, int]:
    """(m, n, k), from single rows on."""
    return tuple(int(2 ** source.uniform(0, high)) for high in (8, 9, 10))  # type: ignore[return-value]


def pattern(source: random.Random, kinds: tuple[str, ...]) -> str:
    kind, density = source.choice(kinds), math.exp(source.uniform(math.log(0.005), math.log(0.95)))
    return {
        "dense": "dense", "nm": source.choice(NM), "unstructured": f"unstructured:{density:.4f}",
        "block": f"block{source.choice([2, 4, 8, 16, 32])}:{density:.4f}",
        "bank": f"bank{source.choice([8, 16, 32, 64])}:{density:.4f}",
    }[kind]  # fmt: skip


def patterns(source: random.Random) -> tuple[str, str]:
    """Of weights and inputs."""
    weights = pattern(source, ("dense", "nm", "nm", "unstructured", "unstructured", "block", "bank"))
    return weights, pattern(source, ("dense", "dense", "unstructured", "unstructured", "nm", "block"))


def deviation(device: Any, shape: tuple[int, int, int], weights: str, inputs: str) -> float | None:
    """By how much the closed form lies beyond two standard errors of the mean of the cores, as a share of that mean.

    None where a draw keeps too few places.
    """
    m, n, k = shape
    kept = Sparsity.parse(weights), Sparsity.parse(inputs)
    drawn_ones = [one.kept(rows, k) for one, rows in zip(kept, (n, m), strict=True) if not one.is_dense]
    if min(drawn_ones, default=PLACES) < PLACES:
        return None
    machine = device.machine(min(device.part.array.macs))
    mean, error = walked(device, shape, *kept, machine)
    apart = float(device.engine.expect(shape, *kept, machine).cycles - mean)
    return math.copysign(max(0.0, abs(apart) - 2 * error) / mean, apart)


def walked(
    device: Any, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig
) -> tuple[float, float]:
    """(mean, its standard error) of the cycles of cores on drawn patterns."""
    m, n, k = shape
    cycles: list[int] = []
    fewest, most = (1, 1) if weights.is_dense and inputs.is_dense else DRAWS
    while len(cycles) < most:
        seed = len(cycles)
        masks = drawn(weights, n, k, Operand.WEIGHT, seed), drawn(inputs, m, k, Operand.INPUT, seed)
        cycles.append(device.engine.run(*masks, machine).cycles)
        if len(cycles) >= fewest and len(cycles) > 1 and sem(cycles) <= CLOSE * fmean(cycles):
            break
    return fmean(cycles), sem(cycles) if len(cycles) > 1 else 0.0


def sem(values: list[int]) -> float:
    """Standard error of the mean."""
    return stdev(values) / math.sqrt(len(values))


@pytest.mark.parametrize("name", ENGINES)
def test_levels_agree(name: str) -> None:
    device, source = engine_device(name), random.Random(f"{name} {SEED}")
    assert device is not None
    count, off = 0, []
    while count < draws(40):
        shape, (weights, inputs) = sizes(source), patterns(source)
        try:
            found = deviation(device, shape, weights, inputs)
        except SpecError:
            continue
        if found is not None:
            count += 1
            if abs(found) > device.engine.tolerance:
                off.append((round(found, 2), shape, weights, inputs))
    assert count - len(off) >= HELD * count, f"{len(off)} of {count}: {off}"


@pytest.mark.parametrize("name", ARRAYS)
def test_levels_of_systolic_arrays_agree(name: str) -> None:
    device, source = scheduled_array(name), random.Random(f"{name} {SEED}")
    assert device is not None
    dtype, known = min(device.part.array.macs), ["dense", *sorted(device._patterns)]
    count, found = draws(20), []
    for _ in range(count):
        m, n, k = (int(2 ** source.uniform(0, high)) for high in (10, 11, 12))
        op = ss.ops.linear(m=m, n=n, k=k, dtype=dtype, weight_sparsity=source.choice(known))
        costs = [device.cost_arrays([op], level) for level in (0, 2)]
        closed, walked = (float(cost.latency_s[0] - cost.contributors["launch"][0]) for cost in costs)
        found.append((closed / walked - 1, (m, n, k), str(op.weight_sparsity)))
    for tolerance, held in ARRAY_TOLERANCES.items():
        off = [each for each in found if abs(each[0]) > tolerance]
        assert count - len(off) >= held * count, f"{len(off)} of {count} beyond {tolerance:.0%}: {off}"
