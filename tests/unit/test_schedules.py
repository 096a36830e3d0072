# SPDX-License-Identifier: Apache-2.0
"""Systolic accelerators at level 2 without masks: schedules against level 0, and what they leave waiting."""

from __future__ import annotations

from typing import Any

import pytest
from test_schedule import ROOMY

import simsparse as ss
from simsparse.config.hardware import load_hardware
from simsparse.core import Op, OpCycles, ops
from simsparse.dataflow import PeArray
from simsparse.dataflow.folds.schedule import FoldGemm, schedule
from simsparse.devices.base import device_for
from simsparse.devices.fold_schedules import schedules
from simsparse.devices.systolic import Systolic
from simsparse.errors import MappingError

PARTS = (
    "accel/systolic-ws-32x32",
    "accel/systolic-ws-32x32-dense",
    "accel/systolic-os-32x32",
    "accel/systolic-ws-128x128",
)


def level2(part: str, op: Op, **overrides: str) -> tuple[OpCycles, Systolic]:
    loaded = load_hardware(part, {key.replace("__", "."): value for key, value in overrides.items()})
    device = device_for(loaded)
    assert isinstance(device, Systolic)
    return device.cycles(op), device


PRODUCTS = [ops.linear(512, 512, 512), ops.linear(7, 1000, 300), ops.linear(300, 64, 4096),
            ops.conv2d(1, 64, 64, 14, 14, 3, 3, padding=1)]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("op", PRODUCTS, ids=lambda op: str(op.kind))
def test_compute_is_level_zeros_array_time(part: str, op: Op) -> None:
    """Chunks that save reads may cost a few loads and fills more than level 0 has."""
    found, device = level2(part, op)
    closed = device.costs([op])[0]
    least = round(closed.breakdown["compute"] * device.part.array.clock.si)
    assert least <= found.causes["compute"] <= 1.3 * least
    assert found.counts.of("array", "mac_bf16") == op.useful_macs
    assert sum(found.causes.values()) == found.cycles
    assert 0 < found.utilization <= 1
    assert found.counts.of("dram", "write_byte") == op.output_bytes
    assert found.counts.of("dram", "read_byte") >= op.weight_bytes + op.input_bytes


def test_a_starved_memory_stalls_the_array() -> None:
    op = ops.linear(1, 2048, 2048)
    slow, device = level2("accel/systolic-ws-32x32", op, memory__bandwidth="1 GB/s", memory__efficiency="1")
    fast, _ = level2("accel/systolic-ws-32x32", op, memory__bandwidth="10 TB/s", memory__efficiency="1")
    assert fast.causes["stall"] == 0 < slow.causes["stall"]
    assert slow.cycles == pytest.approx(op.min_bytes, rel=0.01)
    assert slow.cycles / 1e9 == pytest.approx(device.costs([op])[0].latency_s, rel=0.01)


def test_dense_operands_go_through_the_public_door() -> None:
    op = ops.linear(64, 256, 256)
    assert ss.cycles(op, "accel/systolic-ws-32x32") == level2("accel/systolic-ws-32x32", op)[0]


def test_every_product_has_a_schedule() -> None:
    op = ops.attention(2, 8, 8, 64, 128, 256, causal=False)
    device = device_for(load_hardware("accel/systolic-ws-32x32"))
    assert isinstance(device, Systolic)
    runs = schedules(device, op)
    assert [times for times, _ in runs] == [16, 16]
    assert runs[0][1].dram["output"] == 1 == runs[1][1].dram["input"], "scores stay on chip"


@pytest.mark.parametrize("op", [ops.elementwise(64, 64, 8), ops.transfer(8, "a", "b")])
def test_what_is_no_product_is_refused(op: Any) -> None:
    with pytest.raises(MappingError):
        level2("accel/systolic-ws-32x32", op)


def test_buffers_without_room_are_an_error_of_the_mapping() -> None:
    with pytest.raises(MappingError, match="no cycle core for it: half a buffer holds"):
        level2("accel/systolic-ws-32x32", ops.linear(64, 512, 512), buffers__weight="16 B")


@pytest.mark.parametrize(("side", "m", "n", "k", "printed"),
                         [(32, 512, 512, 512, 148224), (32, 64, 64, 64, 524), (16, 64, 64, 64, 1584),
                          (16, 64, 64, 256, 4656)])  # fmt: skip
def test_stonnes_mesh_is_os_with_five_stages(side: int, m: int, n: int, k: int, printed: int) -> None:
    """Its runs take K + R + C + 3 cycles a fold: the diagonal's R + C - 2 and five of control and registers."""
    walk = schedule("os", FoldGemm.dense(m, n, k, 8), PeArray(side, side, stages=5), ROOMY)
    assert walk.compute == printed


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("m", "n", "k"), [(512, 512, 512), (1024, 1024, 256), (1, 2048, 2048), (3000, 96, 700)])
def test_level_zero_is_near(part: str, m: int, n: int, k: int) -> None:
    """The closed form, without the launch of an operator, against the walked schedule.

    Level 0 keeps partial sums of several columns while it goes along k, so it reads inputs less often (512^3 on
    32 x 32: 14 % fewer cycles), and shows the first tile's load whole (128 x 128: 15 % more).
    """
    found, device = level2(part, ops.linear(m, n, k))
    closed = device.costs([ops.linear(m, n, k)])[0]
    cycles_there = (closed.latency_s - device.part.vector.launch.si) * device.part.array.clock.si
    assert found.cycles == pytest.approx(cycles_there, rel=0.15)


@pytest.mark.parametrize("part", ["accel/systolic-ws-32x32", "accel/systolic-os-32x32", "accel/nm-array-16nm"])
@pytest.mark.parametrize("shape", [(512, 1024, 1024), (2048, 512, 512), (16, 1024, 2048)])
def test_levels_agree_on_energy(part: str, shape: tuple[int, int, int]) -> None:
    """Level 2 takes the order that moves the fewest bits of those that are about as fast; level 0 assumes as much."""
    op = ops.linear(*shape, "int8")
    closed, scheduled = (ss.estimate(op, part, level=level) for level in (0, 2))
    assert scheduled.energy_j == pytest.approx(closed.energy_j, rel=0.05)
    assert scheduled.latency_s == pytest.approx(closed.latency_s, rel=0.02)
