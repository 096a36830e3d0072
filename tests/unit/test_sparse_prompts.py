# SPDX-License-Identifier: Apache-2.0
"""Attention kernels by their tiles, against tiles counted one by one, and the public table of sparse attention."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.core import Op, ops
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_tiled_attention import causal_tiles, selected_tiles
from simsparse.errors import SpecError
from simsparse.validate.run import validate_file

A100 = load_hardware("gpu/a100-sxm4-80gb")
SPARSE = Gpu(A100.model_copy(update={"kernels": read_library("nsa-triton", "ampere")}))
HEADER = "gpu,pass,config,seq_len,q_heads,kv_heads,head_dim,kernel,ms"


def seconds(op: Op) -> float:
    return float(SPARSE.cost_arrays([op]).latency_s[0])


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 12))
def test_tiles_are_those_that_hold_a_seen_key(queries: int, keys: int, blocks: int) -> None:
    seen = [min(max(keys - queries + i + 1, 0), keys) for i in range(queries)]
    rows = [max(seen[first : first + 128]) for first in range(0, queries, 128)]
    assert causal_tiles(queries, keys) == sum(-(-last // 64) for last in rows)
    assert selected_tiles(queries, keys, blocks) == sum(min(blocks, -(-last // 64)) for last in seen)


def test_a_library_of_sparse_attention_runs_each_attention_by_its_kernel() -> None:
    dense = ops.attention(1, 64, 4, 128, 32768, 32768)
    few = ops.block_sparse_attention(1, 64, 4, 128, 32768, 32768, 64, density=0.05)
    chosen = ops.selected_attention(1, 64, 4, 128, 32768, 32768, 512)
    assert seconds(few) < 0.3 * seconds(dense)
    assert seconds(chosen) < 0.15 * seconds(dense)
    half = ops.attention(1, 64, 4, 64, 32768, 32768)
    assert seconds(half) == pytest.approx(seconds(dense) / 2, rel=0.01)


def test_rows_of_the_public_table(tmp_path: Path) -> None:
    """Rows of github.com/XunhaoLai/native-sparse-attention-triton at 9bea856c; the kernels were fitted to such rows."""
    rows = [
        "A100,forward,block size 64,131072,64,4,128,Triton-Flash,2063.245605",
        "A100,forward,block size 64,8192,64,4,128,Flash,5.223776",
        "A100,forward,block size 64,32768,64,4,128,Triton-Top8,8.51744",
        "A100,backward,block size 64,32768,64,4,128,Triton-Top16,34.715614",
        "A100,forward,kernel 32 and stride 16,16384,64,4,128,Compressed,9.426448",
        "H100,forward,block size 64,8192,64,4,128,Flash,3.043744",
    ]
    path = tmp_path / "nsa.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    (section,) = validate_file(path, A100.name).sections
    assert len(section.predictions) == 5
    assert dict(section.skipped) == {"measured on another card: h100": 1}
    assert max(abs(row.error) for row in section.predictions) < 0.12


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("A100,forward,x,2048,64,4,128,Sorted,1", "'Sorted'; known: Flash"),
        ("A100,sideways,x,2048,64,4,128,Flash,1", "'sideways'; expected forward or backward"),
        ("A100,forward,x,2048,64,4,128,Triton-Topx,1", "is no number of blocks"),
        ("A100,forward,x,99999999,64,4,128,Flash,1", "more than 16777216"),
    ],
)
def test_a_row_without_a_kernel_is_named(tmp_path: Path, row: str, expected: str) -> None:
    path = tmp_path / "nsa.csv"
    path.write_text(f"{HEADER}\n{row}\n")
    with pytest.raises(SpecError, match=expected):
        validate_file(path, A100.name)
