# SPDX-License-Identifier: Apache-2.0
"""Biases and latent caches of operators: their bytes, in files, and on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

import simsparse as ss
from simsparse.core import Op, OpKind, TraceBuilder
from simsparse.core.ops import attention, conv2d, linear, moe_ffn
from simsparse.devices.base import device_for
from simsparse.errors import TraceError
from simsparse.trace import load_trace, save_trace


def latent(batch: int = 4, kv_len: int = 4096, **fields: bool) -> Op:
    return attention(batch, 128, 1, 576, 1, kv_len, v_head_dim=512, **fields)


def test_a_bias_adds_one_element_an_output() -> None:
    plain, biased = (linear(8, 100, 64, bias=bias) for bias in (False, True))
    assert biased.weight_bytes - plain.weight_bytes == 2 * 100
    assert biased.min_bytes - plain.min_bytes == 2 * 100
    assert plain.signature != biased.signature
    grouped = conv2d(1, 8, 16, 10, 10, 3, 3, groups=4)
    assert grouped.with_(bias=True).weight_bytes - grouped.weight_bytes == 2 * 16


def test_the_biases_of_experts_are_those_of_the_experts_that_are_hit() -> None:
    plain = moe_ffn(3, 16, 32, 8, routing=[[0], [0], [5]])
    assert plain.with_(bias=True).weight_bytes - plain.weight_bytes == 2 * 2 * (2 * 32 + 16)


def test_a_latent_cache_is_read_once_for_keys_and_values() -> None:
    apart, shared = latent(), latent(latent_kv=True)
    assert apart.kv_bytes == 4 * 4096 * (576 + 512) * 2
    assert shared.kv_bytes == 4 * 4096 * 576 * 2
    assert shared.flops == apart.flops
    assert shared.signature != apart.signature


def test_a_gpu_reads_the_latent_once() -> None:
    gpu = device_for(ss.load_hardware("gpu/h100-sxm5-80gb"))
    reads = [gpu.costs([op])[0].counts["hbm", "read_byte"] for op in (latent(), latent(latent_kv=True))]
    assert reads[0] - reads[1] == 4 * 4096 * 512 * 2


def test_both_stand_in_a_trace_file(tmp_path: Path) -> None:
    trace = TraceBuilder("t").add(linear(8, 100, 64, bias=True)).add(latent(latent_kv=True)).build()
    path = save_trace(trace, tmp_path / "t.trace")
    assert load_trace(path) == trace
    text = path.read_text()
    path.write_text(text.replace('"bias":true', '"bias":false'))
    with pytest.raises(TraceError, match=r"t\.trace:2: bias: False is not true"):
        load_trace(path)


def test_the_gradient_of_a_weight_stays_dense() -> None:
    forward = conv2d(1, 8, 16, 10, 10, 3, 3, name="fwd", label="fwd")
    trace = TraceBuilder("t").add(forward).add(forward.with_(name="bwd", label="bwd_weight")).build()
    pruned = trace.with_weight_sparsity("2:4")
    assert [str(op.weight_sparsity) for op in pruned.ops] == ["2:4", "dense"]
    assert {op.kind for op in pruned.ops} == {OpKind.CONV2D}
