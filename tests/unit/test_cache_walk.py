# SPDX-License-Identifier: Apache-2.0
"""Level 2 of CPU kernels: the walk through caches against a plain one, and its place beside level 0."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.config.hardware import load_hardware
from simsparse.core import Op, ops
from simsparse.dataflow.cache_walk import OUTPUTS_AT, WEIGHTS_AT, CacheShape, LoopAccess, cache_walk, row_ends
from simsparse.devices.cpu import Cpu
from simsparse.errors import MappingError
from simsparse.sparsity.nonzeros import NonZeros

PART = "cpu/xeon-w2145"


class Plain:
    """Three levels of sets as ordered dictionaries, the youngest line last."""

    def __init__(self, shape: CacheShape) -> None:
        self.shape = shape
        self.levels = [[OrderedDict() for _ in range(sets)] for sets in shape[:3]]

    def find(self, line: int) -> int:
        for number, sets in enumerate(self.levels):
            if not sets:
                continue
            own = sets[line % len(sets)]
            found = line in own
            own.pop(line, None)
            own[line] = True
            if len(own) > self.shape.ways:
                own.popitem(last=False)
            if found:
                return number
        return 3


def plain_walk(weights: NonZeros, shape: CacheShape, access: LoopAccess) -> np.ndarray:
    """One thread, all passes."""
    caches, counts = Plain(shape), np.zeros((3, 4), np.int64)

    def touch(kind: int, at: int, size: int) -> None:
        for line in range(at // shape.line, (at + size - 1) // shape.line + 1):
            counts[kind, caches.find(line)] += 1

    for number in range(access.passes):
        newest = -1
        for row in range(weights.shape[0]):
            for i in range(weights.pointers[row], weights.pointers[row + 1]):
                at = WEIGHTS_AT + i * access.weight_bytes
                for line in range(at // shape.line, (at + access.weight_bytes - 1) // shape.line + 1):
                    if line != newest:
                        counts[1, caches.find(line)] += 1
                        newest = line
                place = int(weights.columns[i]) * access.input_stride + number * access.shift
                touch(0, place, access.input_bytes)
                if access.adds:
                    touch(2, OUTPUTS_AT + row * access.output_bytes, access.output_bytes)
            if not access.adds:
                touch(2, OUTPUTS_AT + row * access.output_bytes, access.output_bytes)
    return counts


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(2, 4, 16), (4, 0, 8), (1, 8, 0)]), st.integers(1, 3),
       st.booleans(), st.integers(1, 2))  # fmt: skip
def test_the_walk_finds_lines_where_a_plain_one_does(
    seed: int, sets: tuple[int, int, int], ways: int, adds: bool, passes: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = NonZeros.of(rng.random((6, 20)) < 0.4)
    size = int(rng.integers(1, 100))
    access = LoopAccess(size, int(rng.integers(size, 200)), 64, 8, int(rng.integers(1, 100)), adds, passes)
    shape = CacheShape(*sets, ways, 64)
    assert np.array_equal(
        cache_walk(weights.pointers, weights.columns, 1, shape, access), plain_walk(weights, shape, access)
    )


def test_rows_of_equal_length_foretell_their_ends() -> None:
    """The first row, and each whose number of steps differs from that of the row before."""
    even, uneven = np.arange(5) * 16, np.array([0, 16, 48, 64, 64])
    assert row_ends(even, 8, 32) == (8, 0, 1)
    assert row_ends(uneven, 8, 32) == (8, 0, 4)
    assert row_ends(even, 8, 1) == (8, 0, 4)


def csr(m: int, n: int, k: int, density: float) -> Op:
    return ops.linear(m, n, k, "fp32", weight_sparsity=f"unstructured:{density}", weight_format="csr")


@pytest.mark.parametrize("m", [1, 16, 256])
@pytest.mark.parametrize("resident", [True, False])
def test_levels_agree_on_random_places(m: int, resident: bool) -> None:
    """Within a tenth: random places spread evenly over the sets."""
    device = Cpu(load_hardware(PART), resident)
    estimate, walked = (device.costs([csr(m, 256, 1024, 0.2)], level)[0] for level in (0, 2))
    assert (estimate.level, walked.level) == (0, 2)
    assert walked.latency_s == pytest.approx(estimate.latency_s, rel=0.1)


def test_channels_that_meet_in_few_sets_miss() -> None:
    """Planes of a power of two: inputs of 512 channels fit the first cache by size, not by sets."""
    device = Cpu(load_hardware("cpu/snapdragon-835"))
    ratios = []
    for pixels in (64 * 64, 63 * 63):
        op = ops.conv2d(1, 256, 64, round(pixels**0.5), round(pixels**0.5), 1, 1, dtype="fp32",
                        weight_sparsity="unstructured:0.2", weight_format="csr")  # fmt: skip
        estimate, walked = (device.costs([op], level)[0].breakdown["memory"] for level in (0, 2))
        ratios.append(walked / estimate)
    assert ratios[0] > 1.5 * ratios[1]


def test_the_weights_of_a_mask_are_walked() -> None:
    device = Cpu(load_hardware(PART))
    op = csr(4, 64, 256, 0.1)
    mask = np.zeros((64, 256), np.bool_)
    mask[:, :32] = True
    dense = device.cycles(op, mask)
    mask[:, ::2] = False
    assert device.cycles(op, mask).cycles < dense.cycles
    assert sum(dense.causes.values()) == dense.cycles and 0 < dense.utilization <= 1
    assert device.cycles(op, seed=1) == device.cycles(op, seed=1)


def test_what_is_not_walked_is_refused_with_a_reason() -> None:
    device = Cpu(load_hardware(PART))
    blocks = ops.linear(4, 64, 64, "fp32", weight_sparsity="block16:0.5", weight_format="bsr")
    for op, reason in ((ops.linear(4, 64, 64, "fp32"), "none runs here"), (blocks, "no walk of its blocks")):
        with pytest.raises(MappingError, match=reason):
            device.cycles(op)
    with pytest.raises(MappingError, match="does not fit"):
        device.cycles(csr(4, 64, 64, 0.1), np.ones((64, 63), np.bool_))
    with pytest.raises(MappingError, match="zeros of the inputs"):
        device.cycles(csr(4, 64, 64, 0.1), input_mask=np.ones((4, 64), np.bool_))
