# SPDX-License-Identifier: Apache-2.0
"""The format in which weights are stored: bytes held, copied and read, apart from which values are zero."""

from __future__ import annotations

from pathlib import Path

import pytest

from simsparse import simulate
from simsparse.config.hardware import load_hardware, load_system
from simsparse.core import Op, Result, Sparsity, Trace, TraceBuilder, ops
from simsparse.devices.base import Device, device_for
from simsparse.errors import MappingError, SpecError
from simsparse.sweep import run_sweep
from simsparse.trace.file import load_trace

FORMATS = ("dense", "bitmap", "csr", "nm_index", "nm_bitmap", "bsr:16", "ternary_codebook", "bank:16:8")


def linear(sparsity: str = "2:4", storage: str = "usual", tokens: int = 8, dtype: str = "bf16") -> Op:
    return ops.linear(tokens, 4096, 4096, dtype, weight_sparsity=sparsity, weight_format=storage)


def device(name: str) -> Device:
    return device_for(load_hardware(name))


def cost(part: str, op: Op) -> tuple[float, int]:
    """Seconds of an op, and bytes read."""
    model = device(part)
    found = model.costs([op])[0]
    return found.latency_s, sum(count for (_, action), count in found.counts.items() if action == "read_byte")


@pytest.mark.parametrize("storage", FORMATS)
def test_an_op_holds_the_bytes_of_its_format(storage: str) -> None:
    bits = Sparsity.parse("2:4").stored_bits(4096, 4096, 16, storage)
    assert linear(storage=storage).weight_bytes == -(-bits // 8)
    routed = ops.moe_ffn(2, 256, 512, 4, routing=[[0, 1], [2, 1]], weight_sparsity="2:4", weight_format=storage)
    up, down = (Sparsity.parse("2:4").stored_bits(*shape, 16, storage) for shape in ((512, 256), (256, 512)))
    assert routed.expert_bytes == 2 * -(-up // 8) + -(-down // 8)
    assert linear(storage=storage).signature != linear().signature


def test_formats_are_read_or_refused_by_name() -> None:
    assert linear(storage=" CSR").weight_format == "csr"
    with pytest.raises(SpecError, match="'csx' is not a format; did you mean csr"):
        linear(storage="csx")
    with pytest.raises(SpecError, match="keep up to 4 of 4"):
        _ = linear("unstructured:0.5", "nm_index:2:4").weight_bytes


def test_a_gpu_reads_what_is_stored_and_multiplies_dense_weights() -> None:
    card = "gpu/h100-sxm5-80gb"
    seconds, read = cost(card, linear("unstructured:0.1"))
    assert cost(card, linear("dense")) == (seconds, read)
    for storage in ("bitmap", "run_length:8"):
        less, fewer = cost(card, linear("unstructured:0.1", storage))
        saved = linear("dense").weight_bytes - linear("unstructured:0.1", storage).weight_bytes
        assert read - fewer == saved > 0 and less < 0.75 * seconds
    many = [cost(card, linear("unstructured:0.1", storage, 16384))[0] for storage in ("usual", "bitmap")]
    assert many[1] == pytest.approx(many[0], rel=0.01)


def test_only_a_gpus_own_layout_takes_the_path_of_2_to_4() -> None:
    card = "gpu/h100-sxm5-80gb"
    usual = cost(card, linear())
    assert [cost(card, linear(storage=own)) for own in ("nm_index", "nm_index:2:4", "sparse24_cutlass")] == [usual] * 3
    assert cost(card, linear("1:8", "nm_index:2:4")) == cost(card, linear("1:8"))
    assert cost(card, linear(storage="dense")) == cost(card, linear("dense"))
    model = device(card)
    assert not any("as dense ones" in note for note in model.notes(linear()))
    assert model.costs([linear()])[0].validated
    assert model.notes(linear(storage="bitmap")) == (
        "2:4 weights are multiplied as dense ones", "decoding bitmap weights takes no time")  # fmt: skip
    assert model.costs([linear(storage="bitmap")])[0].validated is None
    assert model.notes(linear(storage="dense")) == ("2:4 weights are multiplied as dense ones",)


def test_convolutions_and_fp32_products_read_what_is_stored() -> None:
    conv = ops.conv2d(1, 256, 256, 14, 14, 3, 3, padding=1, weight_sparsity="unstructured:0.1")
    for op in (conv, linear("unstructured:0.1", dtype="fp32"), linear("unstructured:0.1", tokens=2, dtype="fp32")):
        stored = op.with_(weight_format="csr")
        (slow, read), (fast, fewer) = (cost("gpu/h100-sxm5-80gb", each) for each in (op, stored))
        dense = op.with_(weight_sparsity=Sparsity.parse("dense")).weight_bytes
        assert read - fewer == dense - stored.weight_bytes and fast <= slow


def test_a_host_reads_what_is_stored() -> None:
    (slow, read), (fast, fewer) = (cost("cpu/h100-host", linear("unstructured:0.1", form)) for form in ("usual", "csr"))
    assert read - fewer == linear("dense").weight_bytes - linear("unstructured:0.1", "csr").weight_bytes
    assert fast <= slow, "the pass over the decoded weights may bind"


def test_an_n_m_array_skips_zeros_in_its_own_format_alone() -> None:
    part = "accel/systolic-ws-32x32-2to4"
    runs = {storage: cost(part, linear("2:4", storage, dtype="int8"))
            for storage in ("usual", "nm_index", "nm_index:2:4", "dense", "csr")}  # fmt: skip
    assert runs["usual"] == runs["nm_index"] == runs["nm_index:2:4"]
    assert runs["dense"] == cost(part, linear("dense", dtype="int8")) and runs["dense"][0] > runs["usual"][0]
    assert runs["csr"][1] > runs["dense"][1] and device(part).notes(linear("2:4", "csr", dtype="int8"))[1:] == (
        "decoding csr weights takes no time",)  # fmt: skip


@pytest.mark.parametrize(("part", "op", "reason"), [
    ("pim/bank-pim", linear(storage="csr"), "they do not read csr weights"),
    ("accel/sigma", linear("unstructured:0.1", "csr"), "sigma reads weights in its own form, not csr; expected usual"),
    ("accel/nmg-counter", linear("2:4", "bitmap", dtype="int8"), "nmg reads weights in its own form, not bitmap; "
                                                                 "expected usual or nmg"),
])  # fmt: skip
def test_devices_that_cannot_decode_refuse(part: str, op: Op, reason: str) -> None:
    with pytest.raises(MappingError, match=reason):
        device(part).costs([op])
    assert device(part).supports(op.with_(weight_format="usual")) is None


def test_a_stated_decoding_rate_is_paid(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(
        "kind: gpu\nextends: gpu/h100-sxm5-80gb\ndescription: A card with a decoder\n"
        "decode:\n  bitmap: {value: 100 GB/s, source: null, basis: assumed, note: an example}\n"
    )
    model, op = device(str(path)), linear("unstructured:0.1", "bitmap")
    found = model.costs([op])[0]
    assert found.latency_s == found.breakdown["decode"] == 4096 * 4096 * 2 / 100e9 and found.bound == "decode"
    assert model.notes(op)[0] == "unstructured:0.1 weights are multiplied as dense ones"
    assert not any("takes no time" in note for note in model.notes(op))
    free = linear("unstructured:0.1", "run_length:8")
    assert model.costs([free])[0].latency_s == device("gpu/h100-sxm5-80gb").costs([free])[0].latency_s
    path.write_text(path.read_text().replace("bitmap:", "dense:"))
    with pytest.raises(SpecError, match="'dense' weights need no decoding"):
        load_hardware(str(path))


def trace() -> Trace:
    builder = TraceBuilder("t")
    for i in range(2):
        builder.add(linear("dense").with_(name=f"layers.{i}.up", module=f"model.layers.{i}.up", weight=f"w{i}"))
    return builder.add(ops.linear(8, 1000, 4096, name="lm_head")).build()


def ran(storage: str, policy: str) -> Result:
    found = trace().with_weight_sparsity("2:4").with_weight_format(storage)
    return simulate(found, load_system("systems/h100-pcie5"), policy=policy)


def test_policies_hold_and_copy_what_is_stored() -> None:
    bytes_of = {storage: linear(storage=storage).weight_bytes for storage in ("usual", "dense", "bitmap")}
    for storage, size in bytes_of.items():
        result = ran(storage, "resident")
        assert result.memory["gpu0"]["weights"] == 2 * size + 1000 * 4096 * 2
        assert [op.weight_format for op in result.ops] == [storage, storage, "usual"]
    notes = ran("bitmap", "resident").notes
    assert notes == ("gpu0: 2:4 weights are multiplied as dense ones", "gpu0: decoding bitmap weights takes no time")
    assert not any("as dense ones" in note for note in ran("usual", "resident").notes)
    assert ran("bitmap", "resident").summary()["notes"] == list(notes)


def test_the_gradient_of_a_weight_and_excluded_weights_keep_their_format() -> None:
    gradient = linear("dense").with_(label="bwd_weight")
    made = TraceBuilder("t").add(gradient).build().with_weight_format("bitmap")
    assert made.ops[0].weight_format == "usual"
    assert [op.weight_format for op in trace().with_weight_format("bitmap").ops] == ["bitmap", "bitmap", "usual"]
    with pytest.raises(SpecError, match=r"layers.0.up can't be stored as nm_index: dense weights do not say"):
        trace().with_weight_format("nm_index")


def test_a_trace_file_keeps_the_format(tmp_path: Path) -> None:
    made = trace().with_weight_format("bsr:32")
    assert load_trace(made.save(tmp_path / "t.trace")) == made


def test_formats_are_an_axis(tmp_path: Path) -> None:
    trace().save(tmp_path / "t.trace")
    (tmp_path / "sweep.yaml").write_text(
        "name: formats\nworkload: {trace: t.trace}\nsystem: systems/h100-pcie5\nlevel: 0\n"
        "axes:\n  weight_sparsity: [2:4, unstructured:0.1]\n  weight_format: [usual, dense, bitmap, nm_index]\n"
    )
    frame = run_sweep(tmp_path / "sweep.yaml", tmp_path / "out").set_index(["weight_sparsity", "weight_format"])
    seconds, failed = frame["latency_s"], frame["error"]
    assert seconds["2:4", "usual"] == seconds["2:4", "nm_index"] != seconds["2:4", "dense"]
    assert seconds["unstructured:0.1", "bitmap"] < seconds["unstructured:0.1", "dense"]
    assert "unstructured:0.1 weights do not say the parameters of nm_index" in failed["unstructured:0.1", "nm_index"]
    assert (failed.drop(("unstructured:0.1", "nm_index")) == "").all()
