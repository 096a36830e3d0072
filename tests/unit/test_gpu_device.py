# SPDX-License-Identifier: Apache-2.0
"""The GPU device: costs against rooflines, scaling laws and counts worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsparse as ss
from simsparse._estimate import estimate
from simsparse.config.hardware import load_hardware, override_part
from simsparse.config.paths import part_names
from simsparse.core import Routing, ops
from simsparse.devices.base import device_for
from simsparse.devices.gpu import SAVED, Gpu
from simsparse.devices.gpu_attention import key_splits
from simsparse.devices.gpu_card import Card
from simsparse.devices.gpu_launched import Stream, launched_times
from simsparse.devices.gpu_sparse24 import conforms_24
from simsparse.devices.gpu_stream import Function
from simsparse.errors import MappingError, SpecError
from simsparse.lowering.energy import op_energy
from simsparse.report.breakdown import energy_by_unit

GPUS = [name for name in part_names() if name.startswith("gpu/")]
H100 = Gpu(load_hardware("gpu/h100-sxm5-80gb"))


def cost(op, device=H100):
    return device.costs([op])[0]


def every_kind(dtype="fp16"):
    routing = Routing((3, 0, 1, 0))
    return [
        ops.linear(64, 1024, 2048, dtype), ops.conv2d(2, 64, 64, 14, 14, 3, 3, padding=1, dtype=dtype),
        ops.matmul(8, 64, 64, 128, dtype), ops.attention(2, 16, 4, 128, 1, 4096, dtype=dtype),
        ops.attention(2, 16, 4, 128, 1024, 1024, dtype=dtype),
        ops.moe_ffn(4, 512, 1024, 4, dtype=dtype, routing=routing), ops.elementwise(1 << 20, 1 << 20, 1 << 19, dtype),
    ]  # fmt: skip


@pytest.mark.parametrize("name", GPUS)
def test_every_gpu_prices_what_it_counts(name):
    device = device_for(load_hardware(name))
    for op in every_kind():
        found = cost(op, device)
        assert 0 < found.latency_s < 1
        assert math.isfinite(op_energy(found.counts, device.prices))
        assert found.bound in found.breakdown


@pytest.mark.parametrize("name", GPUS)
def test_no_op_beats_the_datasheet(name):
    part = load_hardware(name)
    device = Gpu(part)
    for op in every_kind():
        found = cost(op, device)
        moved = found.counts.of("hbm", "read_byte") + found.counts.of("hbm", "write_byte")
        if moved * part.l2.rivals.si > part.l2.lost.si * part.l2.capacity.si:
            assert found.latency_s >= op.min_bytes / part.memory.bandwidth.si
        assert found.latency_s >= op.flops / max(rate.si for rate in part.compute.tensor.values())
        assert found.latency_s > part.launch.graph.si


def test_counts_of_a_linear_by_hand():
    counts = cost(ops.linear(64, 1024, 512)).counts
    assert counts.of("tensor", "mac_bf16") == 64 * 1024 * 512
    assert counts.of("hbm", "read_byte") == 2 * (1024 * 512 + 64 * 512)
    assert counts.of("hbm", "write_byte") == 2 * 64 * 1024


def test_padding_of_few_tokens_is_not_counted():
    """Products with rows of zeros draw next to nothing (tests/validation/fit_gpu_energy.py)."""
    assert cost(ops.linear(1, 1024, 512)).counts.of("tensor", "mac_bf16") == 1024 * 512


def test_no_op_draws_more_than_the_power_limit():
    power = H100.part.power
    for op in (*every_kind("bf16"), ops.linear(8192, 8192, 8192)):
        found = cost(op)
        dynamic = op_energy(found.counts, H100.prices)
        assert 0 < dynamic <= (power.limit.si - power.static.si) * found.latency_s * (1 + 1e-6) + 1e-12
    assert found.counts.of(*SAVED) > 0
    assert cost(ops.linear(1, 4096, 4096)).counts.of(*SAVED) == 0


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("2:4", True), ("1:4", True), ("2:8", True), ("1:16", True), ("dense", False), ("4:8", False), ("2:6", False),
     ("unstructured:0.1", False), ("block32:0.1", False)],
)  # fmt: skip
def test_which_patterns_run_the_24_path(pattern, expected):
    op = ops.linear(512, 4096, 4096, weight_sparsity=pattern)
    assert conforms_24(op.weight_sparsity) is expected
    counts = cost(op).counts
    macs = 512 * 4096 * 4096
    assert counts.of("tensor24", "mac_bf16") == (macs // 2 if expected else 0)
    assert counts.of("tensor", "mac_bf16") == (0 if expected else macs)


def test_other_patterns_cost_what_dense_weights_cost():
    dense, pruned = (cost(ops.linear(32, 4096, 4096, weight_sparsity=s)) for s in ("dense", "unstructured:0.1"))
    assert dense.latency_s == pruned.latency_s
    assert dense.counts == pruned.counts


@pytest.mark.parametrize("dtype", ["fp8", "int8"])
def test_8_bit_24_weights_are_read_as_stored_and_half_of_them_multiplied(dtype):
    """Half of the values and two bits of index for each: 5/8 of the dense weights' bytes."""
    counts = cost(ops.linear(512, 4096, 2048, dtype, weight_sparsity="2:4")).counts
    assert counts.of("hbm", "read_byte") == 4096 * 2048 * 5 // 8 + 512 * 2048
    assert counts.of("tensor24", f"mac_{dtype}") == 512 * 4096 * 2048 // 2
    assert counts.of("tensor", f"mac_{dtype}") == 0


