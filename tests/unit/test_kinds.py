# SPDX-License-Identifier: Apache-2.0
"""Op kinds: each keeps the contract, and a new one touches its own file and the devices that take it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import simsparse as ss
from simsparse.config.hardware import System, load_hardware
from simsparse.core import KINDS, DType, Op, Trace, TraceBuilder
from simsparse.core.kind import VectorKind
from simsparse.core.kinds.block_sparse_attention import block_sparse_attention
from simsparse.devices.base import DEVICES
from simsparse.devices.cpu import Cpu
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_launched import Stream
from simsparse.devices.gpu_op_kernels import OP_KERNELS
from simsparse.errors import MappingError, SpecError
from simsparse.testing import KindContract

for _name in KINDS:
    globals()[f"Test{_name.title().replace('_', '')}"] = type(
        f"Test{_name}", (KindContract,), {"kind": KINDS.get(_name)}
    )


def test_every_kind_is_under_contract() -> None:
    ours = {KINDS.get(name) for name in KINDS}
    assert {contract.kind for contract in KindContract.__subclasses__()} >= ours


def toy(items: int, dtype: str = "bf16", *, name: str = "toy", **fields: Any) -> Op:
    return Op("toy", name, {"items": items}, DType.parse(dtype), **fields).checked()


class Toy(VectorKind):
    """A kind that only this file knows."""

    name = "toy"
    dims = ("items",)

    @property
    def factory(self) -> Callable[..., Op]:
        return toy

    def examples(self, dtype: str) -> list[Op]:
        return [toy(1000, dtype)]

    def flops(self, op: Op) -> int:
        return 10 * op.dims["items"]

    def input_bytes(self, op: Op) -> int:
        return 4 * op.dims["items"]

    def output_bytes(self, op: Op) -> int:
        return 2 * op.dims["items"]


TOY = Toy()


class ToyCpu(Cpu):
    """A CPU that takes toys."""

    op_kinds = Cpu.op_kinds | {"toy"}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As an entry point would register them."""
    assert set(KINDS) and set(DEVICES)
    monkeypatch.setitem(KINDS._items, "toy", TOY)
    monkeypatch.setitem(DEVICES._items, "cpu", ToyCpu)
    yield


@pytest.mark.usefixtures("registered")
class TestANewKind:
    def trace(self) -> Trace:
        first = ss.ops.linear(8, 64, 64, name="first")
        return TraceBuilder("toys").add(first).add(ss.ops.toy(1 << 20)).build()

    def test_a_device_that_names_it_prices_it(self) -> None:
        found = ss.estimate(ss.ops.toy(1 << 20), "cpu/h100-host")
        assert found.bound == "memory" and found.latency_s > 6 * (1 << 20) / 1e12

    def test_a_gpu_takes_it_with_a_kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(OP_KERNELS._items, "toy", lambda op: Stream(op.dims["items"], op.input_bytes, 0.0))
        assert ss.estimate(ss.ops.toy(1 << 20), "gpu/h100-sxm5-80gb").latency_s > 1e-6

    def test_a_gpu_never_runs_a_kind_without_a_kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Gpu, "op_kinds", frozenset({"toy", "linear"}))
        with pytest.raises(MappingError, match="no model of a kernel for a toy"):
            ss.estimate_many(self.trace().ops, ["gpu/h100-sxm5-80gb"])

    @pytest.mark.parametrize(
        "part",
        ["gpu/h100-sxm5-80gb", "accel/systolic-ws-32x32", "accel/sigma", "pim/bank-pim", "memory/hbm3-6400"],
    )
    def test_all_others_refuse_it_by_name(self, part: str) -> None:
        with pytest.raises(MappingError, match="toy"):
            ss.estimate(ss.ops.toy(1 << 20), part)

    def test_it_runs_in_a_trace_from_a_file(self, tmp_path: Path) -> None:
        trace = ss.load_trace(self.trace().save(tmp_path / "toys.trace"))
        host = load_hardware("cpu/h100-host", {"memory.capacity": "1 TB"})  # a part that no other test has asked
        result = ss.simulate(trace, System("toys", "", {"cpu0": host}, ()))
        table = result.table()
        assert list(table["kind"]) == ["linear", "toy"]
        assert result.latency_s > 0


