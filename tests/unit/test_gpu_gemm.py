# SPDX-License-Identifier: Apache-2.0
"""The GEMM model of GPUs: launch grids against profiled ones, a scalar twin, bounds, interpolation, dispatch."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from simsparse.config.hardware import load_hardware, override_part
from simsparse.config.parts.gpu_gemm import SECTIONS, GpuDerating, replaceable
from simsparse.config.paths import part_names
from simsparse.devices.gpu_gemm import GemmShapes, GemmUnit, gemm_seconds
from simsparse.devices.gpu_gemm_sparse24 import k_splits
from simsparse.devices.gpu_gemm_tiles import TILES, TensorCard, dense_seconds, launch_grid
from simsparse.devices.gpu_gemm_types import Derating
from simsparse.devices.gpu_rates import gemm_machine, gemm_times
from simsparse.errors import SpecError

H100 = gemm_machine(load_hardware("gpu/h100-sxm5-80gb"))
H200 = gemm_machine(load_hardware("gpu/h200-sxm5-141gb"))
FITTED = gemm_machine(load_hardware("gpu/t4")).gemm
"""Parameters fitted to an H100, for cards whose tiles no library describes."""
CANDIDATES = [(n, m, split) for n, m, splits in TILES for split in splits]
SIZES = st.integers(1, 40_000)


def shapes(sizes, unit=GemmUnit.HALF, value_bytes=2.0, sparse24=False, in_l2=False, batch=1):
    m, n, k = np.array(sizes, np.int64).T
    return GemmShapes(
        m, n, k, np.full(len(m), int(unit)), np.full(len(m), value_bytes),
        np.full(len(m), sparse24), np.full(len(m), in_l2), np.full(len(m), batch),
    )  # fmt: skip


def seconds(m, n, k, machine=H100, **options):
    return float(gemm_seconds(shapes([(m, n, k)], **options), machine).latency_s[0])


@pytest.mark.parametrize(
    ("m", "n", "tile", "blocks"),
    [(8, 4096, (64, 8), 64), (256, 512, (64, 24), 96), (1024, 1024, (128, 64), 128), (704, 1600, (80, 128), 120),
     (576, 512, (64, 64), 80), (2, 10240, (128, 8), 80), (32, 768, (64, 8), 48), (8, 768, (64, 8), 12),
     (128, 13824, (112, 128), 124), (512, 10240, (320, 128), 128), (128, 2048, (64, 32), 128),
     (320, 2560, (112, 64), 120), (72, 1280, (64, 24), 80)],
)  # fmt: skip
def test_grids_match_profiled_cublas_kernels(m, n, tile, blocks):
    """Thread blocks of nvjet kernels, profiled on an H100 with PyTorch 2.11."""
    one, limit = np.ones((1, 1)), FITTED.half.clustered * H100.sms
    grid = launch_grid(m * one, n * one, one, limit)
    assert grid.blocks[0, CANDIDATES.index((*tile, 1))] == blocks


@pytest.mark.parametrize(
    ("tiles", "k", "blocks"),
    [(7, 11520, 70), (14, 11520, 126), (11, 16512, 132), (20, 10240, 40), (32, 11008, 64), (64, 11008, 128),
     (28, 18944, 112), (24, 8192, 24), (72, 9216, 72), (84, 18944, 84)],
)  # fmt: skip
def test_single_wave_splits_match_profiled_cusparselt_kernels(tiles, k, blocks):
    """Blocks of the 2:4 kernel, profiled on an H100 with PyTorch 2.11."""
    assert k_splits(np.array([float(tiles)]), np.array([float(k)]), 132)[0] * tiles == blocks


@pytest.mark.parametrize(("tiles", "k", "split"), [(160, 5632, 2), (192, 8192, 2), (224, 8192, 1), (192, 4096, 1)])
def test_a_short_last_wave_splits_k_only_when_long(tiles, k, split):
    assert k_splits(np.array([float(tiles)]), np.array([float(k)]), 132)[0] == split


def scalar_dense(m, n, k, machine, tensor, peak):
    """The dense model one candidate at a time, in plain Python."""
    found = []
    for tile_n, tile_m, split in CANDIDATES:
        tiles_n, tiles_m = math.ceil(n / tile_n), math.ceil(m / tile_m)
        shares = [(4, 2), (2, 4)] if tiles_m > 1 else []
        counts = [((a, b), _up(tiles_n, a) * _up(tiles_m, b) * split) for a, b in [*shares, (4, 1)]]
        fitting = [choice for choice in counts if choice[1] <= tensor.clustered * machine.sms + 1e-9]
        along_n, along_m = _up(tiles_n, 2) * tiles_m, tiles_n * _up(tiles_m, 2)
        pair = (1, 2) if tiles_m > 1 and (along_m, -tile_n) <= (along_n, -tile_m) else (2, 1)
        (share_n, share_m), blocks = fitting[0] if fitting else (pair, split * (along_m if pair == (1, 2) else along_n))
        step = max(
            2 * tile_n * tile_m * machine.sms / (tensor.tensor * peak) + tensor.overhead / machine.clock_hz,
            2 * (tile_n / share_m + tile_m / share_n) / (tensor.port * machine.clock_hz),
        )
        loops = math.ceil(blocks / machine.sms) * k / split * step
        compute = max(loops, tiles_n * tiles_m * k * 2 * tile_n * tile_m / (tensor.sustained * peak))
        card = tensor.memory * machine.hbm_bytes_per_s
        drawn = min(blocks, machine.sms) * tensor.stream * machine.clock_hz
        memory = (2 * k * (n + m) + 2 * m * n) * (card**-4 + drawn**-4) ** 0.25
        found.append(tensor.launch + (split > 1) * tensor.split_launch + (compute**4 + memory**4) ** 0.25)
    weights = [math.exp((1 - time / min(found)) / tensor.spread) for time in found]
    return sum(w * t for w, t in zip(weights, found, strict=True)) / sum(weights)


def _up(tiles, size):
    return -(-tiles // size) * size


@given(SIZES, SIZES, SIZES)
@settings(max_examples=60)
def test_dense_equals_its_scalar_twin(m, n, k):
    tensor, peak = FITTED.half, H100.flops[GemmUnit.HALF]
    fast = dense_seconds(shapes([(m, n, k)]), *2 * [TensorCard(H100, tensor, peak)]).latency_s[0]
    assert fast == pytest.approx(scalar_dense(m, n, k, H100, tensor, peak), rel=1e-9)


@given(SIZES, SIZES, SIZES, st.booleans(), st.sampled_from([H100, H200]))
@settings(max_examples=200)
def test_no_gemm_beats_the_card(m, n, k, sparse24, machine):
    weight = n * k * (0.5625 if sparse24 else 1.0)
    by_memory = 2 * (weight + m * k + m * n) / machine.hbm_bytes_per_s
    by_arithmetic = 2 * m * n * k / ((2 if sparse24 else 1) * machine.flops[GemmUnit.HALF])
    assert seconds(m, n, k, machine, sparse24=sparse24) > max(by_memory, by_arithmetic)


@given(SIZES, SIZES, SIZES, st.booleans())
@settings(max_examples=100)
def test_contributors_explain_the_latency(m, n, k, sparse24):
    times = gemm_seconds(shapes([(m, n, k)], sparse24=sparse24), H100)
    together = times.launch_s + times.compute_s + times.memory_s
    assert max(times.compute_s[0], times.memory_s[0]) < times.latency_s[0] <= together[0] * (1 + 1e-12)


@given(SIZES, SIZES, SIZES, st.booleans())
@settings(max_examples=60)
def test_operands_in_l2_are_not_slower(m, n, k, sparse24):
    """But for the mean over candidates, which shifts within its spread."""
    resident, streamed = seconds(m, n, k, sparse24=sparse24, in_l2=True), seconds(m, n, k, sparse24=sparse24)
    assert resident <= streamed * (1 + FITTED.half.spread)


def test_batch_equals_one_by_one_to_the_last_bit():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 20_000, (1500, 3))
    for sparse24 in (False, True):
        together = gemm_seconds(shapes(sizes, sparse24=sparse24), H100).latency_s
        picked = range(0, 1500, 50)
        assert [together[i] for i in picked] == [seconds(*sizes[i], sparse24=sparse24) for i in picked]


def test_mixed_units_keep_their_places():
    parts = [
        shapes([(16, 4096, 4096)]), shapes([(16, 4096, 4096)], sparse24=True),
        shapes([(16, 4096, 4096)], GemmUnit.BYTE, 1.0), shapes([(64, 4096, 4096)], GemmUnit.INT8, 1.0),
        shapes([(1, 4096, 4096)], GemmUnit.FP32, 4.0),
    ]  # fmt: skip
    given = [name for name, value in vars(parts[0]).items() if value is not None]
    mixed = GemmShapes(*(np.concatenate([getattr(part, name) for part in parts]) for name in given))
    alone = [gemm_seconds(part, H100).latency_s[0] for part in parts]
    assert gemm_seconds(mixed, H100).latency_s.tolist() == alone


def test_two_four_without_the_path_runs_dense():
    machine = replace(H100, gemm=replace(H100.gemm, sparse24=None))
    assert seconds(16, 4096, 4096, machine, sparse24=True) == seconds(16, 4096, 4096)


def test_two_four_follows_what_was_seen():
    """Measured: slower than dense for few tokens, faster for many; half an empty tile costs more than a full one."""
    assert seconds(8, 14336, 4096, sparse24=True) > 1.5 * seconds(8, 14336, 4096)
    assert seconds(8192, 14336, 4096, sparse24=True) < 0.8 * seconds(8192, 14336, 4096)
    assert seconds(384, 14336, 4096, sparse24=True) > 1.4 * seconds(512, 14336, 4096, sparse24=True)
    assert seconds(7, 1024, 1024, sparse24=True) - seconds(8, 1024, 1024, sparse24=True) == pytest.approx(
        2.3e-6, rel=0.2
    )


def test_fp32_single_token_streams_at_the_memory_rate():
    vector = H100.gemm.vector
    moved = 4 * (8192 * 8192 + 2 * 8192)
    expected = vector.vector_launch + moved / (vector.stream * H100.hbm_bytes_per_s)
    assert seconds(1, 8192, 8192, unit=GemmUnit.FP32, value_bytes=4.0) == pytest.approx(expected)


@pytest.mark.parametrize("name", [name for name in part_names() if name.startswith("gpu/")])
def test_products_have_finite_seconds_on_every_card_and_unit(name):
    """Whether their kernels are the part's or the library's: what a part leaves out is read by none."""
    part = load_hardware(name)
    for unit, value_bytes in ((GemmUnit.HALF, 2.0), (GemmUnit.BYTE, 1.0), (GemmUnit.BYTE_ROW, 1.0),
                              (GemmUnit.BYTE_BLOCK, 1.0), (GemmUnit.INT8, 1.0), (GemmUnit.FP32, 4.0)):  # fmt: skip
        sizes = [(m, 4096, k) for m in (1, 2, 3, 4, 5, 16, 1000) for k in (4096, 1001)]
        times = gemm_times(part, shapes(sizes, unit, value_bytes))
        assert np.isfinite(times.latency_s).all()
        assert np.isfinite([times.compute_s, times.memory_s, times.launch_s]).all()


@pytest.mark.parametrize(
    ("name", "own"),
    [("gpu/t4", SECTIONS), ("gpu/a100-sxm4-80gb", ("fp8", "int8", "vector")),
     ("gpu/b200-sxm-180gb", ("fp8", "int8", "vector")), ("gpu/h100-sxm5-80gb", ()), ("gpu/h200-sxm5-141gb", ())],
)  # fmt: skip
def test_parts_state_what_their_library_leaves_to_them(name, own):
    gemm = load_hardware(name).gemm
    for section in SECTIONS:
        numbers = [getattr(getattr(gemm, section), each) for each in replaceable(type(getattr(gemm, section)))]
        assert [number is not None for number in numbers] == [section in own] * len(numbers)


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [("h100-sxm5-80gb", "fp8.port", "gemm.fp8: .*nothing reads port; expected null"),
     ("a100-sxm4-80gb", "half.tensor", "gemm.half: .*nothing reads tensor"),
     ("h200-sxm5-141gb", "vector.step", "gemm.vector: .*nothing reads step")],
)  # fmt: skip
def test_numbers_of_kernels_that_the_library_describes_are_refused(tmp_path, name, path, message):
    section, key = path.split(".")
    value = "1 ns" if key == "step" else "1"
    with pytest.raises(SpecError, match=message):
        text = f"{{{key}: {{value: {value}, source: null, basis: assumed}}}}"
        load_hardware(extended(tmp_path, name, section, text))


@pytest.mark.parametrize(
    ("name", "section", "key"),
    [("t4", "half", "launch"), ("a100-sxm4-80gb", "fp8", "spread"), ("b200-sxm-180gb", "vector", "step")],
)
def test_numbers_that_kernels_need_are_demanded(tmp_path, name, section, key):
    with pytest.raises(SpecError, match=rf"gemm.{section}: .*expected {key}"):
        load_hardware(extended(tmp_path, name, section, f"{{{key}: null}}"))


def test_a_card_of_fewer_narrow_tokens_needs_the_tiles_of_its_own():
    """The library's fp32 tiles begin at five tokens."""
    with pytest.raises(SpecError, match=r"gemm.vector: .*expected launch, step, memory"):
        override_part(load_hardware("gpu/h100-sxm5-80gb"), {"narrow.tokens": "2"})


