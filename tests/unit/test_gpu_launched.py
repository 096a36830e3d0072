# SPDX-License-Identifier: Apache-2.0
"""GPU kernels that are no GEMM: launches against a slow twin, times against bounds, scaling and each other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsparse.config.hardware import load_hardware, override_part
from simsparse.core import ops
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_card import Card, cached_share, fresh_share, memory_seconds, together
from simsparse.devices.gpu_launched import Gather, NormRows, Reduce, SoftmaxRows, Sort, Stream, Topk, launched_times
from simsparse.devices.gpu_norm import Norm
from simsparse.devices.gpu_reduce import ReduceKernels, Reduction, launch_grid
from simsparse.devices.gpu_spmm import BsrKernels, CsrKernels, bsr_times, csr_times
from simsparse.devices.gpu_stream import COPY_ENGINE_BYTES, Form, Function
from simsparse.devices.gpu_topk import several_blocks
from simsparse.devices.gpu_zerocopy import zerocopy_seconds
from simsparse.errors import SpecError
from simsparse.paths import data_root

PART = load_hardware("gpu/h200-sxm5-141gb")
CARD, LIBRARY = Card.of(PART), PART.kernels
MIB = float(1 << 20)
PART_FILE = data_root() / "hw_models/gpu/h200-sxm5-141gb.yaml"


def seconds(kernel, card=CARD, cached=0.0):
    return launched_times(card, LIBRARY, [kernel], np.array([cached])).latency_s[0]


def array(*values):
    return np.array(values, np.float64)


# The card


def test_data_of_a_small_loop_is_in_l2_and_of_a_large_one_is_not():
    edge = CARD.l2_bytes / CARD.rivals
    assert cached_share(CARD, array(CARD.l2_kept * edge, CARD.l2_lost * edge)).tolist() == pytest.approx([1, 0])
    assert 0 < cached_share(CARD, array(0.8 * edge))[0] < 1
    assert fresh_share(CARD.l2_bytes, CARD.l2_bytes * array(0.33, 0.56)).tolist() == [1, 0]


def test_memory_reaches_its_measured_shares():
    read, both = (memory_seconds(CARD, array(r), array(w), array(0.0))[0] for r, w in ((1e9, 0), (5e8, 5e8)))
    peak = 1e9 / CARD.memory_bytes_per_s
    assert read == pytest.approx(peak / CARD.read_share + CARD.memory_latency_s)
    assert both == pytest.approx(peak / CARD.mixed_share + CARD.memory_latency_s)
    assert memory_seconds(CARD, array(1e6), array(0.0), array(1.0))[0] == pytest.approx(1e6 / CARD.l2_bytes_per_s)


@given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(1, 8))
def test_overlapping_work_takes_at_least_the_longest_and_at_most_the_sum(a, b, power):
    both = float(together(power, np.array(a), np.array(b)))
    assert max(a, b) * (1 - 1e-9) <= both <= (a + b) * (1 + 1e-9)


# Elementwise kernels


def test_an_addition_of_100_mib_is_bound_by_memory():
    size = 100 * MIB
    found = seconds(Stream(size / 2, 2 * size, size))
    assert 3 * size / CARD.memory_bytes_per_s < found < 1.15 * 3 * size / CARD.memory_bytes_per_s


def test_forms_and_functions_cost_more_and_what_was_just_written_less():
    size = 64 * MIB
    plain = Stream(size / 2, size, size)
    for slower in ({"form": Form.STRIDED}, {"form": Form.WIDENING}, {"function": Function.GELU}):
        assert seconds(plain._replace(**slower)) > seconds(plain)
    small = Stream(4 * MIB, 8 * MIB, 8 * MIB)
    assert seconds(small._replace(fresh=8 * MIB)) < seconds(small)


def test_large_copies_of_a_graph_run_on_copy_engines():
    size = float(COPY_ENGINE_BYTES)
    below, above = (seconds(Stream(n / 4, n, n, Form.COPY)) / n for n in (size, 2 * size))
    assert above > 1.3 * below
    assert seconds(Stream(size / 2, 2 * size, 2 * size)) / (2 * size) == pytest.approx(below, rel=0.02)


# Reductions: the launch


def twin(outputs, inputs, contiguous, sms):
    """Blocks, threads, sharing and values per thread of PyTorch's setReduceConfig, one reduction at a time."""
    dim0, dim1 = (inputs, outputs) if contiguous else (outputs, inputs)
    vector, width = contiguous and outputs == 1 and inputs > 128, 1
    if vector:
        dim0 //= 4
    elif not contiguous:
        width = next(w for w in (4, 2, 1) if outputs % w == 0)
        dim0 //= width
    most = 512 // width
    floor2 = [1 << (d.bit_length() - 1) if 0 < d < most else most if d else 1 for d in (dim0, dim1)]
    columns = min(floor2[0], 32)
    rows = min(floor2[1], most // columns)
    columns = min(floor2[0], most // rows)
    threads, step_in, step_out = columns * rows, 1, 1
    if contiguous:
        step_in *= columns
    else:
        step_out *= columns * width
    split = math.ceil(inputs / step_in) >= min(rows * 16, 256)
    if split:
        step_in *= rows
    else:
        step_out *= rows
    values, blocks, sharing = math.ceil(inputs / step_in), math.ceil(outputs / step_out), 1
    target = sms * (2048 // threads)
    if split and values >= 256 and blocks <= target:
        sharing = max(min(math.ceil(target / blocks), math.ceil(values / 16)), math.ceil(values / 256))
        values = math.ceil(inputs / (step_in * sharing))
    return blocks * sharing, threads, sharing, values / 4 if vector else math.ceil(values / 4)


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 22), st.booleans(), st.sampled_from([40, 108, 132]))
def test_reductions_launch_what_pytorch_launches(outputs, inputs, contiguous, sms):
    kernels = ReduceKernels(
        np.array([0]), array(outputs), array(inputs), np.array([contiguous]), array(2), array(0), array(0)
    )
    grid = launch_grid(sms, kernels)
    found = (grid.blocks[0], grid.threads[0], grid.sharing[0], grid.steps[0])
    assert found == twin(outputs, inputs, contiguous, sms)


def test_one_block_sums_what_many_could():
    """256 KiB of fp32 are one block's; 512 KiB are shared by sixteen, which is faster."""
    alone, shared = (seconds(Reduce(1, n, 4.0), cached=1.0) for n in (1 << 16, 1 << 17))
    assert shared < alone


def test_places_of_maxima_cost_more_than_maxima_and_these_more_than_sums():
    found = [seconds(Reduce(32, 128_000, 2.0, kind)) for kind in (Reduction.SUM, Reduction.MAX, Reduction.ARGMAX)]
    assert found == sorted(found)


# Norms, softmax, gathers, top-k


def test_rows_beyond_the_cache_are_read_twice():
    """50,000 rows: 8,192 columns take more than twice as long as 4,096."""
    narrow, wide = (seconds(NormRows(Norm.RMS, 50_000, columns)) for columns in (4096, 8192))
    assert wide > 2.3 * narrow


def test_layer_norm_waits_longer_per_step_than_rms_norm():
    slopes = [seconds(NormRows(norm, 1, 8192)) - seconds(NormRows(norm, 1, 4096)) for norm in (Norm.RMS, Norm.LAYER)]
    assert 0 < slopes[0] < slopes[1]


def test_softmax_changes_kernels_with_the_length_of_a_row():
    rates = [seconds(SoftmaxRows(1 << 26, columns)) / columns for columns in (2048, 2049, 9217, 9216)]
    assert rates[1] > 1.2 * rates[0]
    assert rates[2] < rates[3]


def test_short_rows_are_bound_by_blocks_and_long_ones_by_memory():
    short, double = (seconds(Gather(1 << 20, size)) for size in (128, 256))
    assert short == pytest.approx(double, rel=0.1)
    long = seconds(Gather(1 << 16, 16384))
    assert long == pytest.approx(2 * (1 << 30) / (CARD.memory_bytes_per_s * CARD.mixed_share), rel=0.2)


def test_few_rows_are_walked_by_every_thread():
    one, sixteen, more = (seconds(Gather(rows, 4096), cached=1.0) for rows in (1, 16, 17))
    assert sixteen - one == pytest.approx(15 * LIBRARY.gather.row_latency.si)
    assert more < sixteen


def test_top_k_takes_several_blocks_of_long_rows():
    assert several_blocks(array(1, 20, 21, 800, 801), array(20_000, 19_999, 10_000, 2_999, 800)).tolist() == [
        True, False, True, False, True,
    ]  # fmt: skip
    assert seconds(Topk(8, 32_768, 1024)) > 3 * seconds(Topk(8, 64, 4))


def test_a_sort_of_more_columns_is_never_faster():
    found = [seconds(Sort(1, columns, 8.0)) for columns in (2, 32, 33, 4096, 4097, 1 << 20, 1 << 24)]
    assert found == sorted(found)
    assert found[4] > 2 * found[3]


def test_kernels_of_all_classes_keep_their_order():
    kernels = [
        Topk(4, 64, 2), Sort(1, 64), Stream(1e6, 2e6, 2e6), Reduce(64, 4096), Gather(64, 8192),
        NormRows(Norm.RMS, 8, 4096), Stream(1e5, 2e5, 2e5), SoftmaxRows(64, 512),
    ]  # fmt: skip
    together_ = launched_times(CARD, LIBRARY, kernels).latency_s
    assert together_.tolist() == [launched_times(CARD, LIBRARY, [kernel]).latency_s[0] for kernel in kernels]


# Convolutions


def conv(*shape, **fields):
    return Gpu(PART).costs([ops.conv2d(*shape, **fields)])[0]


def test_a_depthwise_convolution_is_one_kernel():
    found = conv(32, 144, 144, 56, 56, 3, 3, padding=1, groups=144)
    assert found.latency_s < 40e-6
    assert found.counts.of("tensor", "mac_bf16") == 32 * 144 * 56 * 56 * 9


def test_a_large_convolution_nears_the_sustained_rate():
    op = ops.conv2d(128, 512, 512, 28, 28, 3, 3, padding=1)
    found = Gpu(PART).costs([op])[0]
    assert 0.5 < op.flops / found.latency_s / PART.compute.tensor["bf16"].si < LIBRARY.conv.sustained.si


def test_channels_without_alignment_run_far_below_the_peak():
    odd, even = (conv(32, c, 64, 224, 224, 7, 7, stride=2, padding=3).latency_s for c in (3, 8))
    assert odd > 1.5 * even


def test_strides_leave_pixels_unread():
    read = conv(8, 256, 512, 56, 56, 1, 1, stride=2).counts.of("hbm", "read_byte")
    assert read == 2 * (8 * 256 * 28 * 28 + 256 * 512)


def test_pruned_convolutions_run_dense():
    dense, pruned = (conv(8, 64, 64, 56, 56, 3, 3, padding=1, weight_sparsity=s) for s in ("dense", "2:4"))
    assert dense == pruned


# Sparse products and host memory


def test_csr_pads_the_inputs_to_pieces():
    library = LIBRARY.csr
    times = csr_times(CARD, library, CsrKernels(array(16, 128, 129), array(4096, 4096, 4096), array(4e6, 4e6, 4e6)))
    assert times.latency_s[0] > 0.8 * times.latency_s[1]
    assert times.latency_s[2] > 1.7 * times.latency_s[1]
    tiny = csr_times(CARD, library, CsrKernels(array(16), array(64), array(100)))
    assert tiny.latency_s[0] == pytest.approx(library.dispatch.si)


def test_bsr_scales_with_blocks_and_spills_where_blocks_do_not_divide_m():
    def one(m, size, blocks):
        kernels = BsrKernels(array(m), array(8192), array(8192), array(size), array(blocks))
        return bsr_times(CARD, LIBRARY.bsr, kernels).latency_s[0]

    assert one(4096, 64, 8192) == pytest.approx(2 * one(4096, 64, 4096), rel=0.2)
    assert one(1024 + 64, 128, 512) > 3 * one(1024, 128, 512)


def test_zero_copy_is_bound_by_requests_then_by_lines():
    row = LIBRARY.zerocopy.row.si

    def one(row_bytes, offset=0):
        found = zerocopy_seconds(LIBRARY.zerocopy, 63e9, array(1.0), array(row_bytes), array(offset))
        return found[0]

    assert one(64) == pytest.approx(row, rel=0.01)
    assert one(4096) == pytest.approx(4096 / (LIBRARY.zerocopy.link.si * 63e9), rel=0.01)
    assert one(1024, 64) > one(1024)


# Libraries


def test_a_library_that_is_not_there_names_those_that_are(tmp_path):
    (tmp_path / "x.yaml").write_text(PART_FILE.read_text().replace("kernels: pytorch-2.11", "kernels: pytorch-9"))
    with pytest.raises(SpecError, match=r"x.yaml.*pytorch-9.*no kernels for hopper.*pytorch-2.11"):
        load_hardware(str(tmp_path / "x.yaml"))


def test_a_value_of_the_library_can_be_overridden():
    slow = override_part(PART, {"kernels.stream.start": "10 us"})
    kernel = [Stream(1e4, 2e4, 2e4)]
    assert launched_times(CARD, slow.kernels, kernel).latency_s[0] > 10e-6


def test_all_measured_values_carry_over_to_a_slower_card():
    slow = replace(CARD, clock_hz=CARD.clock_hz / 2, memory_bytes_per_s=CARD.memory_bytes_per_s / 2)
    for kernel in (Stream(1e8, 2e8, 2e8), Reduce(4096, 4096), NormRows(Norm.LAYER, 4096, 4096), SoftmaxRows(4096, 512)):
        assert seconds(kernel, slow) >= seconds(kernel)
