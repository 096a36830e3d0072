# SPDX-License-Identifier: Apache-2.0
"""Weights narrower than inputs on a GPU, cards known by a public table, and what cards without any carry."""

from __future__ import annotations

import numpy as np
import pytest

import simsparse as ss
from simsparse.config.accuracy import accuracy_of
from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.core import ops
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_evidence import LEFT_OUT
from simsparse.devices.gpu_gemm import GemmShapes, GemmUnit, gemm_seconds
from simsparse.devices.gpu_rates import gemm_machine
from simsparse.validate import validate, validate_file
from simsparse.validate.tables import read_table

CARDS = ("gpu/a100-sxm4-80gb", "gpu/l40s-48gb", "gpu/h200-sxm5-141gb")


def seconds(part, tokens, unit, n=8192, k=8192):
    share = {GemmUnit.WEIGHT8: 0.5, GemmUnit.WEIGHT4: 0.25}.get(unit, 1.0)
    each = [np.array([size], np.int64) for size in (tokens, n, k)]
    none = np.zeros(1, np.bool_)
    shapes = GemmShapes(*each, np.array([unit]), np.full(1, 2.0), none, none, np.ones(1, np.int64), np.array([share]))
    return float(gemm_seconds(shapes, gemm_machine(part)).latency_s[0])


@pytest.mark.parametrize("name", CARDS)
def test_narrow_weights_of_a_serving_library_pay_where_weights_are_all_that_is_read(name):
    part = load_hardware(name)
    served = part.model_copy(update={"kernels": read_library("trtllm-1.2", part.architecture)})
    one, many = ([seconds(served, m, unit) for unit in (GemmUnit.HALF, GemmUnit.WEIGHT8, GemmUnit.WEIGHT4)]
                 for m in (1, 512))  # fmt: skip
    assert one[2] < one[1] < one[0]
    assert many[2] > 0.8 * many[0]


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("unit", [GemmUnit.WEIGHT8, GemmUnit.WEIGHT4])
def test_few_tokens_run_the_faster_of_two_kernels(name, unit):
    part = load_hardware(name)
    library = read_library("trtllm-1.2", part.architecture)
    both, tiled = (part.model_copy(update={"kernels": kernels}) for kernels in (
        library, library.model_copy(update={"weight_only_few": None})))  # fmt: skip
    tokens = (1, 2, 4, 8, 15, 16, 256)
    pairs = [tuple(seconds(each, m, unit, 2048, 2048) for each in (both, tiled)) for m in tokens]
    assert all(first <= second for first, second in pairs)
    assert pairs[0][0] < 0.95 * pairs[0][1]
    assert pairs[-1][0] == pairs[-1][1]
    assert pairs[-2][0] == pairs[-2][1]
    bits = 8 if unit == GemmUnit.WEIGHT8 else 4
    assert pairs[0][0] > 2048 * 2048 * bits / 8 / part.memory.bandwidth.si


def test_packed_kernels_read_each_weight_once_and_take_tokens_in_turns():
    part = load_hardware("gpu/h200-sxm5-141gb")
    few, twice, many = (seconds(part, m, GemmUnit.WEIGHT4) for m in (64, 128, 1024))
    assert 1.9 < twice / few < 2.1
    assert 7.5 < many / twice < 8.1


@pytest.mark.parametrize("name", ["gpu/a100-sxm4-80gb", "gpu/l40s-48gb", "gpu/b200-sxm-180gb"])
def test_cards_of_public_tables_are_checked_by_them(name):
    estimate = ss.estimate(ops.linear(64, 4096, 4096, "bf16"), name)
    assert estimate.validated == f"{name} gemm_table"
    assert estimate.error == accuracy_of(name)["gemm_table"].error
    assert estimate.notes == ()


def test_a_card_that_nobody_measured_carries_the_error_of_cards_left_out():
    (note,) = ss.estimate(ops.linear(64, 4096, 4096, "bf16"), "gpu/rtx4090").notes
    assert note.startswith("no gemm_dense was measured on gpu/rtx4090")
    assert f"{accuracy_of(LEFT_OUT)['gemm_dense'].error:.0%}" in note
    assert Gpu(load_hardware("gpu/h100-sxm5-80gb")).notes(ops.linear(64, 4096, 4096, "bf16")) == ()


def test_rows_with_narrow_weights_are_compared_by_the_library_that_ran_them(tmp_path):
    path = tmp_path / "gemm.csv"
    path.write_text("gpu,gemm_dtype,m,n,k,latency\nh200,int4_wo,1,8192,8192,0.0149\nh200,sq,1,8192,8192,0.02\n"
                    "a100,int8_wo,1,8192,8192,0.0512\nh200,bfloat16,1,8192,8192,0.0346\n")  # fmt: skip
    assert {row.section for row in read_table(path)} == {"gemm_table", "weight_only_table"}
    report = validate_file(path, "gpu/h200-sxm5-141gb")
    assert len(report.section("weight_only_table").predictions) == len(report.section("gemm_table").predictions) == 1
    assert report.section("weight_only_table").skipped == {"measured on a100": 1}


def test_weights_that_are_widened_before_the_product_cost_a_kernel_more():
    row = {"section": "quant", "m": 8, "n": 4096, "k": 4096, "dtype": "bf16", "calls": 24, "copies": 16, "s": 1e-4}
    plain = {**row, "op": "bf16"}
    eager = {**row, "op": "int8_weight_only", "kernel": "dequantize then linear, eager"}
    report = validate([plain, eager, {**eager, "kernel": "novel"}], "gpu/h200-sxm5-141gb").section("quant")
    first, second = (each.predicted for each in report.predictions)
    assert 30e-6 < second - first < 60e-6
    assert report.skipped == {"kernel novel": 1}
