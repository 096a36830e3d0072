# SPDX-License-Identifier: Apache-2.0
"""Weights that rest on storage: the ways to a device, requests, and layers split between device and host."""

from __future__ import annotations

from typing import Any

import pytest

import simsparse as ss
from simsparse.config.hardware import Connection, System, load_hardware, load_system
from simsparse.config.parts.gpu import GpuPart
from simsparse.core import TraceBuilder, ops
from simsparse.devices.storage import Storage, StoragePart
from simsparse.errors import MappingError, SpecError
from simsparse.policies import policy_of
from simsparse.policies.placement.layer_split import LayerSplit
from simsparse.policies.residency.windowed import Windowed
from simsparse.testing import PolicyPartContract
from simsparse.testing.fake_machine import host, link, offload_system, processor


class TestLayerSplit(PolicyPartContract):
    part = LayerSplit(1)


def flash_system(latency: str = "0 us") -> System:
    """An SSD of 0.5 GB/s in pages of 4 KiB, a host and a GPU in a row, on links of 1 GB/s."""
    ssd = load_hardware("storage/nvme-gen4", {"read": "0.5 GB/s", "latency": latency, "requests": "100 kHz"})
    return System("flash", "", {"gpu0": processor("1 GB"), "host": host(), "ssd": ssd}, (
        Connection("pcie", link("1 GB/s", "0 us"), ("host", "gpu0")),
        Connection("nvme", link("1 GB/s", "0 us"), ("host", "ssd")),
    ))  # fmt: skip


def seconds(policy: dict[str, Any], system: System | None = None, level: int = 1) -> float:
    """Of two layers of 64 MiB each whose arithmetic takes no time to speak of."""
    builder = TraceBuilder("two")
    for i in range(2):
        builder.add(ops.linear(1, 4096, 8192, "bf16", name=f"l{i}", module=f"layers.{i}"))
    return float(ss.simulate(builder.build(), system or flash_system(), policy, level=level).latency_s)


def resting(**options: Any) -> dict[str, Any]:
    return {"residency": {"kind": "none", "what": "all", "home": "storage", **options}}


MIB64 = 1 << 26


@pytest.mark.parametrize("level", [0, 1])
class TestWays:
    def test_direct_copies_run_at_the_rate_of_the_ssd(self, level: int) -> None:
        assert seconds(resting(), level=level) == pytest.approx(2 * MIB64 / 0.5e9, rel=0.01)

    def test_copies_through_the_host_come_one_after_the_other(self, level: int) -> None:
        each = MIB64 / 0.5e9 + MIB64 / 1e9
        assert seconds(resting(through_host=True), level=level) == pytest.approx(2 * each, rel=0.01)

    def test_pieces_ahead_hide_the_second_copy(self, level: int) -> None:
        policy = {**resting(through_host=True, chunk_bytes=1 << 20), "prefetch": "next_layer"}
        shared = MIB64 / 0.5e9 + MIB64 / 1e9 + MIB64 / 0.5e9 + (1 << 20) / 1e9
        assert seconds(policy, level=level) == pytest.approx(shared, rel=0.01)

    def test_requests_set_the_pace(self, level: int) -> None:
        """Two requests of 16 KiB under way, each 100 us and its own bytes."""
        policy = resting(request_bytes=1 << 14, queue_depth=2)
        rate = 2 * (1 << 14) / (100e-6 + (1 << 14) / 0.5e9)
        assert seconds(policy, flash_system("100 us"), level) == pytest.approx(2 * MIB64 / rate, rel=0.01)


def test_rates_of_requests() -> None:
    ssd = Storage(load_hardware("storage/nvme-gen4", {"read": "1 GB/s", "latency": "50 us", "requests": "100 kHz"}))
    assert isinstance(ssd.part, StoragePart)
    assert ssd.read_rate(4096, 1) == pytest.approx(4096 / (50e-6 + 4096e-9))
    assert ssd.read_rate(1024, 1) == pytest.approx(1024 / (50e-6 + 4096e-9))  # a whole page is read
    assert ssd.read_rate(4096, 1000) == pytest.approx(4096e5)  # no more requests than it takes
    assert ssd.read_rate(1 << 20, 8) == pytest.approx(1e9)


def test_a_machine_without_storage_is_an_error() -> None:
    with pytest.raises(MappingError, match="'storage', which offload has not"):
        seconds(resting(), offload_system())


@pytest.mark.parametrize(("options", "key"), [
    ({"home": 3}, "home"), ({"home": "storage", "request_bytes": 4096}, "queue_depth"),
    ({"home": "host", "through_host": True}, "through_host"), ({"home": "storage", "queue_depth": 0}, "queue_depth"),
])  # fmt: skip
def test_options_that_say_nothing_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(SpecError) as caught:
        policy_of({"residency": {"kind": "none", "what": "all", **options}})
    assert caught.value.key == f"residency.{key}"


def test_the_host_computes_no_experts_that_rest_on_storage() -> None:
    with pytest.raises(SpecError, match="use site: device"):
        policy_of({"residency": {"kind": "none", "home": "storage"}, "site": "host"})


