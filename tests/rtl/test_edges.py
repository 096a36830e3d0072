# SPDX-License-Identifier: Apache-2.0
"""Parameters at the ends of what is allowed lint clean and build, and streams stay whole bytes."""

from __future__ import annotations

import pytest

from tests.rtl.test_lint import lint

_ARRAY = {"Rows": 1, "Cols": 1, "N": 1, "M": 2}
EDGES: tuple[tuple[str, dict[str, int]], ...] = (
    *(("stream_register", {"Width": width}) for width in (1, 513)),
    *(("skid_buffer", {"Width": width}) for width in (1, 513)),
    *(("stream_fifo", {"Width": 1, "Depth": depth}) for depth in (1, 2, 3, 1024)),
    ("nm_select", {"N": 1, "M": 2, "DataWidth": 1}), ("nm_select", {"N": 128, "M": 128, "DataWidth": 4}),
    ("nm_dot_pe", {"N": 1, "M": 2, "DataWidth": 2, "AccWidth": 4}), ("nm_dot_pe", {"N": 8, "M": 8, "AccWidth": 19}),
    ("dense_pe", {"Lanes": 1, "DataWidth": 2, "AccWidth": 4}), ("dot_accumulate", {"Lanes": 1, "AccWidth": 16}),
    ("nm_decompress", {"N": 1, "M": 2, "DataWidth": 1}), ("nm_decompress", {"N": 3, "M": 3, "Bitmap": 1}),
    ("nm_decompress", {"N": 2, "M": 5}), ("nm_decompress", {"N": 1, "M": 2, "Bitmap": 1}),
    ("nm_encode24", {"Groups": 1, "DataWidth": 1}), ("nm_encode24", {"Groups": 1, "DataWidth": 2, "Floating": 1}),
    ("nm_prune", {"N": 1, "M": 2, "DataWidth": 1}), ("nm_prune", {"N": 3, "M": 3}), ("nm_prune", {"N": 2, "M": 5}),
    *(("nm_systolic_array", {**_ARRAY, "OutputStationary": way, "PipeStages": stages, "DataWidth": 2, "AccWidth": 4})
      for way in (0, 1) for stages in range(4)),
    ("nm_systolic_array", {"Rows": 1, "Cols": 16}), ("nm_systolic_array", {"Rows": 16, "Cols": 1, "N": 4}),
    ("sparse_tensor_core_24", {"TileM": 1, "TileN": 1, "TileK": 4, "StepK": 4}),
    ("sparse_tensor_core_24", {"TileM": 1, "TileN": 3, "TileK": 24, "StepK": 8, "AccWidth": 18}),
    ("bitmap_intersect", {"Width": 2, "Matches": 2}), ("bitmap_intersect", {"Width": 2, "Matches": 1}),
    ("bitmap_intersect", {"Width": 33, "Matches": 5}),
    ("spad_hash_accumulate", {"Depth": 2, "KeyWidth": 1, "ValueWidth": 1, "AccWidth": 1}),
    ("nm_dot_pe_fp16", {"N": 1, "M": 2}), ("nm_dot_pe_fp16", {"N": 5, "M": 8}),
    ("nm_requantise", {"Lanes": 1, "AccWidth": 2, "OutWidth": 2}), ("nm_requantise", {"OutWidth": 16}),
    *(("nm_gemm_axi", {"Spill": spill, "AccWidth": bits, "Cols": 1}) for spill in (0, 1) for bits in (19, 32)),
    ("nm_gemm_top", {"MaxTokens": 65535}), ("nm_gemm_top", {"MaxTokens": 1}), ("nm_gemm_top", {"MaxTokens": 32768}),
    ("nm_gemm_top", {"Cols": 1, "AccWidth": 20}), ("nm_gemm_top", {**_ARRAY, "DataWidth": 3, "AccWidth": 7}),
    ("nm_gemm_top", {"N": 4, "M": 4}), ("nm_gemm_top", {"N": 3, "M": 8, "WeightWidth": 4, "PipeStages": 3}),
    ("nm_gemm_top", {"Rows": 1, "Cols": 2, "N": 128, "M": 128}),
)  # fmt: skip
SWEPT = sorted({module for module, _ in EDGES})


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("module", SWEPT)
def test_the_ends_of_every_parameter_lint_clean(module: str) -> None:
    for parameters in (settings for name, settings in EDGES if name == module):
        done = lint(module, parameters)
        assert (done.returncode, done.stderr) == (0, ""), parameters


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("beyond", [{"MaxTokens": 65536}, {"N": 5}, {"M": 6}, {"Rows": 256}, {"PipeStages": 4}])
def test_one_beyond_the_ends_is_refused(beyond: dict[str, int]) -> None:
    done = lint("nm_gemm_top", beyond)
    assert done.returncode and "must" in done.stderr, done.stderr
