# SPDX-License-Identifier: Apache-2.0
"""Sizes up to the largest that a trace accepts: no count, byte or joule wraps, on any part."""

from __future__ import annotations

import math
import time
from functools import cache
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.paths import part_names
from simsparse.core import Op, ops
from simsparse.devices.base import Device, device_for
from simsparse.errors import MappingError, SimsparseError
from simsparse.lowering.energy import op_energy
from simsparse.trace.record import checked

COMPUTING = [name for name in part_names() if name.startswith(("gpu/", "cpu/", "accel/", "pim/"))]
SPARSITIES = ("dense", "2:4", "1:8", "unstructured:0.1", "block32:0.5", "nmg:2:4:1")
LIMIT_S = 10.0
"""What the estimate of one operator may take, on a busy machine."""
FALLS = 0.25
"""What is left at least when one size doubles: aligned tiles may fit better, a wrapped number is far off."""


@cache
def device(name: str) -> Device:
    return device_for(ss.load_hardware(name))


def dtype_of(name: str) -> str:
    part: Any = device(name).part
    if hasattr(part, "array"):
        return str(min(part.array.macs))
    return "bf16"


def made(kind: str, sizes: tuple[int, ...], sparsity: str, dtype: str) -> Op:
    a, b, c, d = sizes
    usual = {"dtype": dtype, "weight_sparsity": sparsity}
    if kind == "linear":
        return ops.linear(a, b, c, **usual)
    if kind == "conv2d":
        return ops.conv2d(a, b, c, d + 2, d + 2, 3, 3, **usual)
    if kind == "matmul":
        return ops.matmul(d, a, b, c, dtype=dtype)
    if kind == "attention":
        return ops.attention(a, 8 * b, b, 64, c, c + d, True, dtype)
    if kind == "moe_ffn":
        return ops.moe_ffn(a, b, c, 8, routing=[[0, 3], [1, 7]] * a, **usual)
    return ops.elementwise(a * b, c, d, dtype)


sizes = st.tuples(*[st.integers(0, 61).flatmap(lambda e: st.integers(2**e, 2 ** (e + 1) - 1))] * 4)
KINDS = ("linear", "conv2d", "matmul", "attention", "elementwise")


def cost(name: str, op: Op) -> tuple[float, float, dict[Any, int]] | None:
    """(seconds, joules, counts); None where the device refuses the op."""
    began = time.process_time()
    try:
        found = device(name).costs([op])[0]
    except MappingError:
        return None
    finally:
        assert time.process_time() - began < LIMIT_S, f"{name} {op}"
    return found.latency_s, op_energy(found.counts, device(name).prices), dict(found.counts)


@given(st.sampled_from(COMPUTING), st.sampled_from(KINDS), sizes, st.sampled_from(SPARSITIES), st.integers(0, 3))
def test_no_number_wraps(name: str, kind: str, sides: tuple[int, int, int, int], sparsity: str, axis: int) -> None:
    """Twice the size never takes less of anything by more than tiles explain, whatever the size."""
    larger = tuple(2 * side if at == axis else side for at, side in enumerate(sides))
    try:
        small, large = (checked(made(kind, each, sparsity, dtype_of(name))) for each in (sides, larger))
    except SimsparseError:
        assume(False)
    one, two = cost(name, small), cost(name, large)
    for found in (one, two):
        if found is not None:
            seconds, joules, counts = found
            assert 0 < seconds < math.inf and 0 <= joules < math.inf and all(0 <= n < 2**62 for n in counts.values())
    if one is not None and two is not None:
        assert two[0] >= FALLS * one[0] and two[1] >= FALLS * one[1], (small, one, large, two)