def test_8_bit_24_weights_gain_with_int8_and_lose_with_fp8():
    """As measured on an H200 at 512 to 8,192 tokens: int8 0.36 to 0.56 of the dense time, fp8 1.3 to 1.6 times it."""
    for tokens in (1024, 4096):
        dense, pruned = (
            {dtype: cost(ops.linear(tokens, 8192, 8192, dtype, weight_sparsity=sparsity)).latency_s
             for dtype in ("fp8", "int8")} for sparsity in ("dense", "2:4")
        )  # fmt: skip
        assert 0.33 < pruned["int8"] / dense["int8"] < 0.67
        assert 1.1 < pruned["fp8"] / dense["fp8"] < 1.8


def test_cards_whose_library_has_no_8_bit_24_kernel_run_dense_and_say_so():
    a100 = Gpu(load_hardware("gpu/a100-sxm4-80gb"))
    dense, pruned = (ops.linear(512, 4096, 4096, "int8", weight_sparsity=s) for s in ("dense", "2:4"))
    assert cost(dense, a100) == cost(pruned, a100)
    assert a100.notes(pruned) == ("2:4 weights are multiplied as dense ones",)


def test_results_with_24_weights_that_nothing_checks_name_them():
    trace = ss.TraceBuilder("one").add(ops.linear(512, 4096, 4096, "int8", weight_sparsity="2:4")).build()
    result = ss.simulate(trace, ss.load_system("systems/h100-pcie5"))
    assert result.unvalidated == ("gpu0: linear with 2:4 weights on gpu/h100-sxm5-80gb",)


def test_card_without_24_runs_dense():
    t4 = Gpu(load_hardware("gpu/t4"))
    dense, pruned = (ops.linear(512, 4096, 4096, "fp16", weight_sparsity=s) for s in ("dense", "2:4"))
    assert cost(dense, t4) == cost(pruned, t4)


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (ops.linear(8, 8, 8, "fp64"), "no linear kernel for fp64"),
        (ops.linear(8, 8, 8, "bf16", weight_dtype="fp8"), "fp8 weights with bf16 inputs: pytorch-2.11 has kernels"),
        (ops.linear(8, 8, 8, "fp32", weight_dtype="int8"), "int8 weights with fp32 inputs"),
        (ops.linear(64, 4095, 4096, "fp8"), "multiples of 16; got n 4095, k 4096"),
        (ops.linear(64, 4096, 4104, "fp8"), "multiples of 16; got n 4096, k 4104"),
        (ops.attention(1, 8, 8, 64, 1, 128, dtype="fp8"), "no attention kernel for fp8"),
        (ops.transfer(8, "host", "gpu0"), "runs on links"),
    ],
)
def test_unsupported_ops_say_why(op, reason):
    assert reason in (H100.supports(op) or "")
    with pytest.raises(MappingError, match=reason):
        H100.cost_arrays([op])


