# SPDX-License-Identifier: Apache-2.0
"""Systolic accelerators: array cycles, N:M modes, memory, masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simsparse as ss
from simsparse.config.hardware import load_hardware
from simsparse.config.parts.accel import AccelPart
from simsparse.core import Op, OpCost, ops
from simsparse.devices.base import device_for
from simsparse.devices.systolic import Systolic
from simsparse.errors import MappingError, SpecError
from simsparse.paths import data_root

ROUTING = [[0, 1], [0, 2], [0, 3], [0, 1]]


def accel(name: str = "accel/systolic-ws-32x32", **overrides: str) -> Systolic:
    part = load_hardware(name, {key.replace("__", "."): value for key, value in overrides.items()})
    assert isinstance(part, AccelPart)
    return Systolic(part)


def cost(device: Systolic, op: Op) -> OpCost:
    return device.costs([op])[0]


def array_cycles(device: Systolic, op: Op) -> float:
    return cost(device, op).breakdown["compute"] * device.part.array.clock.si


def test_a_dense_product_takes_scale_sims_cycles() -> None:
    assert array_cycles(accel("accel/systolic-ws-32x32-dense"), ops.linear(512, 512, 512)) == pytest.approx(155136)
    assert array_cycles(accel("accel/systolic-os-32x32"), ops.linear(512, 512, 512)) == pytest.approx(146944)


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "2:8", "1:8"])
def test_supported_patterns_save_time_and_bytes(pattern: str) -> None:
    dense, sparse = (ops.linear(512, 2048, 2048, weight_sparsity=s) for s in ("dense", pattern))
    device = accel()
    assert cost(device, sparse).latency_s < cost(device, dense).latency_s
    assert cost(device, sparse).counts.of("dram", "read_byte") < cost(device, dense).counts.of("dram", "read_byte")
    assert cost(device, sparse).counts.of("array", "mac_bf16") == sparse.useful_macs


@pytest.mark.parametrize("m", [1, 16, 4096])
def test_two_of_four_gains_a_factor_of_two_and_no_more(m: int) -> None:
    """Both fill the PEs' registers, so a fold is as deep in kept weights either way."""
    dense, sparse = (array_cycles(accel(), ops.linear(m, 4096, 4096, weight_sparsity=s)) for s in ("dense", "2:4"))
    assert 1.9 < dense / sparse <= 2.0


@pytest.mark.parametrize("pattern", ["3:4", "unstructured:0.1", "block32:0.1", "bank16:0.25"])
def test_other_patterns_run_as_dense(pattern: str) -> None:
    dense, sparse = (ops.linear(64, 512, 512, weight_sparsity=s) for s in ("dense", pattern))
    assert cost(accel(), sparse) == cost(accel(), dense)
    assert cost(accel("accel/systolic-ws-32x32-dense"), ops.linear(64, 512, 512, weight_sparsity="2:4")) == cost(
        accel("accel/systolic-ws-32x32-dense"), dense
    )


def test_a_starved_memory_bounds_the_latency() -> None:
    """One token: every weight is read once, so a slow DRAM sets the time."""
    slow = accel(memory__bandwidth="1 GB/s", memory__efficiency="1")
    op = ops.linear(1, 2048, 2048)
    assert cost(slow, op).bound == "memory"
    assert cost(slow, op).latency_s == pytest.approx(op.min_bytes / 1e9 + 1e-6, rel=0.01)


def test_memory_reads_at_least_every_operand_once() -> None:
    device = accel()
    for op in (ops.linear(512, 512, 512), ops.linear(7, 4096, 4096), ops.conv2d(1, 64, 64, 56, 56, 3, 3, padding=1)):
        counts = cost(device, op).counts
        assert counts.of("dram", "read_byte") >= op.weight_bytes + op.input_bytes
        assert counts.of("dram", "write_byte") == op.output_bytes


def test_a_convolution_is_its_lowered_product() -> None:
    pointwise, conv = ops.conv2d(1, 64, 64, 56, 56, 1, 1), ops.conv2d(1, 64, 64, 28, 28, 3, 3, padding=1)
    assert array_cycles(accel(), pointwise) == array_cycles(accel(), ops.linear(3136, 64, 64))
    assert array_cycles(accel(), conv) == array_cycles(accel(), ops.linear(784, 64, 576))


def test_attention_is_two_products_a_head() -> None:
    attention = ops.attention(2, 8, 8, 64, 128, 256, causal=False)
    scores, context = ops.matmul(16, 128, 256, 64), ops.matmul(16, 128, 64, 256)
    device = accel()
    assert array_cycles(device, attention) == array_cycles(device, scores) + array_cycles(device, context)
    assert cost(device, attention).counts.of("vector", "flop") == 5 * 16 * 128 * 256


def test_experts_are_their_products() -> None:
    moe = ops.moe_ffn(4, 512, 1024, 4, routing=ROUTING)
    device = accel()
    expected = sum(
        2 * array_cycles(device, ops.linear(tokens, 1024, 512)) + array_cycles(device, ops.linear(tokens, 512, 1024))
        for tokens in (4, 2, 1, 1)
    )
    assert array_cycles(device, moe) == pytest.approx(expected)
    assert cost(device, moe).counts.of("array", "mac_bf16") == moe.useful_macs


