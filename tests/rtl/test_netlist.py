# SPDX-License-Identifier: Apache-2.0
"""What synthesis makes of each module does what its sources say; a single wrong gate is seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from simsparse.rtl.equivalence import netlist_equals_sources
from simsparse.rtl.toolchain import sources

SMALL: Mapping[str, tuple[Mapping[str, int], ...]] = {
    "stream_register": ({"Width": 4},), "skid_buffer": ({"Width": 4},), "stream_fifo": ({"Width": 8, "Depth": 5},),
    "nm_select": ({"N": 2, "M": 4, "DataWidth": 8},), "nm_decompress": ({"N": 2, "M": 4, "DataWidth": 8},),
    "nm_encode24": ({"Groups": 4, "DataWidth": 8},), "nm_prune": ({"N": 4, "M": 8, "DataWidth": 8},),
    "nm_dot_pe": ({"N": 2, "M": 4, "DataWidth": 3, "AccWidth": 8},),
    "dot_accumulate": ({"Lanes": 2, "DataWidth": 3, "AccWidth": 8},),
    "dense_pe": ({"Lanes": 2, "DataWidth": 3, "AccWidth": 8},),
    "bitmap_intersect": ({"Width": 8, "Matches": 2},),
    "spad_hash_accumulate": ({"Depth": 4, "KeyWidth": 4, "ValueWidth": 4, "AccWidth": 8},),
    "nm_systolic_array": (
        {"Rows": 2, "Cols": 2, "N": 1, "M": 4, "DataWidth": 2, "AccWidth": 6},
        {"Rows": 2, "Cols": 2, "N": 1, "M": 4, "DataWidth": 2, "AccWidth": 6, "OutputStationary": 1},
    ),
    "sparse_tensor_core_24": ({"TileM": 1, "TileN": 1, "TileK": 8, "StepK": 4, "DataWidth": 3, "AccWidth": 8},),
    "fp32_add": ({},), "fp16_mul": ({},),
}  # fmt: skip
"""Control and lanes as verified; numbers that are multiplied are narrow, which the solver takes in a second or two."""
LOWERED = {"fp16_mul", "sparse_tensor_core_24"}
"""Compared with their sources after synthesis' passes on words: products and sums are then one network of adders."""
NAND, NOR = "sky130_fd_sc_hd__nand2_1", "sky130_fd_sc_hd__nor2_1"
ONE_WRONG_GATE = (
    f"select -set gates t:{NAND} t:{NOR}", "select -set one @gates %R1", "select -assert-count 1 @one",
    f"select -set nand @one t:{NAND} %i", f"select -set nor @one t:{NOR} %i",
    f"chtype -set {NOR} @nand", f"chtype -set {NAND} @nor",
)  # fmt: skip
CASES = [(module, shape) for module, shapes in SMALL.items() for shape in shapes]
NAMES = [f"{module}-{place}" for module, shapes in SMALL.items() for place in range(len(shapes))]


@pytest.mark.parametrize(("module", "shape"), CASES, ids=NAMES)
def test_netlist_equals_sources_but_for_one_wrong_gate(module: str, shape: Mapping[str, int], tmp_path: Path) -> None:
    found = netlist_equals_sources(module, dict(shape), tmp_path, [ONE_WRONG_GATE], lowered=module in LOWERED)
    assert found == [True, False]


def test_every_module_has_a_proof_or_holds_what_has() -> None:
    assert {path.stem for path in sources().glob("*.sv")} - set(SMALL) == {
        "nm_dot_pe_fp16", "nm_gemm_top", "nm_gemm_axi", "nm_requantise",
    }  # fmt: skip
