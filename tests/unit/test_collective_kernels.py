# SPDX-License-Identifier: Apache-2.0
"""Kernels of collectives: protocols by size, both levels alike, links shared with other work, measured times."""

from __future__ import annotations

from dataclasses import replace

import pytest

import simsparse as ss
from simsparse.config.hardware import load_system
from simsparse.config.layout import Layout
from simsparse.core import TraceBuilder, ops
from simsparse.errors import SpecError
from simsparse.lowering.collectives.expand import kernel_of, ranks_of
from simsparse.lowering.collectives.puts import PutShape, put_seconds
from simsparse.lowering.collectives.spans import span_seconds
from simsparse.lowering.machine import Machine
from simsparse.lowering.parallel import rank_system
from simsparse.validate import validate

BOARDS = ["systems/a100-x8-nvlink", "systems/h100-x8-nvlink", "systems/h200-x8-nvlink", "systems/b200-x8-nvlink"]
US = 1e-6


def seconds(system: str, label: str, size: int, ranks: int, level: int = 1, dtype: str = "bf16") -> float:
    trace = TraceBuilder("t").add(ops.collective(label, size, ranks, dtype=dtype)).build()
    return ss.simulate(trace, system, level=level).latency_s


def kernel(system: str, label: str, size: int, ranks: int, dtype: str = "bf16") -> str:
    machine, op = Machine(load_system(system)), ops.collective(label, size, ranks, dtype=dtype)
    run = kernel_of(op, machine, ranks_of(op, machine))
    assert run is not None
    return run.name


@pytest.mark.parametrize("label", ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "reduce",
                                   "gather", "scatter", "send_recv"])  # fmt: skip
def test_both_levels_agree_and_larger_messages_take_longer(label: str) -> None:
    for ranks in (2, 8):
        times = [[seconds(BOARDS[2], label, size, ranks, level) for size in (1 << 10, 1 << 20, 1 << 28)]
                 for level in (0, 1)]  # fmt: skip
        assert times[0] == pytest.approx(times[1], rel=1e-6)
        assert times[0] == sorted(times[0])


@pytest.mark.parametrize("system", BOARDS)
def test_small_messages_take_the_protocol_that_starts_fast(system: str) -> None:
    found = [kernel(system, "all_reduce", size, 8, "int8") for size in (1 << 10, 1 << 18, 1 << 28)]
    assert found[0] in ("ring ll", "ring ll128") and found[2] == "ring simple"


def test_only_a_switch_adds_up_floats_and_only_of_a_whole_board() -> None:
    assert kernel(BOARDS[2], "all_reduce", 1 << 29, 8) == "in switch"
    assert kernel(BOARDS[2], "all_reduce", 1 << 29, 8, "int8") == "ring simple"
    assert kernel(BOARDS[2], "all_reduce", 1 << 29, 4) == "ring simple"
    assert kernel(BOARDS[0], "all_reduce", 1 << 29, 8) == "ring simple"


def test_published_bus_bandwidths_of_eight_gpus() -> None:
    """537 MB of fp16: 2.040, 2.111, 4.226 and 1.335 ms on H200, H100, A100 and B200 (AIConfigurator)."""
    published = {"h200": 2.040e-3, "h100": 2.111e-3, "a100": 4.226e-3, "b200": 1.335e-3}
    for card, expected in published.items():
        assert seconds(f"systems/{card}-x8-nvlink", "all_reduce", 536_870_912, 8) == pytest.approx(expected, rel=0.12)


def test_collectives_share_links_with_other_copies() -> None:
    """Two all-to-alls of all GPUs at once: each has half of the links."""
    one = seconds(BOARDS[2], "all_to_all", 1 << 30, 8)
    both = TraceBuilder("t")
    for name in ("a", "b"):
        both.add(ops.collective("all_to_all", 1 << 30, 8, name=name, dtype="bf16"), deps=[])
    together = ss.simulate(both.build(), BOARDS[2]).latency_s
    assert together > 1.5 * one


def test_a_system_that_names_an_algorithm_has_it() -> None:
    system = load_system(BOARDS[2])
    named = type(system)(system.name, "", system.devices, system.links, collectives={"all_reduce": "one_shot"})
    trace = TraceBuilder("t").add(ops.collective("all_reduce", 1 << 20, 8)).build()
    assert ss.simulate(trace, named).latency_s != pytest.approx(seconds(BOARDS[2], "all_reduce", 1 << 20, 8, 1, "int8"))


def test_rows_need_a_system_of_several_gpus() -> None:
    rows = [{"section": "nccl", "op": "all_reduce", "bytes": 1 << 26, "s": 2.5e-4}]
    alone = validate(rows, "gpu/h200-sxm5-141gb").section("nccl")
    assert not alone.predictions and "several GPUs" in next(iter(alone.skipped))
    pair = validate(rows, "systems/h200-x2-nvlink").section("nccl")
    assert abs(pair.predictions[0].error) < 0.1


def test_devices_of_one_entry_are_numbered() -> None:
    system = load_system(BOARDS[1])
    assert list(system.devices)[:2] == ["gpu0", "gpu1"] and len(system.devices) == 10
    assert {link.name: link.between for link in system.links}["nvlink3"] == ("gpu3", "nvswitch")
    assert system.groups["node"] == tuple(f"gpu{i}" for i in range(8))


