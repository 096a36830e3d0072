# SPDX-License-Identifier: Apache-2.0
"""All sparse engines over density, each on zeros that it is for: a multiplier's cycles for a dense product's MAC."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.accel import AccelPart
from simsparse.config.paths import part_names
from simsparse.core import DENSE, Sparsity, ops
from simsparse.dataflow.sparse_engine import PeConfig
from simsparse.devices.base import device_for
from simsparse.devices.roofline import whole
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.errors import SimsparseError
from simsparse.report.density_weights import (
    ARRANGED,
    BY_DENSITY,
    INPUTS_ALONE,
    NO_ZEROS,
    Weights,
    arranged,
    random_zeros,
)
from simsparse.sparsity.nonzeros import NonZeros

DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 1.0)
WEIGHTS, BOTH = "random zeros in the weights", "random zeros in weights and inputs"
ARRANGEMENT, STRAY = "weights arranged for the engine", "random zeros given to such an engine"
FAMILIES = (WEIGHTS, BOTH, ARRANGEMENT)
"""What engines are compared on, one figure each."""
DTYPES = ("fp16", "bf16", "int8", "fp32")
"""The element type a part runs: the first that it has."""
DENSE_ARRAYS = tuple(f"accel/systolic-{kind}" for kind in ("ws-32x32", "os-32x32", "ws-128x128", "os-128x128"))
"""Systolic arrays that engines are compared with, on dense weights."""
NM_ARRAYS = ("accel/systolic-ws-32x32", "accel/systolic-ws-32x32-2to4")
"""Systolic arrays that are drawn with their N:M patterns."""
SIZES = (256, 512, 1024, 2048, 4096)
USUAL = 512
"""The size of a product where nothing asks for another."""
WALKED_MOST = 512
"""Largest size for an engine whose core walks every product of two non-zeros."""
STEPS_A_SIDE = 128
"""Most blocks of a row for an engine whose core walks blocks."""
PASSES = 500
"""A product has work for at least so many cycles of all multipliers."""
NEAR = 1.05
"""A product is large enough when its dense cycles a MAC are this near the least of all sizes."""
CYCLES = 2
"""The level at which systolic schedules are walked."""
INPUT_SEED = 2


@dataclass(frozen=True)
class Curve:
    """One part over density: ``slots`` are multiplier cycles for each multiply-accumulate of the dense product of
    ``size`` cubed, so that 1 is an array without zeros skipped and without a loss.

    ``unfilled`` is the closed form's dense slots at this size over the least of all sizes that were looked at.
    ``labels`` name the arrangements of a part that has a few only.
    """

    part: str
    dtype: str
    multipliers: int
    family: str
    size: int
    unfilled: float
    densities: Sequence[float]
    slots: Sequence[float]
    labels: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The part without its kind."""
        return self.part.removeprefix("accel/")

    def below(self, level: float = 1.0) -> float | None:
        """Density below which it takes fewer slots than ``level``, on a straight line between logarithms; None when
        it does so nowhere, 1 when everywhere."""
        pairs = list(zip(self.densities, self.slots, strict=True))
        if pairs[-1][1] <= level:
            return 1.0
        for (low, less), (high, more) in itertools.pairwise(pairs):
            if less <= level < more:
                return math.exp(math.log(low) + math.log(level / less) * math.log(high / low) / math.log(more / less))
        return None

    def densest_below(self, level: float) -> str | None:
        """Label of the densest arrangement that takes no more slots than ``level``; None when there is none."""
        paying = [label for label, slots in zip(self.labels, self.slots, strict=True) if slots <= level]
        return paying[-1] if paying else None

    def at(self, density: float) -> float:
        """Slots for weights of ``density``; between arrangements, of the best one that has room for as many."""
        if density in self.densities:
            return self.slots[list(self.densities).index(density)]
        return min(slots for at, slots in zip(self.densities, self.slots, strict=True) if at > density)


def engine_parts() -> list[str]:
    """Parts under accel that are round a sparse engine."""
    accels = [name for name in part_names() if name.startswith("accel/")]
    return [name for name in accels if isinstance(part := load_hardware(name), AccelPart) and part.engine is not None]


def density_curves(
    size: int | None = None,
    densities: Sequence[float] = DENSITIES,
    parts: Sequence[str] = (),
    progress: Callable[[int, int, int], None] | None = None,
) -> tuple[list[Curve], dict[str, str]]:
    """Cores of all parts (or ``parts``), each on a product large enough for it or of ``size`` cubed: (curves, reason
    by part that has none). ``progress`` is called with the parts done, all, and those without a curve."""
    curves: list[Curve] = []
    absent: dict[str, str] = {}
    names = parts or (*engine_parts(), *NM_ARRAYS)
    for i, name in enumerate(names):
        if progress:
            progress(i, len(names), len(absent))
        try:
            if name in NM_ARRAYS:
                curves.append(_array(name, size))
                continue
            device = SparseEngineDevice(load_hardware(name))
            if reason := NO_ZEROS.get(device.engine.name):
                absent[name] = reason
                continue
            curves += list(_engine(device, name, size, densities))
        except SimsparseError as error:
            absent[name] = str(error)
    return curves, absent


def dense_arrays(size: int | None = None) -> list[Curve]:
    """The systolic arrays that engines are compared with, one point each: dense weights."""
    return [replace(curve, densities=curve.densities[-1:], slots=curve.slots[-1:], labels=curve.labels[-1:])
            for curve in (_array(name, size, patterns=False) for name in DENSE_ARRAYS)]  # fmt: skip


