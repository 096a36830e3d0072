# SPDX-License-Identifier: Apache-2.0
"""Processing in memory: command timings by hand, AttAcc's simulator, reads repeated for more tokens."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.pim import PimPart
from simsparse.core import Op, OpCost, ops
from simsparse.devices.pim import Pim
from simsparse.devices.pim_cycles import row_cycles, stream_cycles, with_refresh

TABLE = Path(__file__).parents[1] / "validation/data/pim/attacc.csv"
RUNS = [run for run in csv.DictReader(TABLE.read_text().splitlines()) if run["pim_level"] == "bank"]


def bank_pim(limited: bool = True, **overrides: Any) -> Pim:
    """One stack of AttAcc's bank-level PIM."""
    name = "pim/bank-pim" if limited else "pim/bank-pim-unlimited"
    part = load_hardware(name, {"memory.stacks": "1", "compute.launch": "0 s", **overrides})
    assert isinstance(part, PimPart)
    return Pim(part)


def cost(device: Pim, op: Op) -> OpCost:
    return device.costs([op])[0]


def cycles(device: Pim, op: Op) -> float:
    return cost(device, op).breakdown["internal"] * device.part.commands.clock.si


def attacc_errors() -> list[float]:
    errors = []
    for run in RUNS:
        heads = int(run["heads_per_stack"])
        op = ops.attention(1, heads, heads, int(run["dhead"]), 1, int(run["seq_len"]), dtype="fp16")
        errors.append(cycles(bank_pim(run["power_limited"] == "1"), op) / int(run["cycles"]) - 1)
    return errors


def test_cycles_are_near_attaccs_simulator() -> None:
    """18 decode attentions. The simulator's own cache differs from its code by up to 3.9 %."""
    errors = np.abs(attacc_errors())
    assert len(errors) == 18
    assert errors.mean() < 0.025
    assert errors.max() < 0.11


def test_mac_commands_equal_attaccs_with_a_head_a_channel() -> None:
    for run in RUNS:
        if run["heads_per_stack"] == "16":
            op = ops.attention(1, 16, 16, 128, 1, int(run["seq_len"]), dtype="fp16")
            read = cost(bank_pim(), op).counts.of("bank", "internal_byte")
            assert read / (64 * 32) == int(run["mac_cmds"])


def test_a_row_by_hand() -> None:
    """tRCD 19, 31 intervals of 6, tRTP 8, tRP 19; one column is held open by tRAS 45."""
    commands = bank_pim().part.commands
    assert float(row_cycles(commands, np.array(32))) == 19 + 31 * 6 + 8 + 19
    assert float(row_cycles(commands, np.array(1))) == 45 + 19
    assert float(stream_cycles(commands, np.array(70))) == 2 * 232 + 19 + 5 * 6 + 8 + 19


def test_refresh_takes_its_share() -> None:
    commands = bank_pim().part.commands
    assert float(with_refresh(commands, np.array(4000.0))) == 4000
    assert float(with_refresh(commands, np.array(1e8))) * (1 - 456 / 5070) == pytest.approx(1e8, rel=1e-4)


def test_a_long_stream_loses_row_changes_and_refresh_of_the_columns_bandwidth() -> None:
    device = bank_pim()
    op = ops.linear(1, 16384, 16384, "fp16")
    commands, per_row = device.part.commands, round(device.part.commands.row.si / device.part.commands.column.si)
    reading = per_row * commands.interval.si / float(row_cycles(commands, np.array(per_row)))
    bandwidth = device.part.column_bandwidth * reading * (1 - commands.rfc.si / commands.refi.si)
    assert op.weight_bytes / cost(device, op).latency_s == pytest.approx(bandwidth, rel=0.01)
    assert bandwidth < device.part.column_bandwidth


def test_more_tokens_than_multipliers_read_again() -> None:
    """A bank unit serves one token a read, Duplex' logic die 8."""
    logic = load_hardware("pim/logic-pim")
    assert isinstance(logic, PimPart)
    for device, free in ((bank_pim(), 1), (Pim(logic), 8)):
        one, most, more = (cost(device, ops.linear(m, 4096, 4096, "fp16")) for m in (1, free, free + 1))
        reads = [each.counts.of("bank", "internal_byte") for each in (one, most, more)]
        assert reads == [reads[0], reads[0], 2 * reads[0]]
        assert one.counts.of("bank", "activate") == more.counts.of("bank", "activate")
        assert one.bound == "internal"
        assert more.bound == "compute"


def test_grouped_queries_are_served_from_one_read_as_far_as_units_go() -> None:
    grouped = ops.attention(8, 32, 8, 128, 1, 2048, dtype="fp16")
    single = ops.attention(8, 8, 8, 128, 1, 2048, dtype="fp16")
    one, four = (cost(bank_pim(), op) for op in (single, grouped))
    assert four.counts.of("bank", "internal_byte") == 4 * one.counts.of("bank", "internal_byte")
    assert four.latency_s > 3 * one.latency_s


def test_pruned_weights_need_an_index_selector() -> None:
    sparse, dense = (ops.linear(1, 4096, 4096, "fp16", weight_sparsity=s) for s in ("2:4", "dense"))
    blind = bank_pim()
    assert cost(blind, sparse).latency_s == cost(blind, dense).latency_s
    part = blind.part
    seeing = Pim(part.model_copy(update={"compute": part.compute.model_copy(update={"patterns": ("2:4",)})}))
    read = [cost(seeing, op).counts.of("bank", "internal_byte") for op in (sparse, dense)]
    assert read[0] / read[1] == pytest.approx(9 / 16, rel=0.01)
    assert cost(seeing, sparse).counts.of("unit", "mac") == sparse.useful_macs
    assert cost(seeing, sparse).latency_s < cost(seeing, dense).latency_s


def test_only_the_compared_case_is_validated() -> None:
    decode = ops.attention(1, 32, 32, 128, 1, 512, dtype="fp16")
    assert cost(bank_pim(), decode).validated
    assert not cost(bank_pim(), ops.linear(1, 64, 64, "fp16")).validated
    logic = load_hardware("pim/logic-pim")
    assert isinstance(logic, PimPart)
    assert not cost(Pim(logic), decode).validated
