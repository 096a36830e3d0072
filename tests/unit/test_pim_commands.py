# SPDX-License-Identifier: Apache-2.0
"""PIM by commands: AttAcc's runs, every command under its constraints, level 2 beside level 0."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.hardware import load_hardware
from simsparse.config.parts.pim import PimPart, PimSelect
from simsparse.core import ops
from simsparse.devices.pim import Pim
from simsparse.devices.pim_attention import AttentionProgram, AttentionShape
from simsparse.devices.pim_layout import UnitLayout
from simsparse.devices.pim_pairs import PairProgram
from simsparse.devices.pim_products import dense_columns, product_steps
from simsparse.dram.device import DramDevice
from simsparse.dram.lockstep import BARRIER
from simsparse.dram.parts import pim_device
from simsparse.dram.program import bank_offsets, run_steps
from simsparse.errors import SpecError
from simsparse.validate.pim import attacc_channel, is_pim_table, validate_pim

pytestmark = pytest.mark.xdist_group("dram")

TABLE = Path(__file__).parents[1] / "validation/data/pim/attacc.csv"
LEVELS = ("bank", "bg", "buffer")


def test_attaccs_runs_command_by_command() -> None:
    """41 runs: counts of every command equal; cycles equal at bank and bank-group level, 0.1 % short at the buffer."""
    assert is_pim_table(TABLE)
    cycles, commands = validate_pim(TABLE).sections
    assert len(cycles.predictions) == 41 and len(commands.predictions) == 5 * 41
    assert all(p.error == 0 for p in commands.predictions)
    for prediction in cycles.predictions:
        bound = 0.001 if prediction.row.text("pim_level") == "buffer" else 0
        assert abs(prediction.error) <= bound, prediction.row


def earliest_by_hand(device: DramDevice, log: np.ndarray) -> None:
    """Every command of a run comes as late as each constraint asks, looked up among all commands before."""
    spans = {level: np.prod([device.sizes[below] for below in device.levels[device.levels.index(level) + 1 :]])
             for level in device.levels}  # fmt: skip
    names = [device.commands[number] for number in log[:, 1]]
    for later, (tick, _, bank, *_) in enumerate(log):
        for c in device.constraints:
            if names[later] not in c.following:
                continue
            same = [i for i in range(later) if names[i] in c.preceding
                    and log[i, 2] // spans[c.level] == bank // spans[c.level]]  # fmt: skip
            if len(same) >= c.window:
                assert tick - log[same[-c.window], 0] >= c.ticks, (names[later], c)


@settings(deadline=None, max_examples=15)
@given(
    level=st.sampled_from(LEVELS), heads=st.integers(1, 40), keys=st.integers(1, 300),
    dim=st.sampled_from((64, 80, 128)), element=st.sampled_from((1, 2)), queries=st.integers(1, 3),
)  # fmt: skip
def test_no_command_comes_too_early(level: str, heads: int, keys: int, dim: int, element: int, queries: int) -> None:
    device, unit = attacc_channel(level, 1)
    program = AttentionProgram(device, unit, AttentionShape(heads, keys, dim, element, 16, queries))
    steps = program.steps()
    run = run_steps(device, steps, logged=True)
    earliest_by_hand(device, run.log[:300])
    sent = Counter(device.commands[number] for number in steps[steps[:, 0] != BARRIER, 0])
    assert all(run.commands[name] == count for name, count in sent.items())
    assert run.ticks == run.log[-1, 0]


def test_samsungs_runs() -> None:
    """12 products and sums, by the units and by a host, within 1 %; the tolerance of the table is 4 %."""
    (cycles,) = validate_pim(TABLE.with_name("hbm_pim.csv")).sections
    assert len(cycles.predictions) == 12 and cycles.passed
    assert max(abs(p.error) for p in cycles.predictions) < 0.01


def test_no_command_of_hbm_pim_comes_too_early() -> None:
    part = load_hardware("pim/hbm-pim")
    assert isinstance(part, PimPart)
    device = pim_device(part)
    for steps in (PairProgram(device).product(64, 1024, 16), PairProgram(device).host(600, 50)):
        run = run_steps(device, steps, logged=True)
        earliest_by_hand(device, run.log[:450])
        sent = Counter(device.commands[number] for number in steps[steps[:, 0] != BARRIER, 0])
        assert all(run.commands[name] == count for name, count in sent.items())


def test_hbm_pim_computes_a_product_at_level_2() -> None:
    """4096 x 4096: level 0 leaves out modes, registers and what barriers wait for."""
    hw = load_hardware("pim/hbm-pim", {"compute.launch": "0 s"})
    closed, sent = (ss.estimate(ops.linear(1, 4096, 4096, "fp16"), hw, level=level) for level in (0, 2))
    assert sent.latency_s == pytest.approx(13.166e-6, rel=0.04)
    assert 0.75 * sent.latency_s < closed.latency_s < sent.latency_s


def test_a_mac_finds_its_row_open_in_every_bank() -> None:
    device, unit = attacc_channel("bg", 0)
    columns = dense_columns(UnitLayout(device, unit, 2), 400, 4096)
    log = run_steps(device, product_steps(device, unit, columns, 4096, 2, 1, 1), logged=True).log
    offsets = bank_offsets(device, device.lockstep[unit].spans)
    many = device.lockstep[unit]
    rows: dict[int, int] = {}
    for _, number, bank, row, _ in log.tolist():
        name = device.commands[number]
        for other in [bank + offset for offset in offsets]:
            if name == many.opens:
                assert rows.get(other, -1) == -1
                rows[other] = row
            elif name == many.closes:
                rows[other] = -1
            elif name == unit:
                assert rows[other] == row
        if name == device.close_all:
            rows.clear()


@pytest.mark.parametrize("name", ["bank-pim", "bank-pim-unlimited", "bank-group-pim", "buffer-pim"])
def test_level_2_is_level_0_and_what_it_leaves_out(name: str) -> None:
    """Decode attention within 5 %; a product also waits for its inputs to be written and its sums to be moved."""
    hw = load_hardware(f"pim/{name}", {"compute.launch": "0 s"})
    attention = ops.attention(5, 32, 32, 128, 1, 4096, dtype="fp16")
    closed, sent = (ss.estimate(attention, hw, level=level) for level in (0, 2))
    assert sent.level == 2 and closed.level == 0
    assert sent.latency_s == pytest.approx(closed.latency_s, rel=0.05)
    product = ops.linear(1, 16384, 8192, "fp16")
    closed, sent = (ss.estimate(product, hw, level=level) for level in (0, 2))
    assert closed.latency_s < sent.latency_s < 1.5 * closed.latency_s


def test_level_2_reads_what_the_product_has() -> None:
    device = Pim(load_hardware("pim/bank-pim"))
    op = ops.linear(1, 80 * 16 * 16, 4096, "fp16")
    sent = device.costs([op], 2)[0].counts
    assert sent.of("bank", "internal_byte") == op.weight_bytes
    assert sent.of("unit", "mac") == op.useful_macs


def test_bundles_of_duplex_read_without_waiting_for_rows_of_others() -> None:
    """A matrix in one bundle: rows of 32 columns, tCCD_L apart, each opened after the last; within 4 % of level 0."""
    hw = load_hardware("pim/logic-pim", {"compute.launch": "0 s"})
    op = ops.linear(8, 14336, 4096, "bf16")
    closed, sent = (ss.estimate(op, hw, level=level) for level in (0, 2))
    assert sent.level == 2
    assert closed.latency_s < sent.latency_s < 1.04 * closed.latency_s


def test_a_part_without_commands_stays_at_level_0() -> None:
    part = load_hardware("pim/logic-pim")
    assert isinstance(part, PimPart)
    closed = Pim(part.model_copy(update={"dram": None}))
    assert closed.costs([ops.linear(1, 4096, 4096, "bf16")], 2)[0].level == 0
    with pytest.raises(SpecError, match="no section dram"):
        pim_device(closed.part)


@pytest.fixture(scope="module")
def selecting() -> dict[str, Pim]:
    """One stack of bank-level units: zeros stored, zero columns passed over, with an index selector."""
    part = load_hardware("pim/bank-pim", {"memory.stacks": "1"})
    kinds = {"stored": None, "passed": PimSelect(gathers=False, sorted=False),
             "gathered": PimSelect(gathers=True, sorted=False),
             "sorted": PimSelect(gathers=True, sorted=True)}  # fmt: skip
    return {name: Pim(part.model_copy(update={"select": select})) for name, select in kinds.items()}


def masked(device: Pim, mask: np.ndarray, sparsity: str = "unstructured:0.25") -> tuple[int, int, int]:
    """Cycles, bytes read in the banks, and cycles lost to zeros and idle banks."""
    n, k = mask.shape
    found = device.cycles(ops.linear(1, n, k, "fp16", weight_sparsity=sparsity), weight_mask=mask)
    assert sum(found.causes.values()) == found.cycles
    return found.cycles, found.counts.of("bank", "internal_byte"), found.causes["zeros and idle banks"]


def test_a_column_is_passed_over_where_all_banks_have_zeros(selecting: dict[str, Pim]) -> None:
    """Full weights leave no column out; a kept weight makes all 64 banks of its command read."""
    full = np.ones((256, 1024), np.bool_)
    read = masked(selecting["stored"], full)[1]
    assert masked(selecting["passed"], full)[1] == read == full.size * 2
    mask = np.zeros((256, 1024), np.bool_)
    mask[:, ::256] = True
    assert masked(selecting["passed"], mask)[1] * 16 == read
    mask[0, 16] = True
    assert masked(selecting["passed"], mask)[1] == read // 16 + 64 * 32
    assert masked(selecting["stored"], mask)[1] == read


def test_an_index_selector_reads_for_the_fullest_bank(selecting: dict[str, Pim]) -> None:
    """Every bank keeps 64 weights of 20 bits, five columns of 256 bits. One keeps 77: seven for its command's banks."""
    mask = np.zeros((256, 1024), np.bool_)
    for bank in range(4):
        mask[:, 256 * bank : 256 * bank + 64] = True
    cycles, read, _ = masked(selecting["gathered"], mask)
    assert read == 256 * 4 * 5 * 32
    mask[0, 64:77] = True
    more, wider, idle = masked(selecting["gathered"], mask)
    assert wider == read + 2 * 64 * 32 and more > cycles and idle > 0


def test_balanced_patterns_leave_no_bank_idle(selecting: dict[str, Pim]) -> None:
    rng = np.random.default_rng(0)
    uneven = rng.random((512, 1024)) < 0.25
    even = np.zeros((512, 1024), np.bool_)
    even.reshape(512, -1, 4)[..., 0] = True
    lost = {kind: masked(selecting["gathered"], mask, kind)[2]
            for kind, mask in (("1:4", even), ("unstructured:0.25", uneven))}  # fmt: skip
    assert lost["1:4"] < lost["unstructured:0.25"]
    assert masked(selecting["sorted"], uneven)[0] <= masked(selecting["gathered"], uneven)[0]
