# SPDX-License-Identifier: Apache-2.0
"""Attention on a GPU: which kernel runs, windows, types of the cache, operands that a loop leaves in the L2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import simsparse as ss
from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.core import ops
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_attention import key_splits, takes_few_keys
from simsparse.errors import MappingError, SpecError
from simsparse.validate import validate

H200 = load_hardware("gpu/h200-sxm5-141gb")
PROFILED = Path(__file__).parents[1] / "validation/data/gpu/judge_attention_h200_sxm5_141gb.jsonl"
SERVED = Gpu(H200.model_copy(update={"kernels": read_library("vllm-0.22", "hopper")}))


def seconds(op, gpu=None):
    return (gpu or Gpu(H200)).costs([op])[0].latency_s


def test_kernels_and_splits_are_those_that_a_profiler_saw():
    rows = [json.loads(line) for line in PROFILED.read_text().splitlines()]
    decode = [row for row in rows if row["op"] == "sdpa_decode"]
    assert len(decode) > 100
    heads, units, dims, keys = (np.array([row[key] for row in decode], float) for key in ("H", "KV", "D", "L"))
    batch = np.array([row["B"] for row in decode], float)
    few, splits = takes_few_keys(batch * heads, keys, 132), key_splits(batch * units, keys, 132)
    for row, small, parts, wide in zip(decode, few, splits, dims > 128, strict=True):
        name, grid = row["kernels"][0]
        assert name.startswith("64x64" if small else "16x128"), row
        assert small or grid[0] == parts * (2 if wide else 1), row
        assert ("lean_reduction" in [other for other, _ in row["kernels"]]) == (not small and parts > 1), row


def test_operands_that_a_loop_leaves_in_the_cache_come_sooner():
    row = {"section": "attn", "op": "sdpa_decode", "B": 6, "H": 8, "KV": 1, "D": 256, "L": 427, "s": 1.0}
    few, many, unknown = (
        validate([{**row, **copies}], H200.name).section("attn_decode").predictions[0].predicted
        for copies in ({"copies": 8}, {"copies": 400}, {})
    )
    assert few < 0.85 * many
    assert many == pytest.approx(unknown, rel=1e-3)


def test_a_window_reads_as_many_keys_as_it_shows():
    one = ops.attention(8, 32, 8, 128, 1, 32768, window=1024)
    assert one.kv_bytes == ops.attention(8, 32, 8, 128, 1, 1024).kv_bytes
    assert seconds(one) == seconds(ops.attention(8, 32, 8, 128, 1, 1024))
    assert seconds(one, SERVED) < 0.2 * seconds(ops.attention(8, 32, 8, 128, 1, 32768), SERVED)


@pytest.mark.parametrize("gpu", [Gpu(H200), SERVED])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_a_window_leaves_tiles_of_a_prompt_out(gpu, head_dim):
    full, *windowed = (
        seconds(ops.attention(1, 32, 8, head_dim, 16384, 16384, window=window), gpu) for window in (None, 1024, 4096)
    )
    assert windowed[0] < windowed[1] < full
    assert windowed[0] < 0.4 * full


def test_windows_of_a_prompt_are_checked_by_masks_of_blocks_where_these_were_measured():
    measured, other = (
        ss.estimate(ops.attention(1, 32, 8, dim, 8192, 8192, window=2048), H200.name) for dim in (128, 64)
    )
    assert measured.validated.endswith("sparse_attn")
    assert other.validated is None


def test_pairs_within_a_window_are_counted_exactly():
    for queries, keys, window in ((7, 7, 3), (4, 9, 6), (9, 9, 1), (5, 8, 20), (1, 8, 3)):
        op = ops.attention(2, 4, 2, 8, queries, keys, window=window)
        last = [keys - queries + i for i in range(queries)]
        assert op.dense_macs == 2 * sum(min(window, place + 1) for place in last) * 4 * 16


def test_a_narrower_cache_halves_its_bytes_and_runs_where_a_library_reads_it():
    half, byte = (ops.attention(64, 32, 8, 128, 1, 16384, cache_dtype=dtype) for dtype in (None, "fp8"))
    assert byte.kv_bytes * 2 == half.kv_bytes
    assert byte.signature != half.signature
    assert 0.4 < seconds(byte, SERVED) / seconds(half, SERVED) < 0.8
    with pytest.raises(MappingError, match="not for fp8"):
        seconds(byte)


def test_a_narrow_cache_outlives_the_trace_file(tmp_path):
    op = ops.attention(1, 32, 8, 128, 1, 4096, window=512, cache_dtype="fp8", name="a")
    path = tmp_path / "x.trace"
    ss.TraceBuilder("x").add(op).build().save(path)
    (read,) = ss.load_trace(path).ops
    assert read.signature == op.signature


@pytest.mark.parametrize(
    "facts", [{"window": 0}, {"window": "far"}, {"cache_dtype": "fp3"}, {"stats": {"window": [1]}}]
)
def test_facts_that_mean_nothing_are_refused(facts):
    with pytest.raises(SpecError):
        ops.attention(1, 8, 8, 64, 1, 512, **facts)


def test_a_mask_of_numbers_is_read_by_every_head_and_hides_behind_nothing():
    def seconds(q_len, heads, **facts):
        op = ops.attention(1, heads, heads, 128, q_len, q_len, causal=False, stats=facts)
        return Gpu(H200).costs([op])[0].latency_s

    def added(q_len, heads):
        return seconds(q_len, heads, mask_bytes=2) - seconds(q_len, heads)

    assert added(8192, 32) == pytest.approx(2 * added(8192, 16), rel=1e-6)
    assert added(8192, 32) > 32 * 2 * 8192**2 / 4.8e12
    assert added(1024, 32) < 0.5 * added(8192, 32) / 64
