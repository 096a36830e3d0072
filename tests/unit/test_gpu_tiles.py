# SPDX-License-Identifier: Apache-2.0
"""Tiled kernels of a library: what a tile covers, what alignment, residency and batches cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.hardware import load_hardware, override_part
from simsparse.core import ops
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_gemm import GemmShapes, GemmUnit, gemm_seconds
from simsparse.devices.gpu_gemm_library import alignment, library_kernels
from simsparse.devices.gpu_rates import gemm_machine
from simsparse.devices.gpu_tile_kernels import tilings
from simsparse.errors import MappingError

PART = load_hardware("gpu/h200-sxm5-141gb")
H200 = gemm_machine(PART)
A100 = gemm_machine(load_hardware("gpu/a100-sxm4-80gb"))
SIZES = st.integers(1, 20_000)


def shapes(m, n, k, sets=np.inf):
    each = [np.array([size], np.int64) for size in (m, n, k)]
    none, loop = np.zeros(1, np.bool_), np.array([float(sets)])
    return GemmShapes(
        *each, np.array([GemmUnit.HALF]), np.full(1, 2.0), none, none, np.ones(1, np.int64), None, loop, loop
    )


def seconds(m, n, k, sets=np.inf):
    return float(gemm_seconds(shapes(m, n, k, sets), H200).latency_s[0])


@given(m=SIZES, n=SIZES)
@settings(max_examples=60, deadline=None)
def test_tiles_cover_the_output_and_no_row_of_them_is_empty(m, n):
    kernel = library_kernels(PART.kernels.gemm).by_unit[GemmUnit.HALF]
    tiling = tilings(np.array([[float(m)]]), np.array([[float(n)]]), kernel.sides)
    for size, side, count in ((m, tiling.tokens, tiling.rows), (n, tiling.outputs, tiling.columns)):
        assert (side * count >= size).all() and (side * (count - 1) < size).all()


@pytest.mark.parametrize(("n", "k", "size"), [(64, 64, 16), (68, 64, 4), (66, 128, 4), (64, 65, 2), (65, 64, 2)])
def test_loads_are_those_of_the_least_aligned_matrix(n, k, size):
    assert alignment(shapes(8, n, k)) == size


def test_an_odd_k_costs_several_times_the_even_one():
    """5,772 tokens by 912 outputs: 197 us measured at k = 1,621, about 29 us were it 1,624."""
    assert 4 < seconds(5772, 912, 1621) / seconds(5772, 912, 1624) < 9


def test_int8_rows_of_8_bytes_take_several_times_those_of_16():
    """970 tokens by 640 outputs on an H200: 130 us measured at k = 14,200."""
    odd, even = (ss.estimate(ss.ops.linear(970, 640, k, "int8"), "gpu/h200").latency_s for k in (14200, 14208))
    assert 1.5 < odd / even < 5


def test_kernels_of_unaligned_rows_are_those_of_the_type():
    kernels = library_kernels(PART.kernels.gemm)
    found = {(unit, size): kernels.loading(unit, size) for unit in GemmUnit for size in (16, 4, 2)}
    own = {key for key, kernel in found.items() if kernel is not None}
    assert own == {(unit, size) for unit in (GemmUnit.HALF, GemmUnit.TF32, GemmUnit.INT8) for size in (4, 2)}
    assert found[GemmUnit.TF32, 4] is not found[GemmUnit.HALF, 4] is not found[GemmUnit.INT8, 4]


@given(m=SIZES, n=SIZES, k=SIZES)
@settings(max_examples=40, deadline=None)
def test_transferred_kernels_are_no_faster_than_the_aligned_ones_of_the_card(m, n, k):
    """On an A100, whose odd rows run the kernels of Hopper: at least the time of one value less in every row."""
    times = [
        float(gemm_seconds(shapes(m, *sizes), A100).latency_s[0]) for sizes in ((8 * n + 1, 8 * k + 1), (8 * n, 8 * k))
    ]
    assert times[0] > 0.97 * times[1]


def test_odd_rows_lose_on_an_rtx_4090_what_was_published():
    """155.9 TFLOPS at m = n = k = 2,040, 115.6 at 2,055 (github.com/pytorch/pytorch, number 181718): a quarter lost."""
    card = gemm_machine(load_hardware("gpu/rtx4090"))
    rates = [size**3 / float(gemm_seconds(shapes(size, size, size), card).latency_s[0]) for size in (2040, 2055)]
    assert rates[1] / rates[0] == pytest.approx(115.6 / 155.9, rel=0.1)


def test_times_of_transferred_kernels_carry_their_errors():
    a100, h200 = (Gpu(load_hardware(f"gpu/{name}")) for name in ("a100-sxm4-80gb", "h200-sxm5-141gb"))
    odd, even = (ops.linear(64, size, size, "fp16") for size in (4097, 4096))
    assert [note.split(":")[0] for note in a100.notes(odd)] == ["n or k is no multiple of 8"]
    assert "hopper" in a100.notes(odd)[0]
    assert a100.notes(even) == h200.notes(odd) == ()
    trace = ss.TraceBuilder("one").add(odd).build()
    assert ss.simulate(trace, ss.load_system("systems/a100-pcie4")).notes == (f"gpu0: {a100.notes(odd)[0]}",)


@given(m=st.integers(1, 2048), n=st.integers(8, 512), k=st.integers(8, 512))
@settings(max_examples=40, deadline=None)
def test_weights_in_the_cache_never_cost_time(m, n, k):
    assert seconds(m, 8 * n, 8 * k, sets=1) <= seconds(m, 8 * n, 8 * k)


def test_a_list_costs_what_its_gemms_cost_one_by_one_to_the_last_bit():
    """Longer than a chunk, so that chunks meet, and than what is remembered for other cards."""
    sizes = np.random.default_rng(0).integers(1, 4096, (600, 3))
    m, n, k = (sizes[:, i] for i in range(3))
    none, cold = np.zeros(600, np.bool_), np.ones(600, np.int64)
    all_of_them = GemmShapes(m, n, k, np.full(600, GemmUnit.HALF), np.full(600, 2.0), none, none, cold)
    found = gemm_seconds(all_of_them, H200).latency_s
    for i in (0, 255, 256, 599):
        assert found[i] == seconds(*sizes[i].tolist())


def test_memory_that_delivers_more_does_not_change_what_the_power_limit_allows():
    square = ss.ops.linear(8192, 8192, 8192, "bf16")
    faster = override_part(load_hardware("gpu/h100-sxm5-80gb"), {"memory.bandwidth": "4.8 TB/s"})
    seconds = [ss.estimate(square, part).latency_s for part in ("gpu/h100-sxm5-80gb", faster)]
    assert seconds[1] == pytest.approx(seconds[0], rel=1e-3)


@pytest.mark.parametrize("k", [4096, 4099])
def test_tf32_lies_between_16_bits_and_the_cuda_cores(k):
    """Odd rows of 16 bits run older kernels: 87 TFLOPS measured at 5,772 x 912 x 1,621, and of tf32 119 at 6,341 x
    2,410 x 17,648, so that the two are only close there."""
    bf16, tf32, fp32 = (ss.estimate(ss.ops.linear(4096, 4096, k, t), "gpu/h200-sxm5-141gb").latency_s
                        for t in ("bf16", "tf32", "fp32"))  # fmt: skip
    assert (1.0 if k % 4 == 0 else 0.7) * bf16 < tf32 < fp32 / 2
    with pytest.raises(MappingError, match="no linear kernel for tf32"):
        ss.estimate(ss.ops.linear(8, 64, 64, "tf32"), "gpu/t4")
