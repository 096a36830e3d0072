# SPDX-License-Identifier: Apache-2.0
"""DPUs: loops by hand, threads that are too few, and measured kernels."""

from __future__ import annotations

import pytest

from simsparse.config.hardware import load_hardware
from simsparse.core import Op, OpCost, ops
from simsparse.devices.base import Device, device_for
from simsparse.validate.case import run_cases


def dpus(**overrides: str) -> Device:
    return device_for(load_hardware("dpu/upmem-480", {"compute.launch": "0 s", **overrides}))


def cost(op: Op, **overrides: str) -> OpCost:
    return dpus(**overrides).costs([op])[0]


def test_a_sum_of_vectors_by_hand() -> None:
    """One DPU, 256 int32: loop 2, two addresses and loads, an addition, a store; two blocks read and one written."""
    found = cost(ops.elementwise(2048, 1024, 256, "int32"), **{"compute.dpus": "1"})
    cycles = {name: seconds * 350e6 for name, seconds in found.breakdown.items()}
    assert cycles == pytest.approx({"compute": 256 * 8, "memory": 2 * (77 + 512) + 61 + 512,
                                    "threads": (256 * 8 * 11 + 1751) / 16})  # fmt: skip
    assert found.latency_s * 350e6 == pytest.approx(2048) and found.bound == "compute"
    assert found.counts.of("dpu", "instruction") == 2048 and found.counts.of("bank", "byte") == 3072


def test_few_threads_leave_the_pipeline_idle() -> None:
    """Each thread issues every 11 cycles, so that 11 fill it, and a few more hide transfers of blocks."""
    op = ops.reduce(1, 1 << 20, "int64")
    times = [cost(op, **{"compute.threads": str(threads)}).latency_s for threads in (1, 2, 11, 16, 24)]
    assert times[0] == pytest.approx(2 * times[1]) and times[1] > 5 * times[2]
    assert times[2] > times[3] == times[4]


def test_products_take_a_step_for_each_bit() -> None:
    op = ops.linear(1, 480, 4096, "int32")
    short, long = (cost(op, **{"compute.operand_bits": bits}).latency_s for bits in ("6", "32"))
    assert (long - short) * 350e6 == pytest.approx(26 * 4096)
    assert cost(ops.linear(1, 480, 4096, "int8")).latency_s < short


def test_a_dpu_too_many_has_nothing_to_do() -> None:
    """481 outputs take as long as 960: one DPU has two."""
    one, two, more = (cost(ops.linear(1, n, 512, "int32")).latency_s for n in (480, 481, 960))
    assert more == two == pytest.approx(2 * one)


def test_measured_kernels() -> None:
    """Seven kernels of PrIM in the tolerance of the case; eight times the DPUs gain what they gained, to 3 %."""
    (report,) = run_cases(["upmem-prim"])
    assert report.passed
    by_label = {point.label: point for point in report.points}
    for kernel in ("VA", "RED"):
        few, many = by_label[f"{kernel}, 60 DPUs"], by_label[f"{kernel}, 480 DPUs"]
        assert few.simulated / many.simulated == pytest.approx(few.published / many.published, rel=0.03)


def test_other_types_are_refused() -> None:
    reason = str(dpus().supports(ops.linear(1, 64, 64, "bf16")))
    assert (
        reason == "its kernels have no bf16 with bf16; they have int8, int16, int32, int64, fp32, both operands alike"
    )