def test_masks_give_the_closed_form_when_every_group_is_full() -> None:
    device = accel()
    op = ops.linear(24, 96, 512, weight_sparsity="2:4")
    mask = np.tile(np.array([True, False, True, False]), (96, 128))
    walked = device.cycles(op, mask)
    assert walked.cycles == pytest.approx(array_cycles(device, op))
    assert walked.counts.of("array", "mac_bf16") == op.useful_macs
    assert 0 < walked.utilization <= 1


def test_zero_inputs_save_macs() -> None:
    device = accel()
    op = ops.linear(24, 96, 512, weight_sparsity="2:4")
    mask = np.tile(np.array([True, False, True, False]), (96, 128))
    inputs = np.ones((24, 512), bool)
    inputs[:12] = False
    full, half = device.cycles(op, mask), device.cycles(op, mask, inputs)
    assert half.cycles < full.cycles
    assert 2 * half.counts.of("array", "mac_bf16") == full.counts.of("array", "mac_bf16")


def test_only_parts_with_a_core_take_masks() -> None:
    op, mask = ops.linear(4, 8, 16), np.ones((8, 16), bool)
    assert ss.cycles(op, "accel/systolic-ws-32x32", mask) == accel().cycles(op, mask)
    for part, reason in (("accel/systolic-os-32x32", "no cycle core"), ("cpu/h100-host", "none runs here")):
        with pytest.raises(MappingError, match=reason):
            ss.cycles(op, part, mask)


@pytest.mark.parametrize(
    ("op", "shape"),
    [(ops.linear(4, 8, 16), (8, 15)), (ops.matmul(1, 4, 8, 16), (8, 16)), (ops.transfer(8, "a", "b"), (8, 16))],
)
def test_masks_that_do_not_fit_are_refused(op: Any, shape: tuple[int, int]) -> None:
    with pytest.raises(MappingError):
        accel().cycles(op, np.ones(shape, bool))


def test_a_fraction_of_a_row_is_refused() -> None:
    with pytest.raises(SpecError, match=r"array\.rows.*whole"):
        cost(accel(array__rows="31.5"), ops.linear(4, 8, 16))


def test_an_unknown_dataflow_is_refused_by_name(tmp_path: Path) -> None:
    text = (data_root() / "hw_models/accel/systolic-ws-32x32.yaml").read_text().replace("dataflow: ws", "dataflow: wss")
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"array\.dataflow: 'wss' is not a dataflow; did you mean ws"):
        device_for(load_hardware(str(tmp_path / "odd.yaml")))


def test_metadata_is_what_the_part_says() -> None:
    """2:4 takes 4 bits a group by indexes or as a bitmap, 3 by the number of the combination."""
    op = ops.linear(1, 4096, 4096, weight_sparsity="2:4")
    read = {}
    for metadata in ("least", "index", "bitmap", "combinatorial"):
        device = accel(**{"sparsity.metadata": metadata, "sparsity.patterns": "2:4"})
        read[metadata] = device.costs([op])[0].counts.of("dram", "read_byte")
    groups = 4096 * 1024
    assert read["index"] == read["bitmap"] == read["least"]
    assert read["index"] - read["combinatorial"] == groups // 8


def test_metadata_counts_on_the_way_of_real_masks_too() -> None:
    op = ops.linear(4, 64, 256, weight_sparsity="2:4")
    mask = np.tile(np.array([True, True, False, False]), (64, 64))
    loaded = {}
    for metadata in ("index", "combinatorial"):
        device = accel(**{"sparsity.metadata": metadata, "sparsity.patterns": "2:4"})
        loaded[metadata] = device.cycles(op, mask).counts.of("sram", "byte")
    assert loaded["index"] - loaded["combinatorial"] == 64 * 64 // 8


@pytest.mark.parametrize(
    ("shape", "sparsity"), [((667, 611, 789), "1:16"), ((272, 221, 290), "1:8"), ((224, 121, 540), "4:16")]
)
def test_output_stationary_arrays_wait_at_each_turn_of_the_outer_loop(
    shape: tuple[int, int, int], sparsity: str
) -> None:
    """A tile of the outer operand has the time of one fold to arrive, which few kept weights make short."""
    device, (m, n, k) = accel("accel/systolic-os-32x32"), shape
    op = ops.linear(m, n, k, weight_sparsity=sparsity)
    closed, walked = (device.cost_arrays([op], level) for level in (0, 2))
    seconds = [float(each.latency_s[0] - each.contributors["launch"][0]) for each in (closed, walked)]
    assert seconds[0] == pytest.approx(seconds[1], rel=0.05)
    hidden = max(float(closed.contributors[name][0]) for name in ("compute", "memory"))
    assert seconds[0] > 1.25 * hidden
    ample = accel("accel/systolic-os-32x32", memory__bandwidth="100 TB/s")
    assert cost(ample, op).breakdown["fill"] * ample.part.array.clock.si < 0.01 * array_cycles(ample, op)