@pytest.mark.parametrize(("layers", "on_gpu"), [(0, ()), (1, (1, 2)), ("fit", (1, 2)), (2, (0, 1, 2))])
def test_the_last_layers_run_on_the_gpu(layers: int | str, on_gpu: tuple[int, ...]) -> None:
    """Two layers of 64 MiB and a head of 64 KiB; the GPU holds one of them."""
    builder = TraceBuilder("split").add(ops.elementwise(8, 8, name="embedding"))
    for i in range(2):
        builder.add(ops.linear(1, 4096, 8192, "bf16", name=f"l{i}", module=f"layers.{i}"))
    builder.add(ops.linear(1, 8, 4096, "bf16", name="head"))
    capacity = "200 MB" if layers == 2 else "100 MB"
    result = ss.simulate(
        builder.build(), offload_system(capacity), {"placement": {"kind": "layer_split", "layers": layers}}
    )
    placed = {op.name: op.device for op in result.ops}
    assert placed["embedding"] == "host"
    assert [placed[name] == "gpu0" for name in ("l0", "l1", "head")] == [i in on_gpu for i in range(3)]


class TestWindowed(PolicyPartContract):
    part = Windowed(active=0.5, kept=0.7, window=2)


def test_what_a_window_leaves_to_come() -> None:
    """Two tokens: a beta distribution with parameters a and b of mean 1/2 that uses 2/3 together has a = b = 1."""
    part = Windowed(active=0.5, kept=2 / 3, window=2)
    assert part.new == pytest.approx(1 / 3 - 1 / 4)  # the mean of (1 - p)**2 less that of (1 - p)**3, p uniform
    assert Windowed(active=0.1, kept=0.40949, window=5).new == pytest.approx(0.1 * 0.9**5, rel=1e-3)  # equal neurons


def test_published_windows() -> None:
    """LLM in a flash: a tenth active and 24 % kept; 2.4 % of neurons come, for windows of four or five tokens."""
    four, five = (Windowed(active=0.1, kept=0.24, window=window).new for window in (4, 5))
    assert five == pytest.approx(0.0178, abs=1e-4)
    assert four == pytest.approx(0.0272, abs=1e-4)
    assert five < 0.024 < four


def test_only_what_is_new_is_copied() -> None:
    policy = {
        "residency": {"kind": "windowed", "ops": "l1", "active": 0.5, "kept": 0.7, "window": 2, "home": "storage"}
    }
    new = Windowed(active=0.5, kept=0.7, window=2).new / 0.5
    assert seconds(policy) == pytest.approx(new * MIB64 / 0.5e9, rel=0.02)


@pytest.mark.parametrize(("options", "key"), [
    ({"active": 0}, "active"), ({"kept": 0.05}, "kept"), ({"kept": 0.5}, "kept"), ({"window": 0}, "window"),
    ({"window": 1}, "kept"),
])  # fmt: skip
def test_windows_that_can_not_be_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(SpecError) as caught:
        Windowed(**options)
    assert caught.value.key == key


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(("unpack", "copied"), [("free", 4.125 / 16), ("device", 4.125 / 16), ("host", 1)])
def test_weights_of_few_bits_cross_as_such_unless_the_host_unpacks_them(unpack: str, copied: float, level: int) -> None:
    trace = TraceBuilder("one").add(ops.linear(1, 4096, 8192, "bf16", name="l", module="layers.0")).build()
    policy = {"residency": {"kind": "none", "what": "all", "bits": 4, "unpack": unpack}}
    result = ss.simulate(trace, "systems/rtx4090-pcie4", policy, level=level)
    moved = sum(span.bytes for span in result.timeline.spans if span.kind == "copy")
    assert moved == pytest.approx(copied * MIB64, rel=1e-6)
    rows = [row for row in result.ops if row.label == "unpack"]
    assert [row.device for row in rows] == {"free": [], "device": ["gpu0"], "host": ["host"]}[unpack]
    assert sum(row.latency_s for row in result.ops) == pytest.approx(result.latency_s)
    for row in rows:
        assert row.latency_s > MIB64 / 1.1e12


def gathered(policy: dict[str, Any], system: System | str = "systems/h100-pcie5", row_bytes: int = 200) -> Any:
    """100,000 rows of a table of ten times as many that rests in host memory."""
    op = ops.gather(100_000, row_bytes, "fp32", table_rows=10**6, name="rows", module="layers.0.rows")
    return ss.simulate(TraceBuilder("gather").add(op).build(), system, policy)


ZERO_COPY = {"residency": {"kind": "none", "what": "all", "zero_copy": True}}


def test_kernels_read_rows_of_host_memory_line_by_line() -> None:
    """Rows of 200 bytes take two lines of 128; short rows are as fast as requests go."""
    system = load_system("systems/h100-pcie5")
    gpu = system.devices["gpu0"]
    assert isinstance(gpu, GpuPart)
    result = gathered(ZERO_COPY)
    (span,) = result.timeline.spans
    assert span.bytes == 100_000 * 256 and span.lane == "compute"
    assert result.latency_s == pytest.approx(100_000 * gpu.kernels.zerocopy.row.si, rel=0.15)
    whole = gathered({"placement": {"kind": "mapped", "rules": [{"ops": "rows", "device": "host"}]}}, row_bytes=1024)
    assert gathered(ZERO_COPY, row_bytes=1024).latency_s < whole.latency_s


def test_what_can_not_read_rows_says_so() -> None:
    with pytest.raises(MappingError, match="gpu0 has no kernel that reads rows of another memory"):
        gathered(ZERO_COPY, offload_system("1 GB", host_capacity="100 GB"))
    with pytest.raises(SpecError, match="host memory alone"):
        policy_of({"residency": {**ZERO_COPY["residency"], "home": "storage"}})
