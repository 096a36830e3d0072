# SPDX-License-Identifier: Apache-2.0
"""Layers on compressed caches: weights by brute force, what a query reads, rows of the public table."""

from __future__ import annotations

from pathlib import Path

import pytest

from simsparse.errors import SpecError
from simsparse.models.compressed import SIZES, compressed_layer
from simsparse.validate.run import validate_file

HEADER = "op,model,mla_dtype,kv_cache_dtype,gemm_type,num_heads,batch_size,isl,tp_size,step,compress_ratio,latency"
FLASH = "sgl-project/DeepSeek-V4-Flash-FP8,bfloat16,fp8,fp8_block"
H200 = "gpu/h200-sxm5-141gb"


def read(every: int, kv_len: int) -> int:
    layer = compressed_layer(SIZES["DeepSeek-V4-Flash"], 64, 1, kv_len, every)
    return next(op for op in layer if op.kind == "selected_attention").dims["selected"]


def test_a_query_reads_the_window_and_entries() -> None:
    assert [read(4, tokens) for tokens in (3, 400, 65_536)] == [3, 128 + 100, 128 + 512]
    assert [read(128, tokens) for tokens in (3, 400, 65_536)] == [3, 128 + 3, 128 + 512]


def test_rows_of_the_public_table(tmp_path: Path) -> None:
    """Three of 28,458 rows, ai-dynamo/aiconfigurator at 095f58a51c4c (Apache-2.0)."""
    path = tmp_path / "compressed.csv"
    rows = [f"dsv4_csa_generation,{FLASH},64,1,1,1,1024,4.0,0.0992",
            f"dsv4_hca_generation,{FLASH},64,64,1,1,8,128.0,0.088",
            "msa_generation,MiniMaxAI/MiniMax-M3,,bfloat16,bfloat16,64,64,1,1,8191,,0.1743"]  # fmt: skip
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    report = validate_file(path, H200)
    for name in ("dsv4_csa_generation_table", "dsv4_hca_generation_table"):
        (row,) = report.section(name).predictions
        assert abs(row.error) < 0.25, name
    assert not report.section("msa_generation_table").predictions, "no model, and no error"
    path.write_text(f"{HEADER}\n{rows[0].replace('V4-Flash', 'V9')}\n")
    with pytest.raises(SpecError, match="'DeepSeek-V9'; known: DeepSeek-V4-Flash"):
        validate_file(path, H200)