def test_fp8_products_whose_sizes_a_library_takes_run():
    assert H100.supports(ops.linear(63, 4096, 4112, "fp8")) is None


@pytest.mark.parametrize(("weights", "bits"), [("int8", 8), ("int4", 4)])
def test_narrow_weights_are_read_as_they_are_stored(weights, bits):
    op = ops.linear(1, 4096, 4096, "bf16", weight_dtype=weights)
    assert H100.supports(op) is None
    assert cost(op).counts.of("hbm", "read_byte") == 4096 * 4096 * bits // 8 + 2 * 4096
    assert cost(op).counts.of("tensor", "mac_bf16") == 4096 * 4096


def test_pytorchs_int4_kernel_pays_for_few_tokens_alone():
    def seconds(tokens, weights):
        return cost(ops.linear(tokens, 4096, 4096, "bf16", weight_dtype=weights)).latency_s

    assert seconds(1, "int4") < 0.7 * seconds(1, None)
    assert seconds(256, "int4") > 5 * seconds(256, None)


def test_card_whose_library_has_no_narrow_kernels_refuses_them():
    reason = Gpu(load_hardware("gpu/t4")).supports(ops.linear(8, 8, 8, "fp16", weight_dtype="int4"))
    assert reason == "int4 weights with fp16 inputs: pytorch-2.11 has kernels for one dtype alone"


def test_old_card_has_no_bf16():
    reason = Gpu(load_hardware("gpu/t4")).supports(ops.linear(8, 8, 8, "bf16"))
    assert reason is not None
    assert "fp16, int8, fp32" in reason


def test_moe_is_the_sum_of_its_kernels_and_two_boundaries_of_graphs():
    tokens = {3: 1, 1: 2}
    moe = cost(ops.moe_ffn(5, 1024, 2048, 8, routing=Routing((3, 1, 1, 0, 0, 0, 0, 0)), label="loop"))
    total, card = 2 * H100.part.launch.replay.si, Card.of(H100.part)
    for m, experts in tokens.items():
        gemms = 2 * cost(ops.linear(m, 2048, 1024)).latency_s + cost(ops.linear(m, 1024, 2048)).latency_s
        hidden = 2 * m * 2048
        silu = Stream(m * 2048, hidden, hidden, function=Function.SILU)
        acts = launched_times(card, H100.part.kernels, [silu, Stream(m * 2048, 2 * hidden, hidden, fresh=hidden)])
        total += experts * (gemms + acts.latency_s.sum())
    assert moe.latency_s == pytest.approx(total, rel=1e-12)


def test_narrow_fp32_gemms_have_a_kernel_of_their_own():
    """Two to four tokens: one run through k, or the bytes, and neither side beyond."""
    narrow = H100.part.narrow
    for m in (2, 4):
        deep, wide = (cost(ops.linear(m, n, k, "fp32")).latency_s for n, k in ((512, 4096), (8192, 1024)))
        moved = 4 * (8192 * 1024 + m * (8192 + 1024)) / (narrow.memory.si * H100.part.memory.bandwidth.si)
        assert deep == pytest.approx(narrow.launch.si + narrow.step.si * 4096, rel=1e-12)
        assert wide == pytest.approx(narrow.launch.si + moved, rel=1e-12)
    around = [cost(ops.linear(m, 512, 4096, "fp32")).latency_s for m in (1, 5, 8)]
    assert around[0] < deep and around[1] == pytest.approx(around[2], rel=0.01)


