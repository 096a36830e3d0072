# SPDX-License-Identifier: Apache-2.0
"""Extreme values under every number of every part: a finite answer that is not negative, or a typed error, in time."""

from __future__ import annotations

import math
import time
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.hardware import System, load_system
from simsparse.config.parts.pim import PimPart
from simsparse.config.paths import part_names
from simsparse.core import Trace, TraceBuilder, ops
from simsparse.errors import SimsparseError

SYSTEMS = [name for name in part_names() if name.startswith(("systems/", "gpu/", "cpu/", "accel/", "pim/"))]
FACTORS = (0, 1e-30, 1e-12, 1e-6, 1e-3, 0.3, 0.5, 0.999, 1.001, 1.5, 2, 3, 1e3, 1e6, 1e12, 1e30, 1e300)
PLAIN = ("0", "1", "2", "3", "0.5", "1.5", "3.7", "-1", "1e-300", "1e300", "nan", "inf", "65537")
LIMIT_S = 10.0
"""Processor time that a run of the small trace may take."""


@cache
def system(name: str) -> System:
    return load_system(name)


@cache
def numbers(name: str) -> list[tuple[str, float, str]]:
    """(path, value in SI units, unit) of every number of a system."""
    return [
        (f"{owner}.{path}", quantity.si, quantity.unit)
        for owner, part in system(name).parts().items() for path, quantity in part.quantities()
    ]  # fmt: skip


@cache
def trace(dtype: str) -> Trace:
    """One small op of each kind that most devices take."""
    builder = TraceBuilder("small")
    builder.add(ops.linear(64, 256, 512, dtype, weight_sparsity="2:4", name="linear"))
    builder.add(ops.matmul(2, 16, 64, 32, dtype, name="matmul"))
    builder.add(ops.elementwise(4096, 4096, 4096, dtype, name="add"))
    return builder.build()


def dtype_of(name: str) -> str:
    arrays = [part.array.macs for part in system(name).devices.values() if hasattr(part, "array")]
    units = [part.compute.macs for part in system(name).devices.values() if isinstance(part, PimPart)]
    return str(min((arrays or units or [["bf16"]])[0]))


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    name = draw(st.sampled_from(SYSTEMS))
    chosen = draw(st.lists(st.sampled_from(numbers(name)), min_size=1, max_size=2, unique=True))
    return name, {path: draw(texts(value, unit)) for path, value, unit in chosen}


def texts(value: float, unit: str) -> st.SearchStrategy[str]:
    scaled = st.sampled_from(FACTORS).map(lambda factor: f"{value * factor!r} {unit}".strip())
    plain = st.sampled_from(PLAIN).map(lambda text: f"{text} {unit}".strip())
    return scaled | plain


def run(name: str, overrides: dict[str, str], level: int) -> None:
    began = time.process_time()
    try:
        result = ss.simulate(trace(dtype_of(name)), system(name).with_overrides(overrides), level=level)
    except SimsparseError as error:
        assert "\n" not in str(error)
    else:
        energies = result.energy_by_component.values()
        assert 0 < result.latency_s < math.inf and 0 <= result.energy_j < math.inf
        assert all(math.isfinite(joules) for joules in energies)
        assert all(0 <= row.latency_s < math.inf and 0 <= row.energy_j < math.inf for row in result.ops)
    finally:
        assert time.process_time() - began < LIMIT_S


@given(changes(), st.sampled_from([0, 1]))
def test_extreme_values_end_in_an_answer_or_a_typed_error(change: tuple[str, dict[str, str]], level: int) -> None:
    run(*change, level)