def extended(folder, name, section, text):
    """A file of a part like ``name`` with ``text`` as its section of ``gemm``."""
    path = folder / "own.yaml"
    path.write_text(f"kind: gpu\nextends: gpu/{name}\ndescription: own\ngemm:\n  {section}: {text}\n")
    return path


GRID = Derating(
    np.array([1.0, 4.0, 64.0]), np.array([10.0, 1000.0]), np.array([8.0, 32.0]),
    np.arange(12, dtype=np.float64).reshape(3, 2, 2) / 10 + 1,
)  # fmt: skip


def test_derating_is_exact_at_corners_and_log_linear_between():
    m, n, k = (np.array(sizes) for sizes in ([1, 64, 2, 4], [10, 1000, 10, 100], [8, 32, 8, 16]))
    middle = (GRID.factor[1].sum()) / 4
    between = (GRID.factor[0, 0, 0] + GRID.factor[1, 0, 0]) / 2
    assert GRID.at(m, n, k) == pytest.approx([GRID.factor[0, 0, 0], GRID.factor[2, 1, 1], between, middle])


def test_derating_is_constant_beyond_its_grid():
    far = GRID.at(np.array([10**6, 1]), np.array([10**6, 1]), np.array([10**6, 1]))
    assert far == pytest.approx([GRID.factor[2, 1, 1], GRID.factor[0, 0, 0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"m": [4, 1]}, "rising grid"), ({"n": [512]}, "rising grid"), ({"factor": [[[1.0, 1.0]]]}, "shape"),
     ({"factor": [[[1.0, 9.0]] * 2] * 2}, "between 0.5 and 2"), ({"note": 1, "extra": 2}, "extra")],
)  # fmt: skip
def test_bad_derating_is_refused(change, message):
    good = {"m": [1, 4], "n": [512, 1024], "k": [512, 1024], "factor": [[[1.0, 1.0]] * 2] * 2,
            "source": "gemm-fit", "basis": "measured"}  # fmt: skip
    assert GpuDerating.model_validate(good).factor[0][0] == (1.0, 1.0)
    with pytest.raises(ValidationError, match=message):
        GpuDerating.model_validate({**good, **change})


@given(m=st.integers(1, 512), batch=st.integers(2, 256), unit=st.sampled_from([GemmUnit.HALF, GemmUnit.FP32]))
@settings(max_examples=60, deadline=None)
def test_a_batch_costs_less_than_its_products_one_by_one_and_no_less_than_one(m, batch, unit):
    size = 2.0 if unit is GemmUnit.HALF else 4.0
    one, all_of_them = (seconds(m, 512, 128, unit=unit, value_bytes=size, batch=b) for b in (1, batch))
    assert one * (1 - 1e-9) <= all_of_them < batch * one
