# SPDX-License-Identifier: Apache-2.0
"""Every streaming block: bulk streams at all parameter sets, beats by hand and cocotb at some of them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from simsparse.rtl.block import RtlBlock
from simsparse.rtl.build import digest, locked, unless_made
from simsparse.rtl.toolchain import build_root, icarus, sources
from simsparse.rtl.verify import TILES, blocks, verify_block
from tests.rtl.scenes import scenes

ROOT = Path(__file__).resolve().parents[2]
SUITE_TILES = 800
DEEP_SEEDS = (0, 2, 3, 6)
BENCH = "tests.rtl.stream_bench"
QUIET = {
    "COCOTB_LOG_LEVEL": "WARNING", "GPI_LOG_LEVEL": "WARNING", "COCOTB_REWRITE_ASSERTION_FILES": "",
    "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
"""Rewriting assertions would compile every imported module anew, and threads for matrices have nothing to do."""
BY_HAND = (
    "stream_register-Width8", "skid_buffer-Width33", "stream_fifo-Width8-Depth1", "stream_fifo-Width8-Depth5",
    "nm_select-N2-M4-DataWidth8-UserWidth16", "nm_dot_pe-N2-M4-DataWidth8-AccWidth32",
    "dense_pe-Lanes2-DataWidth8-AccWidth32", "dot_accumulate-Lanes3-DataWidth8-AccWidth32",
    "nm_decompress-N2-M4-DataWidth8-Bitmap0", "nm_decompress-N4-M8-DataWidth8-Bitmap1",
    "nm_encode24-Groups8-DataWidth8-Floating0", "nm_encode24-Groups4-DataWidth16-Floating1-fp16",
    "nm_prune-N2-M4-DataWidth8-Floating0",
    "nm_systolic_array-Rows2-Cols3-N4-M8-DataWidth8-AccWidth32-OutputStationary0-WeightWidth8-PipeStages0",
    "nm_systolic_array-Rows3-Cols2-N1-M4-DataWidth8-AccWidth32-OutputStationary1-WeightWidth8-PipeStages0",
    "nm_gemm_top-Rows3-Cols2-N1-M4-DataWidth8-AccWidth32-WeightWidth8-PipeStages0-MaxTokens12",
    "sparse_tensor_core_24-TileM2-TileN2-TileK8-StepK4-DataWidth8-AccWidth32",
    "bitmap_intersect-Width12-Matches3", "nm_dot_pe_fp16-N2-M4",
    "nm_requantise-Lanes4-AccWidth32-OutWidth8", "spad_hash_accumulate-Depth4-KeyWidth8-ValueWidth8-AccWidth32",
)  # fmt: skip
"""Of every module a set, and one more where a parameter takes another branch of its source."""
BY_NAME = {block.name: block for block in blocks()}
FIRST = {name.partition("-")[0]: name for name in reversed(BY_HAND)}
"""Of every module the one set that runs on Verilator under cocotb, with ``-m deep``. The suite's benches play the same
beats there, and run one of these only where there is no other simulator for cocotb."""


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("block", BY_NAME.values(), ids=BY_NAME)
def test_bulk_values_and_cycles_are_those_of_model_and_core(block: RtlBlock) -> None:
    bulk(block, SUITE_TILES, 0)


@pytest.mark.deep
@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("seed", DEEP_SEEDS)
@pytest.mark.parametrize("block", BY_NAME.values(), ids=BY_NAME)
def test_many_more_tiles_at_several_seeds(block: RtlBlock, seed: int) -> None:
    bulk(block, TILES, seed)


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("seed", [2, 3, 6])
def test_bins_are_met_at_any_seed_from_any_number_of_tiles(seed: int) -> None:
    """Among the last bins of this block is one position in 25 of the first place, a beat in 600."""
    bulk(BY_NAME["nm_select-N8-M32-DataWidth8-UserWidth16"], 1, seed)


def bulk(block: RtlBlock, tiles: int, seed: int) -> None:
    verdict = verify_block(block, tiles, seed).verdict
    assert not verdict.differences, verdict.differences
    assert not verdict.missed, f"not covered: {sorted(verdict.missed)}"
    assert verdict.outputs >= tiles


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("name", BY_HAND)
def test_beats_by_hand_and_resets_in_the_middle(name: str) -> None:
    prepared = scenes(BY_NAME[name])
    prepared.check(prepared.played())


@pytest.mark.deep
@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("name", FIRST.values())
def test_cocotb_on_verilator(name: str) -> None:
    under_cocotb("verilator", BY_NAME[name])


@pytest.mark.usefixtures("_simulator")
@pytest.mark.skipif(icarus() is not None, reason="cocotb runs on Icarus Verilog")
def test_cocotb_without_icarus() -> None:
    under_cocotb("verilator", BY_NAME[BY_HAND[0]])


@pytest.mark.skipif(icarus() is None, reason="no Icarus Verilog; on Debian: iverilog")
@pytest.mark.parametrize("name", BY_HAND)
def test_cocotb_on_icarus(name: str) -> None:
    under_cocotb("icarus", BY_NAME[name])


def under_cocotb(simulator: str, block: RtlBlock) -> None:
    """Build ``block`` and run the bench on it. Raises AssertionError with the log's end."""
    from cocotb_tools import runner as runners
    from cocotb_tools.check_results import get_results

    folder = build_root() / simulator / block.name
    with locked(folder):
        log = folder / "log"
        told, heard, prepared = folder / "asked.pickle", folder / "answer.pickle", scenes(block)
        told.write_bytes(pickle.dumps(prepared.asked))
        runner, files = runners.get_runner(simulator), sorted(sources().glob("*.sv"))
        try:
            with unless_made(folder, digest(Path(__file__), Path(runners.__file__), *files)) as stale:
                if stale:
                    runner.build(
                        sources=files, hdl_toplevel=block.module, parameters=dict(block.parameters), build_dir=folder,
                        timescale=("1ns", "1ps"), log_file=log,
                        build_args=["-O1", "-CFLAGS", "-O0"] if simulator == "verilator" else ["-g2012"],
                    )  # fmt: skip
            results = runner.test(
                hdl_toplevel=block.module, hdl_toplevel_lang="verilog", test_module=BENCH, build_dir=folder,
                test_dir=folder, seed=1, log_file=log,
                extra_env={"ASKED": str(told), "ANSWER": str(heard), **QUIET, "PYTHONPATH": _path()},
            )  # fmt: skip
        except SystemExit as stop:
            raise AssertionError(f"{block.name} under {simulator}:\n{_tail(log)}") from stop
        assert get_results(results) == (1, 0), _tail(log)
        prepared.check(pickle.loads(heard.read_bytes()))


def _path() -> str:
    return os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:])