@pytest.mark.parametrize("name", ["gpu/h100-sxm5-80gb", "gpu/h200-sxm5-141gb"])
def test_with_power_to_spare_large_gemms_alone_are_faster(name):
    device = Gpu(load_hardware(name))
    large, small = ops.linear(8192, 8192, 8192), ops.linear(16, 4096, 4096)
    attention = ops.attention(2, 16, 4, 128, 1024, 1024)
    steady = [found.latency_s for found in device.costs([large, small, attention])]
    gain = device.burst_gain([large, small, attention]).tolist()
    burst = steady[0] - gain[0]
    assert gain[1:] == [0, 0]
    assert 1.08 < steady[0] / burst < device.power_budget.speed
    assert large.flops / burst < device.part.compute.tensor["bf16"].si


def test_a_card_whose_burst_is_not_known_has_none():
    a100 = Gpu(load_hardware("gpu/a100-sxm4-80gb"))
    large = ops.linear(8192, 8192, 8192)
    assert a100.power_budget is None
    assert a100.burst_gain([large]).tolist() == [0]


def test_burst_below_the_sustained_rate_is_an_error():
    with pytest.raises(SpecError, match=r"power.burst.rate 0.5 is under gemm.half.sustained"):
        override_part(load_hardware("gpu/h100-sxm5-80gb"), {"power.burst.rate": "0.5"})


def test_vectorised_equals_one_by_one():
    batch = every_kind() * 2
    together = H100.cost_arrays(batch).latency_s
    assert np.array_equal(together, [H100.cost_arrays([op]).latency_s[0] for op in batch])


@pytest.mark.parametrize(
    ("units", "keys", "splits"),
    [(8, 128, 1), (8, 512, 1), (8, 2048, 16), (8, 8192, 32), (64, 512, 1), (64, 1024, 4), (64, 8192, 4), (72, 4096, 1),
     (32, 4096, 8), (96, 16384, 1), (48, 4096, 4)],
)  # fmt: skip
def test_key_splits_match_profiled_grids(units, keys, splits):
    """Grid sizes of cuDNN's decode kernels, profiled on an H100 with PyTorch 2.11."""
    assert key_splits(np.array([float(units)]), np.array([float(keys)]), 132)[0] == splits


def test_keys_that_end_within_a_tile_cost_more_than_whole_tiles():
    whole, ragged = (cost(ops.attention(1, 8, 8, 128, 1, keys)).latency_s for keys in (512, 511))
    assert ragged - whole == pytest.approx(H100.part.kernels.sdpa.decode.ragged.si, rel=0.1)


def test_more_blocks_of_decode_start_later():
    one, many = (cost(ops.attention(1, heads, heads, 128, 1, 128)).latency_s for heads in (1, 64))
    assert many - one >= 63 * H100.part.kernels.sdpa.decode.start.si


def test_long_decode_streams_at_the_memory_rate():
    op = ops.attention(64, 32, 8, 128, 1, 32768)
    part = H100.part
    rate = op.kv_bytes / cost(op).latency_s
    assert 0.85 * part.memory.bandwidth.si < rate < part.memory.bandwidth.si


@settings(max_examples=60)
@given(
    st.integers(1, 64), st.sampled_from([(32, 8, 128), (12, 12, 64), (72, 72, 128), (16, 1, 96)]),
    st.integers(7, 14), st.booleans(),
)  # fmt: skip
def test_attention_takes_longer_with_twice_the_keys(batch, heads, log_length, prefill):
    h, kv, d = heads
    length = 1 << log_length
    shorter, longer = (cost(ops.attention(batch, h, kv, d, n if prefill else 1, n)) for n in (length, 2 * length))
    split = 0.84  # measured: 7.98 us with 512 keys, which one block reads, 6.71 us with 1,024, which are split
    assert longer.latency_s >= shorter.latency_s * (1 if prefill else split)
    assert longer.latency_s <= 8 * shorter.latency_s + 1e-5


