# SPDX-License-Identifier: Apache-2.0
"""Closed forms of sparse engines against their cycle cores, over shapes, patterns and densities that are drawn."""

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
from simsparse.errors import SpecError
from simsparse.sparsity.drawn import Operand, drawn
from tests.conftest import CASES, SEED

HELD = 0.995
"""Share of pairs that must lie within the tolerance of their engine."""
DRAWS, CLOSE, PLACES = (6, 40), 0.015, 64
"""Draws whose mean stands for a pattern, fewest and most: as many as make its standard error a small share of it. The
places that one draw keeps at least: below, chance decides."""
NM = ("2:4", "1:4", "1:2", "1:8", "2:8", "4:8", "1:16", "2:16")


@cache
def engine_device(name: str) -> SparseEngineDevice | None:
    device = device_for(ss.load_hardware(name))
    return device if isinstance(device, SparseEngineDevice) else None


ENGINES = [name for name in part_names() if name.startswith("accel/") and engine_device(name)]


def sizes(source: random.Random) -> tuple[int, int, int]:
    return tuple(int(2 ** source.uniform(low, high)) for low, high in ((0, 8), (3, 9), (4, 10)))  # type: ignore[return-value]


def patterns(source: random.Random) -> tuple[str, str]:
    """Of weights and inputs."""
    weights = source.choice(["dense", *NM, *NM, f"unstructured:{source.uniform(0.02, 0.9):.3f}"])
    return weights, source.choice(["dense", "dense", f"unstructured:{source.uniform(0.05, 0.9):.3f}"])


def deviation(device: Any, shape: tuple[int, int, int], weights: str, inputs: str) -> float | None:
    """By how much the closed form lies beyond two standard errors of the mean of the cores, as a share of that mean.

    None where a draw keeps too few places.
    """
    m, n, k = shape
    kept = Sparsity.parse(weights), Sparsity.parse(inputs)
    if kept[0].kept(n, k) < PLACES or kept[1].kept(m, k) < PLACES:
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
    while count < max(200, CASES // 5):
        shape, (weights, inputs) = sizes(source), patterns(source)
        try:
            found = deviation(device, shape, weights, inputs)
        except SpecError:
            continue
        if found is not None:
            count += 1
            if abs(found) > device.engine.tolerance:
                off.append((round(found, 2), shape, weights, inputs))
    assert len(off) <= (1 - HELD) * count, f"{len(off)} of {count}: {off}"
