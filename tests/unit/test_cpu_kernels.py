# SPDX-License-Identifier: Apache-2.0
"""Inner loops of kernels on a CPU against counts by hand, and their order over sparsity, batch and caches."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsparse.config.hardware import load_hardware, override_part
from simsparse.core import Op, ops
from simsparse.devices.cpu import Cpu
from simsparse.devices.cpu_core import Cores, LoopCounts, Products, Refills
from simsparse.devices.cpu_kernels.base import CPU_KERNELS
from simsparse.devices.cpu_loops import kernel_of
from simsparse.errors import SpecError

PART = "cpu/xeon-w2145"
ROUND = {
    "core.clock": "1 GHz", "core.gather": "1", "core.miss": "10", "core.width": "4", "core.load_ports": "2",
    "core.fma_ports": "2", "compute.efficiency": "1", "core.serial": "1", "core.caches.l1": "8 KiB",
    "core.caches.l2.capacity": "100 kB",
    "core.caches.l2.bandwidth": "8 GB/s", "core.caches.l3.capacity": "1 MB", "core.caches.l3.bandwidth": "4 GB/s",
    "threads.bandwidth": "1 GB/s", "threads.count": "1", "compute.launch": "0 us", "threads.fork": "0 us",
}  # fmt: skip


def cpu(resident: bool = True, **more: str) -> Cpu:
    return Cpu(override_part(load_hardware(PART), {**ROUND, **more}), resident)


def condensed(m: int, n: int, k: int, density: float) -> Op:
    return ops.linear(m, n, k, "fp32", weight_sparsity=f"bank{k}:{density}", weight_format="fan_in")


def csr(m: int, n: int, k: int, density: float) -> Op:
    return ops.linear(m, n, k, "fp32", weight_sparsity=f"unstructured:{density}", weight_format="csr")


def loops(**counts: float) -> LoopCounts:
    names = ("items", "fma", "loads", "stores", "others", "gathered", "misses", "chain", "calls")
    return LoopCounts(**{name: np.array([counts.get(name, 0.0)]) for name in names})


def cores(**more: str) -> Cores:
    found = Cores.of(override_part(load_hardware(PART), {**ROUND, **more}))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("counts", "cycles"),
    [
        ({"fma": 100}, 50), ({"loads": 100}, 50), ({"stores": 100}, 100), ({"others": 100}, 25),
        ({"gathered": 100}, 100), ({"loads": 100, "gathered": 100}, 150), ({"misses": 3}, 30), ({"chain": 70}, 70),
        ({"fma": 100, "loads": 100, "others": 200}, 100), ({"fma": 100, "misses": 2}, 70),
    ],
)  # fmt: skip
def test_the_slowest_port_bounds_a_loop(counts: dict[str, float], cycles: float) -> None:
    """At 1 GHz on one thread; mispredicted branches come on top."""
    assert cores().loop_seconds(loops(items=1, **counts)).total[0] == pytest.approx(cycles * 1e-9)


def test_uneven_pieces_of_work_keep_threads_waiting() -> None:
    """Five pieces on four threads take two rounds."""
    four = cores(**{"threads.count": "4"})
    assert four.loop_seconds(loops(items=5, fma=500)).total[0] == pytest.approx(500 / 2 * 2 / 5 * 1e-9)


@pytest.mark.parametrize(("footprint", "rate"), [(900, np.inf), (50e3, 8e9), (900e3, 4e9), (10e6, 1e9)])
def test_a_working_set_streams_from_the_level_that_it_fits_into(footprint: float, rate: float) -> None:
    traffic = Refills(np.array([1e6]), np.array([footprint]))
    assert cores().transfer_seconds(traffic)[0] == pytest.approx(1e6 / rate)


@given(st.floats(1, 1e8), st.floats(1, 1e8))
def test_a_larger_working_set_is_never_faster(a: float, b: float) -> None:
    small, large = (cores().transfer_seconds(Refills(np.array([1e6]), np.array([size])))[0] for size in sorted((a, b)))
    assert small <= large * (1 + 1e-12)


def test_a_condensed_row_gathers_each_input() -> None:
    """One row of 64 of 640: 64 gathers and 8 loads of 16 each; 512 bytes of weights and indexes are in L1."""
    assert cpu().costs([condensed(1, 1, 640, 0.1)])[0].latency_s == pytest.approx((64 + 8 / 2) * 1e-9)


def test_condensed_weights_come_from_memory_once_unless_they_stay() -> None:
    """512 bytes at 1 GB/s, which no load hides."""
    op = condensed(1, 1, 640, 0.1)
    stays, comes = (cpu(resident).costs([op])[0].latency_s for resident in (True, False))
    assert comes - stays == pytest.approx(512e-9)


def test_csr_rows_pay_for_their_ends() -> None:
    """Rows of equal total length in the first cache: 10 times more of them miss 20 cycles of branches each."""
    near = cpu(**{"core.caches.l1": "4 MiB"})
    few, many = (near.costs([csr(4, n, k, 0.1)])[0].latency_s for n, k in ((10, 10_000), (100, 1000)))
    assert many > few + 4 * 90 * 20e-9


def test_constant_fan_in_beats_csr_of_equal_work() -> None:
    for m, density in ((1, 0.01), (16, 0.1), (256, 0.3)):
        even, uneven = cpu().costs([condensed(m, 512, 2048, density), csr(m, 512, 2048, density)])
        assert even.latency_s < uneven.latency_s


@given(st.integers(1, 300), st.sampled_from([0.02, 0.1, 0.3, 0.6]), st.sampled_from(sorted(CPU_KERNELS)))
def test_more_tokens_and_denser_weights_are_never_faster(m: int, density: float, kernel: str) -> None:
    """Of every kernel whose format the pattern fits."""
    patterns = {"csr": "unstructured:{}", "fan_in": "bank1024:{}", "bsr": "block16:{}", "dense": "unstructured:{}"}
    form = next((name for name in sorted(CPU_KERNELS.get(kernel).formats) if name in patterns), None)
    if form is None:
        return
    part = override_part(load_hardware(PART), ROUND)
    core = part.core.model_copy(update={"kernels": {**part.core.kernels, form: kernel}})
    device = Cpu(part.model_copy(update={"core": core}), resident=True)
    made = [ops.linear(tokens, 256, 1024, "fp32", weight_sparsity=patterns[form].format(share), weight_format=form)
            for tokens, share in ((m, density), (m + 1, density), (m, density * 1.5))]  # fmt: skip
    now, more, denser = (cost.latency_s for cost in device.costs(made))
    if kernel != "gemm":  # the dense library changes its way at some numbers of tokens
        assert now <= more * (1 + 1e-9)
    assert now <= denser * (1 + 1e-9)


def test_a_sparse_kernel_loses_as_the_batch_grows() -> None:
    """A tenth of the weights: gathers of one token beat the dense product, those of many lose to it."""
    device = Cpu(load_hardware(PART), resident=True)
    ratios = []
    for m in (1, 16, 256, 2048):
        dense, sparse = device.costs([ops.linear(m, 768, 3072, "fp32"), condensed(m, 768, 3072, 0.1)])
        ratios.append(dense.latency_s / sparse.latency_s)
    assert ratios[0] > 1 > ratios[-2] and all(before > after for before, after in pairwise(ratios[:3]))


def test_a_format_without_a_kernel_is_decoded_with_a_note() -> None:
    device = cpu()
    op = ops.linear(4, 64, 64, "fp32", weight_sparsity="2:4", weight_format="run_length")
    assert not device.skips(op) and any("multiplied as dense" in note for note in device.notes(op))
    assert device.skips(csr(4, 64, 64, 0.1)) and not device.notes(csr(4, 64, 64, 0.1))


def test_a_part_without_cores_keeps_its_sums() -> None:
    assert Cores.of(load_hardware("cpu/h100-host")) is None


@pytest.mark.parametrize("key", ["threads.count", "core.gather"])
def test_numbers_out_of_range_are_refused(key: str) -> None:
    with pytest.raises(SpecError, match=key):
        override_part(load_hardware(PART), {key: "-1"})


def test_a_bitmap_saves_bytes_but_no_arithmetic() -> None:
    """One token is bound by memory and gains by the bytes: 4 over 1.125; many tokens take as long as dense ones."""
    device = cpu(resident=False, **{"threads.bandwidth": "0.1 GB/s"})
    held = {"weight_sparsity": "unstructured:0.25", "weight_format": "bitmap"}
    few, many = ([ops.linear(m, 256, 4096, "fp32", **fields) for fields in ({}, held)] for m in (1, 512))
    dense, sparse = (cost.latency_s for cost in device.costs(few))
    assert dense / sparse == pytest.approx(4 / 1.125, rel=0.05)
    assert CPU_KERNELS.get("bitmap_expand").loops(_one_row(), cores()).fma[0] == 64 * 320 / 16
    assert device.costs(many)[1].latency_s > 0.9 * 2 * 512 * 256 * 4096 / (64 * 1e9)


def test_a_backward_pass_counts_both_gradients() -> None:
    """Per non-zero and vector of 16 tokens three loads, two multiply-adds and a store, by hand for one row of 32."""
    kernel, products = CPU_KERNELS.get("csr_backward"), _one_row()
    found = kernel.loops(products, cores())
    vectors = 32 * 4
    assert (found.fma[0], found.loads[0], found.stores[0]) == (2 * vectors, 2 * 32 + 3 * vectors, vectors + 32)


def test_a_tile_of_pixels_reads_each_channel_once_per_weight() -> None:
    """64 pixels are a tile of 4 vectors: an index and a weight for each of 32, and their inputs."""
    found = CPU_KERNELS.get("spmm_tile").loops(_one_row(), cores())
    assert (found.fma[0], found.loads[0], found.stores[0]) == (32 * 4, 2 * 32 + 32 * 4, 4)


def test_a_look_up_takes_the_place_of_four_products_per_bit() -> None:
    """32 rows of 128 weights of 2 bits, vectors of 64 bytes: 32 look-ups of four instructions, a scaling of 12, and 3
    for each of 32 vectors of table entries; a table is read per four inputs."""
    few = replace(_one_row(), m=np.ones(1), n=np.full(1, 32.0), k=np.full(1, 128.0), weight=np.full(1, 0.25))
    found = CPU_KERNELS.get("table_lookup").loops(few, cores(**{"core.vector": "64 byte"}))
    assert (found.fma[0], found.loads[0]) == (4 * 32 + 12 + 3 * 32, 32 / 2 + 32)
    wide = CPU_KERNELS.get("table_lookup").loops(replace(few, weight=np.full(1, 0.5)), cores())
    narrow = CPU_KERNELS.get("table_lookup").loops(few, cores())
    built = 3 * 128 / 4 * 16 * 4 / cores().core.vector.si
    assert wide.fma[0] - built == 2 * (narrow.fma[0] - built)


@pytest.mark.parametrize(
    ("kernel", "m", "n", "k", "fma", "loads"),
    [("unpack_dot", 4, 1, 128, 8 * 1.75 + 16, 8 * 0.25 + 8), ("unpack_dot_rows", 2, 4, 64, 8 * 1.75 + 16, 8 * 0.25 + 2),
     ("unpack_dot_tokens", 4, 1, 128, 2 * 1.75 + 16, 2 * 0.25 + 8)],
)  # fmt: skip
def test_unpacked_weights_are_shared_by_rows_or_tokens(
    kernel: str, m: int, n: int, k: int, fma: float, loads: float
) -> None:
    """Eight dot products of 64 bytes, two instructions each; 2-bit weights take a mask and three of four shifts."""
    sizes = {"m": m, "n": n, "k": k, "weight": 0.25, "lanes": 32}
    given = replace(_one_row(), **{name: np.full(1, float(size)) for name, size in sizes.items()})
    found = CPU_KERNELS.get(kernel).loops(given, cores(**{"core.vector": "64 byte"}))
    assert (found.fma[0], found.loads[0]) == (fma, loads)


def test_dense_weights_of_few_bits_run_the_kernel_of_the_part() -> None:
    """A part without one reads them as the dense library does; sparse ones keep the kernel of their format."""
    found = Cores.of(load_hardware("cpu/apple-m2-ultra"))
    assert found is not None
    names = [
        kernel_of(found, ops.linear(1, 64, 64, "int8", weight_dtype=held, **more)).name
        for held, more in (("int2", {}), ("int8", {}), ("int4", {"weight_sparsity": "unstructured:0.1",
                           "weight_format": "csr"}))
    ]  # fmt: skip
    assert names == ["table_lookup", "gemm", "spmm_tile"]
    assert kernel_of(cores(), ops.linear(1, 64, 64, "int8", weight_dtype="int2")).name == "gemm"


def _one_row() -> Products:
    """One output of 64 tokens with 32 of 320 weights."""
    sizes = {"m": 64, "n": 1, "k": 320, "kept": 32, "weight": 4, "value": 4, "lanes": 16, "stored": 256,
             "flops_per_cycle": 64, "block": 1, "moved": 0}  # fmt: skip
    return Products(**{name: np.array([float(size)]) for name, size in sizes.items()})