@settings(max_examples=60)
@given(st.integers(1, 512), st.integers(1, 4096), st.integers(2, 4096))
def test_causal_attention_is_not_dearer_than_full(batch, q_len, kv_len):
    q_len = min(q_len, kv_len)
    causal, full = (cost(ops.attention(batch, 16, 16, 64, q_len, kv_len, causal=c)).latency_s for c in (True, False))
    assert causal <= full * 1.02


@settings(max_examples=40)
@given(st.integers(0, 10**10), st.integers(0, 10**10), st.integers(0, 10**12))
def test_elementwise_moves_its_bytes(read, write, flops):
    found = cost(ops.elementwise(read, write, flops))
    assert found.counts.of("hbm", "read_byte") == read
    assert found.counts.of("hbm", "write_byte") == write
    assert found.latency_s >= flops / H100.part.compute.vector.si


def test_more_bandwidth_is_not_slower():
    fast = Gpu(override_part(H100.part, {"memory.bandwidth": "4.8 TB/s"}))
    for op in every_kind():
        assert cost(op, fast).latency_s <= cost(op).latency_s


def test_measured_parts_name_their_measurement_and_others_none():
    decode, conv = ops.attention(1, 8, 8, 64, 1, 512), ops.conv2d(1, 8, 8, 8, 8, 3, 3)
    assert cost(decode).validated == "gpu/h100-sxm5-80gb attn_decode"
    assert cost(conv).validated is None
    assert cost(decode, Gpu(load_hardware("gpu/a100-sxm4-80gb"))).validated is None


def test_counts_beyond_64_bits_are_an_error():
    with pytest.raises(MappingError, match=r"2\*\*62 or more"):
        H100.cost_arrays([ops.linear(2**40, 2**40, 2**40)])


def test_prices_and_rates_must_go_together():
    with pytest.raises(SpecError, match=r"is over power\.limit"):
        override_part(H100.part, {"power.static": "900 W"})


def test_a_part_with_other_values_is_not_the_one_that_was_measured() -> None:
    op = ops.linear(m=8, n=4096, k=4096)
    assert estimate(op, load_hardware("gpu/h100-sxm5-80gb")).validated
    faster = load_hardware("gpu/h100-sxm5-80gb", {"memory.bandwidth": "4.8 TB/s"})
    assert faster.overridden == ("memory.bandwidth",)
    assert estimate(op, faster).validated is None


def test_cards_share_the_kernels_of_a_tuple_of_operators_and_nothing_else():
    """A list is looked at afresh, a tuple once: same costs and gains on cards that differ in one number."""
    mixed = (
        ops.linear(16, 4096, 11008), ops.linear(8192, 8192, 8192, weight_sparsity="2:4"),
        ops.linear(4, 512, 512, "fp32"), ops.moe_ffn(4, 512, 1024, 4, routing=[[0, 1], [0, 2], [3, 1], [0, 3]]),
        ops.attention(8, 32, 8, 128, 1, 2048), ops.elementwise(4096, 4096),
    )  # fmt: skip
    changes = ({"memory.bandwidth": "1 TB/s"}, {"compute.sms": "80"}, {"kernels.gemm.half.spread": "0.03"})
    cards = [H100, *(Gpu(override_part(H100.part, change)) for change in changes)]
    for card in cards:
        shared, afresh = card.cost_arrays(mixed), card.cost_arrays(list(mixed))
        assert shared.op_costs() == afresh.op_costs()
        assert card.burst_gain(mixed).tolist() == card.burst_gain(list(mixed)).tolist()
    assert len({cost(mixed[0], card).latency_s for card in cards}) == len(cards)


def test_reports_take_what_the_limit_saves_off_the_actions():
    """Shares of a card at its power limit add up to its energy, none of them negative."""
    found = estimate(ops.linear(8192, 8192, 8192), "gpu/h100-sxm5-80gb")
    parts = {f"gpu0.{name}": joules for name, joules in found.energy_by_component.items()}
    shares = energy_by_unit(parts)
    assert min(shares.values()) > 0
    assert set(shares) == {"gpu hbm", "gpu tensor", "gpu static"}
    assert sum(shares.values()) == pytest.approx(found.energy_j)
