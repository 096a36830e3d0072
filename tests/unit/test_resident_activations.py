# SPDX-License-Identifier: Apache-2.0
"""Activations that stay on an accelerator's chip: what crosses the DRAM, work behind the array, engines without."""

from __future__ import annotations

from pathlib import Path

import pytest

import simsparse as ss
from simsparse.config.hardware import load_hardware
from simsparse.devices.memory import READ, WRITE
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.errors import SpecError

S4 = "accel/s4"
ONE_IN_16 = "bank32:0.0625"


def test_weights_alone_cross_the_dram_while_activations_fit() -> None:
    device = SparseEngineDevice(load_hardware(S4))
    fits, too_large = (ss.ops.linear(m, 1024, 1024, "int8", weight_sparsity=ONE_IN_16) for m in (8192, 32768))
    costs = device.cost_arrays([fits, too_large])
    kept = 1024 * 1024 // 16
    assert costs.counts[READ][0] == pytest.approx(kept * (8 + 5) / 8, rel=1e-3) and costs.counts[WRITE][0] == 0
    assert costs.counts[READ][1] > 32768 * 1024 and costs.counts[WRITE][1] == 32768 * 1024
    assert costs.latency_s[1] > 6 * costs.latency_s[0]
    attention = device.cost_arrays([ss.ops.attention(1, 12, 12, 64, 384, 384, False, "int8")])
    assert not any(attention.counts[action][0] for action in (READ, WRITE) if action in attention.counts)


def test_elementwise_work_runs_behind_the_array_at_its_rate() -> None:
    device = SparseEngineDevice(load_hardware(S4))
    fits, too_large = (ss.ops.elementwise(size, size, size, "int8", label="relu") for size in (1 << 22, 1 << 26))
    seconds = device.cost_arrays([fits, too_large]).latency_s
    assert seconds[0] == pytest.approx((1 << 22) / 4096 / 900e6)
    assert seconds[1] > (1 << 27) / 72e9, "beyond the chip's memory it moves through the DRAM"


def test_engines_that_keep_no_activations_refuse_the_key(tmp_path: Path) -> None:
    part = tmp_path / "mine.yaml"
    room = "activations: {value: 1 MiB, source: null, basis: assumed}"
    part.write_text(f"extends: accel/eie\ndescription: mine\nbuffers: {{{room}}}\n")
    with pytest.raises(SpecError, match=r"eie keeps no activations"):
        ss.estimate(ss.ops.linear(1, 64, 64, "int16"), str(part))
    part.write_text(
        "extends: accel/eie\ndescription: mine\nvector: {inline: {value: 8, source: null, basis: assumed}}\n"
    )
    with pytest.raises(SpecError, match=r"needs buffers.activations"):
        load_hardware(str(part))