def test_a_count_is_a_small_whole_number(tmp_path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("kind: system\ndescription: x\ndevices:\n  gpu: {part: gpu/t4, count: 1000}\n")
    with pytest.raises(SpecError, match=r"x.yaml:4: devices.gpu.count: 1000"):
        load_system(path)


class TestPuts:
    def test_published_times_over_8_to_256_gpus(self) -> None:
        """DeepEP's low-latency kernels on H800, 128 tokens of 7,168, top 8 of 256: microseconds of its README."""
        published = {("dispatch", 8): 77, ("dispatch", 32): 155, ("dispatch", 256): 194, ("combine", 16): 195,
                     ("combine", 256): 360}  # fmt: skip
        rows = [{"section": "puts_nodes", "library": "DeepEP v1", "ep": ranks, "phase": way, "tokens_per_gpu": 128,
                 "us": us, "s": us * US} for (way, ranks), us in published.items()]  # fmt: skip
        found = validate(rows, "systems/h800-x256-ndr").section("puts_nodes")
        assert len(found.predictions) == 5 and max(abs(each.error) for each in found.predictions) < 0.25

    def test_more_blocks_are_faster_until_the_link_is_full(self) -> None:
        kernels = load_system(BOARDS[2]).links[0].part.collectives.puts
        times = [put_seconds(kernels, "dispatch", PutShape(4096, 7168, 8, 256, 8, 8, blocks), 3.4e11)
                 for blocks in (4, 8, 16, 48, 96)]  # fmt: skip
        assert times[0] > 1.8 * times[1] and times[2] > times[3] == times[4]

    def test_a_layout_may_exchange_by_puts(self) -> None:
        trace = ss.load_trace("traces/mixtral-8x7b-decode-b8.trace")
        slow, fast = (
            ss.simulate(trace, BOARDS[2], parallel=f"dp=8 ep=8{more}").latency_s for more in ("", " exchange=puts")
        )
        assert fast < slow


def spanned(label: str, size: int, ranks: int, exchange: str = "linear", **changes: object) -> float:
    """Seconds of a collective over neighbouring ranks of a cluster of H100, ``changes`` of its network."""
    system = load_system("systems/h100-x2048-ndr")
    assert system.cluster is not None
    system = replace(system, cluster=replace(system.cluster, **changes))
    layout = Layout(dp=ranks, ep=ranks, exchange=exchange)
    machine = Machine(rank_system(system, layout))
    return span_seconds(ops.collective(label, size, ranks, group="dp", dtype="bf16"), machine, "gpu0")


class TestManyNodes:
    def test_within_a_board_a_span_takes_what_the_board_takes(self) -> None:
        assert spanned("all_reduce", 1 << 26, 8) == pytest.approx(
            seconds(BOARDS[1], "all_reduce", 1 << 26, 8), rel=0.01
        )

    def test_large_messages_are_bound_by_the_ports_of_a_node(self) -> None:
        """Four ports of 50 GB/s at 95 % carry 2 x 127/128 of the message once; eight are faster than NVLink."""
        size = 1 << 32
        expected = 2 * 127 / 128 * size / (4 * 0.95 * 50e9)
        assert spanned("all_reduce", size, 128, nics=4) == pytest.approx(expected, rel=0.05)
        assert spanned("all_reduce", size, 128, nics=2) == pytest.approx(2 * expected, rel=0.05)
        assert spanned("all_reduce", size, 128) > expected / 2

    def test_oversubscription_slows_what_crosses_leaf_switches(self) -> None:
        size = 1 << 30
        full = spanned("all_to_all", size, 512)
        assert spanned("all_to_all", size, 512, oversubscription=4.0) == pytest.approx(4 * full, rel=0.4)
        assert spanned("all_to_all", size, 256, oversubscription=4.0) == spanned("all_to_all", size, 256)

    def test_two_dimensions_pay_for_many_small_messages(self) -> None:
        """2,040 messages of 512 bytes, or 7 on the board and 255 over the network."""
        assert spanned("all_to_all", 1 << 20, 2048, "2dh") < 0.5 * spanned("all_to_all", 1 << 20, 2048)
        assert spanned("all_to_all", 1 << 30, 16, "2dh") > spanned("all_to_all", 1 << 30, 16)

    def test_more_ranks_never_take_less(self) -> None:
        for label in ("all_reduce", "all_to_all", "reduce_scatter"):
            times = [spanned(label, 1 << 24, ranks) for ranks in (2, 8, 16, 128, 2048)]
            assert times == sorted(times)


def test_kernels_take_what_the_slowest_link_has() -> None:
    """A better link among others changes nothing, a worse one is what a ring waits for."""
    system = load_system("systems/h100-x8-nvlink")
    trace = TraceBuilder("t").add(ops.collective("all_reduce", 1 << 22, 8, dtype="bf16")).build()

    def latency(path: str, value: str) -> float:
        return ss.simulate(trace, system.with_overrides({path: value})).latency_s

    before = ss.simulate(trace, system).latency_s
    assert latency("nvlink2.collectives.ring.ll128.rate", "900 GB/s") == before
    assert latency("nvlink0.bandwidth", "900 GB/s") == before
    assert latency("nvlink2.collectives.ring.ll128.rate", "10 GB/s") > before
