"""What synthesis makes of each module does what its sources say; a single wrong gate is seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from simsparse.rtl.equivalence import netlist_equals_sources
from simsparse.rtl.toolchain import sources

SMALL: Mapping[str, Mapping[str, int]] = {
    "stream_register": {"Width": 4}, "skid_buffer": {"Width": 4}, "stream_fifo": {"Width": 4, "Depth": 3},
    "nm_select": {"N": 2, "M": 4, "DataWidth": 4}, "nm_decompress": {"N": 2, "M": 4, "DataWidth": 4},
    "nm_encode24": {"Groups": 1, "DataWidth": 4}, "nm_prune": {"N": 2, "M": 4, "DataWidth": 4},
    "nm_dot_pe": {"N": 2, "M": 4, "DataWidth": 3, "AccWidth": 8},
    "dense_pe": {"Lanes": 2, "DataWidth": 3, "AccWidth": 8},
    "bitmap_intersect": {"Width": 4, "Matches": 2},
    "spad_hash_accumulate": {"Depth": 2, "KeyWidth": 2, "ValueWidth": 2, "AccWidth": 3},
    "nm_systolic_array": {"Rows": 2, "Cols": 1, "N": 1, "M": 4, "DataWidth": 2, "AccWidth": 6},
    "sparse_tensor_core_24": {"TileM": 1, "TileN": 1, "TileK": 8, "StepK": 4, "DataWidth": 2, "AccWidth": 6},
}  # fmt: skip
"""Every pattern of control at these sizes; multipliers grow past what the solver takes."""
NAND, NOR = "sky130_fd_sc_hd__nand2_1", "sky130_fd_sc_hd__nor2_1"


@pytest.mark.parametrize("module", SMALL)
def test_netlist_equals_sources(module: str, tmp_path: Path) -> None:
    assert netlist_equals_sources(module, dict(SMALL[module]), tmp_path)


@pytest.mark.parametrize("module", SMALL)
def test_one_wrong_gate_is_seen(module: str, tmp_path: Path) -> None:
    fault = [
        f"select -set gates t:{NAND} t:{NOR}", "select -set one @gates %R1", "select -assert-count 1 @one",
        f"select -set nand @one t:{NAND} %i", f"select -set nor @one t:{NOR} %i",
        f"chtype -set {NOR} @nand", f"chtype -set {NAND} @nor",
    ]  # fmt: skip
    assert not netlist_equals_sources(module, dict(SMALL[module]), tmp_path, fault)


def test_only_modules_that_exist_are_listed() -> None:
    assert set(SMALL) <= {path.stem for path in sources().glob("*.sv")}
