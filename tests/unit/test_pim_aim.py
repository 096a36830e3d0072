# SPDX-License-Identifier: Apache-2.0
"""GDDR6-AiM by commands: programs against a plain replay, CENT's results, level 2 beside level 0."""

from __future__ import annotations

from pathlib import Path

import pytest

import simsparse as ss
from simsparse.config.hardware import load_hardware
from simsparse.config.parts.pim import PimPart
from simsparse.core import ops
from simsparse.devices.pim import Pim
from simsparse.devices.pim_aim import AimProgram
from simsparse.dram.device import DramDevice
from simsparse.dram.parts import pim_device
from simsparse.dram.program import run_steps
from simsparse.errors import SpecError
from simsparse.validate.cent import is_cent_table, validate_cent
from simsparse.validate.reference.cent_block import CentBlock, CentPlan, CentShape, block_steps

pytestmark = pytest.mark.xdist_group("dram")
TABLE = Path(__file__).parents[1] / "validation/data/pim/cent.csv"


@pytest.fixture(scope="module")
def channel() -> DramDevice:
    part = load_hardware("pim/aim-gddr6")
    assert isinstance(part, PimPart)
    return pim_device(part)


class Replay:
    """Commands in order, one a tick, each as early as the constraints allow among all commands before."""

    def __init__(self, device: DramDevice) -> None:
        self.device = device
        self.sent: list[tuple[int, str, int]] = []
        self.rows: dict[int, int | None] = dict.fromkeys(range(device.banks))

    def issue(self, name: str, bank: int) -> None:
        tick = self.sent[-1][0] + 1 if self.sent else 1
        for c in self.device.constraints:
            if name in c.following:
                before = [t for t, n, b in self.sent[-150:]
                          if n in c.preceding and (c.level == "Channel" or b == bank)]  # fmt: skip
                tick = max(tick, max(before, default=-c.ticks) + c.ticks)
        self.sent.append((tick, name, bank))

    def step(self, name: str, bank: int, row: int) -> None:
        many = self.device.lockstep.get(name)
        if many is not None:
            banks = range(self.device.banks) if many.spans else [bank]
            wrong = [b for b in banks if self.rows[b] != row]
            if wrong and self.rows[wrong[0]] is not None:
                self.issue(many.closes, bank)
                self.rows.update(dict.fromkeys(banks))
            if wrong:
                self.issue(many.opens, bank)
                self.rows.update(dict.fromkeys(banks, row))
        self.issue(name, bank)


@pytest.mark.parametrize("function", [False, True])
def test_a_product_takes_the_ticks_of_a_plain_replay(channel: DramDevice, function: bool) -> None:
    program = AimProgram(channel, 4, 16)
    program.product(5, 1100, function)
    replay = Replay(channel)
    for number, bank, row, _ in program.steps().tolist():
        replay.step(channel.commands[number], bank, row)
    ran = run_steps(channel, program.steps(), refresh=False, logged=True)
    assert [(t, channel.commands[n], b) for t, n, b, *_ in ran.log.tolist()] == replay.sent


def test_a_block_opens_what_it_copies(channel: DramDevice) -> None:
    block = CentBlock(channel, 32, CentShape(512, 1024, 4, 4, 1000), CentPlan(1, 2, 1))
    block.norm()
    replay = Replay(channel)
    for number, bank, row, _ in block.steps().tolist():
        replay.step(channel.commands[number], bank, row)
    ran = block.run()
    assert ran.commands["RDCP"] == ran.commands["WRCP"] == 4 * 4 and ran.accesses == 2 * 512 // 16 + 3 * 512 // 16
    closing = next(c.ticks for c in channel.constraints if "PREA" in c.preceding and "ACT16" in c.following)
    assert ran.ticks == replay.sent[-1][0] + ran.accesses + channel.read_latency + closing


def test_outputs_of_half_a_row_share_rows(channel: DramDevice) -> None:
    program = AimProgram(channel, 32, 16)
    program.product(16, 128)
    ran = run_steps(channel, program.steps(), refresh=False)
    assert ran.commands["MAC16"] == 16 * 8 and ran.commands["ACT16"] == 2


def test_results_of_cent(tmp_path: Path) -> None:
    """Six results: milliseconds of a block and of the embedding, a token's latency and energy, in their tolerances."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    few = tmp_path / "cent.csv"
    few.write_text("\n".join(line for line in lines if ",80,1," not in line), encoding="utf-8")
    assert is_cent_table(few) and not is_cent_table(TABLE.with_name("attacc.csv"))
    sections = validate_cent(few).sections
    assert [len(section.predictions) for section in sections] == [6] * 4
    assert all(section.passed for section in sections)
    assert max(abs(p.error) for p in sections[0].predictions) < 0.05


def test_a_block_has_seven_weights() -> None:
    shape = CentShape(4096, 11008, 32, 32, 32000)
    weights = [step[1] * step[2] for step in block_steps(shape, 100) if step[0] == "weights"]
    assert sum(weights) == 4 * 4096**2 + 3 * 4096 * 11008


def test_level_2_writes_buffers_and_sums() -> None:
    """Every output of a bank is a row of 1,024 inputs, whose columns level 0 counts alone."""
    hw = load_hardware("pim/aim-gddr6", {"compute.launch": "0 s"})
    op = ops.linear(2, 16384, 4096, "bf16")
    closed, sent = (ss.estimate(op, hw, level=level) for level in (0, 2))
    assert sent.level == 2 and closed.latency_s < sent.latency_s < 1.5 * closed.latency_s
    counted = Pim(load_hardware("pim/aim-gddr6")).costs([op], 2)[0].counts
    assert counted.of("bank", "internal_byte") == 2 * op.weight_bytes


def test_sums_belong_to_the_program_of_aim(tmp_path: Path) -> None:
    text = Path("hw_models/pim/aim-gddr6.yaml").read_text(encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(text.replace("program: aim", "program: columns"), encoding="utf-8")
    with pytest.raises(SpecError, match=r"dram\.sums belongs to dram\.program aim"):
        load_hardware(str(tmp_path / "bad.yaml"))


def test_a_model_that_is_not_known(tmp_path: Path) -> None:
    head, row, *_ = TABLE.read_text(encoding="utf-8").splitlines()
    (tmp_path / "cent.csv").write_text(f"{head}\n{row.replace('Llama2', 'Llama9')}\n", encoding="utf-8")
    with pytest.raises(SpecError, match="'Llama9-13B' is not a model that is known"):
        validate_cent(tmp_path / "cent.csv")
