# SPDX-License-Identifier: Apache-2.0
"""nm_stream_assert is bound to every stream of every block in the bulk benches, and stops one that breaks the rules."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from simsparse.errors import SimulationError
from simsparse.rtl.block import BLOCKS
from simsparse.rtl.build import assertions
from simsparse.rtl.toolchain import elsewhere, sources
from simsparse.rtl.verify import blocks, verify_block


def test_every_port_of_every_clocked_block_has_one() -> None:
    for block in blocks():
        ports = 0 if block.combinational else len(block.channels_in) + len(block.channels_out)
        assert assertions(block).count("bind ") == ports


@pytest.mark.usefixtures("_simulator")
def test_a_beat_that_changes_while_it_waits_stops_the_simulation(tmp_path: Path) -> None:
    copies = tmp_path / "rtl"
    shutil.copytree(sources(), copies)
    file = copies / "stream_register.sv"
    text = file.read_text(encoding="utf-8")
    assert "if (valid_i && ready_o) data_q" in text
    file.write_text(text.replace("if (valid_i && ready_o) data_q", "if (valid_i) data_q"), encoding="utf-8")
    with elsewhere(copies, tmp_path), pytest.raises(SimulationError, match="changed or went away"):
        verify_block(BLOCKS.get("stream_register")[0], 100)