def large_enough(slots: Callable[[int], float], multipliers: int, most: int) -> tuple[int, float]:
    """(smallest of SIZES from USUAL to ``most`` that fills the part, its dense ``slots`` over the least of all sizes).

    It fills the part when the multipliers have PASSES cycles of work and its slots are within NEAR of the least of
    SIZES. A smaller size than USUAL is taken where only that does, which is where operands outgrow a buffer; where no
    size does, the one with fewest slots.
    """
    found = {size: slots(size) for size in SIZES}
    least = min(found.values())
    few = [size for size in SIZES if size <= most]
    near = [size for size in few if size**3 >= PASSES * multipliers and found[size] <= NEAR * least]
    size = min(near, key=lambda size: (size < USUAL, size)) if near else min(few, key=lambda size: found[size])
    return size, found[size] / least


def crossovers(curves: Sequence[Curve], family: str) -> list[tuple[float, str, float]]:
    """(density, part that needs the fewest multiplier cycles, those cycles), one for each density.

    A part of one multiplier has nothing to share out and is left out, unless there is no other.
    """
    here = [curve for curve in curves if curve.family == family]
    here = [curve for curve in here if curve.multipliers > 1] or here
    if not here:
        return []
    grid = max((curve.densities for curve in here if not curve.labels), key=len, default=DENSITIES)
    best = [(density, min(here, key=lambda curve: curve.at(density))) for density in grid]
    return [(density, curve.part, curve.at(density)) for density, curve in best]


def _engine(device: SparseEngineDevice, name: str, size: int | None, densities: Sequence[float]) -> Iterator[Curve]:
    engine = device.engine.name
    dtype = _dtype(device.part)
    machine = device.machine(dtype)
    most = _most(engine, machine)
    side, unfilled = large_enough(lambda size: _expected(device, size, machine), machine.peak_macs, most)
    side = size or side
    walk = partial(_walked, device, machine, Curve(name, dtype, machine.peak_macs, "", side, unfilled, (), ()))
    drawn = [random_zeros(density) for density in densities]
    if engine in ARRANGED:
        curve = walk(ARRANGEMENT, arranged(engine, machine, densities, side))
        yield replace(curve, labels=()) if engine in BY_DENSITY else curve
        yield replace(walk(STRAY, drawn), labels=())
        return
    if engine not in INPUTS_ALONE:
        yield replace(walk(WEIGHTS, drawn), labels=())
    yield replace(walk(BOTH, drawn), labels=())


def _most(engine: str, machine: PeConfig) -> int:
    """Largest size for the core of ``engine``, whose run time is what limits."""
    if engine == "block_mma":
        return min(SIZES[-1], STEPS_A_SIDE * machine.whole("block_n"))
    return SIZES[-1] if engine in ARRANGED else WALKED_MOST


def _walked(
    device: SparseEngineDevice, machine: PeConfig, blank: Curve, family: str, weights: Sequence[Weights]
) -> Curve:  # fmt: skip
    """``blank`` with the slots of the core on ``weights``, and of BOTH on inputs like them."""
    side, slots = blank.size, []
    for each in weights:
        inputs = each.sparsity.draw(side, side, INPUT_SEED) if family == BOTH else NonZeros.dense(side, side)
        own = replace(machine, settings={**machine.settings, **each.settings})
        slots.append(device.engine.run(each.draw(side, side), inputs, own).cycles * machine.peak_macs / side**3)
    kept, labels = tuple(each.density for each in weights), tuple(each.label for each in weights)
    return replace(blank, family=family, densities=kept, slots=tuple(slots), labels=labels)


def _array(name: str, size: int | None, patterns: bool = True) -> Curve:
    """A systolic array on dense weights and, with ``patterns``, on N:M weights, of those of one density the fastest."""
    part = load_hardware(name)
    assert isinstance(part, AccelPart)
    dtype, clock, array = _dtype(part), part.array.clock.si, part.array
    sides = {"array.rows": array.rows, "array.cols": array.cols, f"array.macs.{dtype}": array.macs[dtype]}
    multipliers = math.prod(whole(part, key, value) for key, value in sides.items())
    device = device_for(part)

    def slots(size: int, sparsity: str = "dense") -> float:
        cost = device.cost_arrays([ops.linear(size, size, size, dtype, weight_sparsity=sparsity)], level=CYCLES)
        busy = float(cost.contributors["compute"][0] + cost.contributors["memory"][0])
        return busy * clock * multipliers / size**3

    side, unfilled = large_enough(slots, multipliers, SIZES[-1])
    side = size or side
    names = [*part.sparsity.patterns] if patterns and part.sparsity else []
    found = sorted((Sparsity.parse(text).density, slots(side, text), text) for text in (*names, "dense"))
    best = [next(same) for _, same in itertools.groupby(found, key=lambda item: item[0])]
    densities, least, labels = zip(*best, strict=True)
    return Curve(name, dtype, multipliers, ARRANGEMENT, side, unfilled, densities, least, labels)


def _expected(device: SparseEngineDevice, size: int, machine: PeConfig) -> float:
    return device.engine.expect((size, size, size), DENSE, DENSE, machine).cycles * machine.peak_macs / size**3


def _dtype(part: AccelPart) -> str:
    known = part.array.macs.keys() & part.energy.mac.keys()
    return next((dtype for dtype in DTYPES if dtype in known), min(known))