@pytest.mark.usefixtures("registered")
class TestToy(KindContract):
    kind = TOY


def test_a_kind_is_named_by_its_file_and_by_devices_alone() -> None:
    """What adding block-sparse attention took."""
    package = Path(ss.__file__).parent
    naming = [path for path in package.rglob("*.py") if "block_sparse_attention" in path.read_text()]
    folders = {str(path.relative_to(package).parent) for path in naming}
    makers = {"core/attention_masks", "trace/capture"}  # of such ops, from masks in words and from those of models
    assert folders == {"core/kinds", "devices", *makers}
    assert [path.stem for path in naming if path.parent.name == "kinds"] == ["block_sparse_attention"]


def test_a_trace_of_an_unknown_kind_names_those_that_are_known(tmp_path: Path) -> None:
    trace = TraceBuilder("plain").add(ss.ops.softmax(4, 8)).build()
    path = trace.save(tmp_path / "plain.trace")
    path.write_text(path.read_text().replace('"softmax","dims"', '"softmaxx","dims"'))
    with pytest.raises(ss.SimsparseError, match="'softmaxx' is not a kind; did you mean softmax"):
        ss.load_trace(path)
    with pytest.raises(SpecError, match="did you mean softmax"):
        Op("softmaxx", "odd", {"rows": 1, "cols": 1})


def test_a_mask_that_keeps_every_block_is_dense_attention() -> None:
    shape: dict[str, Any] = {"batch": 2, "heads": 8, "kv_heads": 2, "head_dim": 64, "q_len": 512, "kv_len": 1024}
    masked = block_sparse_attention(**shape, block=64, density=1.0)
    dense = ss.ops.attention(**shape, causal=False)
    assert (masked.flops, masked.min_bytes, masked.kv_bytes) == (dense.flops, dense.min_bytes, dense.kv_bytes)
    assert ss.estimate(masked, "gpu/h100-sxm5-80gb").latency_s == ss.estimate(dense, "gpu/h100-sxm5-80gb").latency_s


def test_kept_blocks_are_counted_row_by_row_or_by_their_share() -> None:
    shape: dict[str, Any] = {"batch": 1, "heads": 8, "kv_heads": 8, "head_dim": 64, "q_len": 256, "kv_len": 256}
    by_row = block_sparse_attention(**shape, block=64, kept=[1, 2, 3, 4])
    assert by_row == block_sparse_attention(**shape, block=64, density=10 / 16)
    assert by_row.flops == 2 * 10 * 64 * 64 * 8 * 128
    for wrong in ({"kept": [1, 2, 3]}, {"kept": [1, 2, 3, 5]}, {"density": 0.0}, {}, {"kept": [1] * 4, "density": 0.5}):
        with pytest.raises(SpecError):
            block_sparse_attention(**shape, block=64, **wrong)


def test_fewer_blocks_are_faster_and_the_cache_stays() -> None:
    shape: dict[str, Any] = {"batch": 8, "heads": 32, "kv_heads": 8, "head_dim": 128, "q_len": 1, "kv_len": 32768}
    ops = [block_sparse_attention(**shape, block=64, kept=[kept]) for kept in (16, 64, 256)]
    times = [ss.estimate(op, "gpu/h100-sxm5-80gb").latency_s for op in ops]
    assert times == sorted(times) and times[0] < times[-1] / 4
    assert len({op.resident_kv_bytes for op in ops}) == 1


def test_a_scan_step_by_hand() -> None:
    """One token of Mamba-2: state (2, 4, 8) per sequence in fp32, read and written once."""
    op = ss.ops.scan(3, 2, 1, 4, 8)
    states = 3 * 2 * 4 * 8
    assert op.kv_bytes == 4 * states and op.flops == 5 * states
    assert op.input_bytes == 4 * states + 2 * 3 * (2 * 4 + 2 + 2 * 8)
    assert op.output_bytes == 4 * states + 2 * 3 * 2 * 4


def test_an_embedding_reads_its_rows_and_keeps_its_table() -> None:
    op = ss.ops.gather(16, 8192, table_rows=32_000)
    assert (op.weight_bytes, op.resident_bytes) == (16 * 8192, 32_000 * 8192)
    assert op.input_bytes == 16 * 8
    assert ss.ops.gather(16, 8192).weight_bytes == 0
