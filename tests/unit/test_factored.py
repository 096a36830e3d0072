# SPDX-License-Identifier: Apache-2.0
"""Weights that are products or sums of matrices: what they keep, store and cost, against matrices multiplied out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simsparse.config.experiment import load_experiment
from simsparse.config.hardware import load_hardware
from simsparse.core import Op, Result, Sparsity, TraceBuilder, ops
from simsparse.devices.base import Device, device_for
from simsparse.errors import MappingError, SpecError
from simsparse.sweep.check import check_experiment
from simsparse.sweep.execute import simulate_point

GPU = "gpu/h100-sxm5-80gb"


def linear(sparsity: str, storage: str = "usual", m: int = 8, n: int = 4096, k: int = 4096) -> Op:
    return ops.linear(m, n, k, weight_sparsity=sparsity, weight_format=storage)


def device(name: str) -> Device:
    return device_for(load_hardware(name))


@pytest.mark.parametrize(("n", "k", "blocks"), [(24, 24, 4), (24, 48, 4), (48, 24, 4), (10, 13, 3)])
def test_monarch_is_two_block_diagonal_matrices(n: int, k: int, blocks: int) -> None:
    """Blocks fit one another: k inputs give n outputs, with the weights that kept() counts."""
    first, second = Sparsity.parse(f"monarch:{blocks}").factors(n, k)
    assert (first.count, second.count, first.rows) == (blocks, blocks, second.cols)
    assert blocks * (first.cols - 1) < k <= blocks * first.cols and blocks * (second.rows - 1) < n
    rng = np.random.default_rng(0)
    right, left = (rng.random((each.count, each.rows, each.cols)) for each in (first, second))
    x = np.zeros(blocks * first.cols)
    x[:k] = rng.random(k)
    mixed = np.einsum("bij,bj->bi", right, x.reshape(blocks, -1)).reshape(blocks, -1)
    shuffled = mixed.T.reshape(blocks, -1)
    y = np.einsum("bij,bj->bi", left, shuffled).reshape(-1)
    assert y.size >= n and right.size + left.size == Sparsity.parse(f"monarch:{blocks}").kept(n, k)


def test_published_sizes() -> None:
    """Monarch of n x n with sqrt(n) blocks has 2 n sqrt(n) weights, a butterfly 2 n log2 n, low rank r (n + k)."""
    assert Sparsity.parse("monarch:64").kept(4096, 4096) == 2 * 4096 * 64
    assert Sparsity.parse("butterfly").kept(1024, 1024) == 2 * 1024 * 10
    assert Sparsity.parse("butterfly").kept(4096, 1000) == 4 * 2 * 1024 * 10
    assert Sparsity.parse("lowrank16").kept(4096, 1024) == 16 * (4096 + 1024)
    assert Sparsity.parse("lowrank16+2:4").kept(4096, 1024) == 16 * (4096 + 1024) + 4096 * 512


def test_bytes_are_those_of_the_factors() -> None:
    assert linear("monarch:64").weight_bytes == 2 * linear("monarch:64").useful_macs // 8
    both = 2 * 16 * 8192 + -(-Sparsity.parse("2:4").stored_bits(4096, 4096, 16, "bitmap") // 8)
    assert linear("lowrank16+2:4", "bitmap").weight_bytes == both
    assert linear("monarch:64", "dense").weight_bytes == linear("dense").weight_bytes
    assert linear("monarch:64").dense_macs == linear("dense").dense_macs
    with pytest.raises(SpecError, match="the factors of monarch:64 weights have no zeros; expected usual or dense"):
        _ = linear("monarch:64", "csr").weight_bytes


@pytest.mark.parametrize("part", [GPU, "cpu/h100-host", "accel/systolic-ws-32x32", "pim/bank-pim", "accel/sigma"])
def test_devices_multiply_factor_by_factor(part: str) -> None:
    """Low rank is two dense layers, Monarch two batches of products; multiplied out, a weight is a dense one."""
    model = device(part)
    low = ops.linear(8, 64, 4096), ops.linear(8, 4096, 64)
    wanted = {
        "lowrank64": low,
        "lowrank64+2:4": (*low, linear("2:4")),
        "monarch:32": (ops.matmul(32, 8, 128, 128), ops.matmul(32, 8, 128, 128)),
    }
    for text, parts in wanted.items():
        (found,), alone = model.costs([linear(text)]), model.costs(parts)
        assert found.latency_s == pytest.approx(sum(each.latency_s for each in alone), rel=1e-12)
        assert found.counts == type(found.counts).total([each.counts for each in alone])
        assert found.validated is None
        assert model.costs([linear(text, "dense")])[0].latency_s == model.costs([linear("dense")])[0].latency_s


def test_notes_say_what_runs_dense() -> None:
    model = device(GPU)
    assert model.notes(linear("monarch:64")) == ()
    assert not any("as dense ones" in note for note in model.notes(linear("lowrank16+2:4")))
    dense = ("unstructured:0.1 weights are multiplied as dense ones",)
    assert model.notes(linear("lowrank16+unstructured:0.1")) == dense
    conv = ops.conv2d(1, 64, 64, 8, 8, 3, 3, padding=1, weight_sparsity="monarch:4")
    assert model.notes(conv) == ("monarch:4 weights are multiplied as dense ones",)
    (one,), (other,) = model.costs([conv]), model.costs([conv.with_(weight_sparsity=Sparsity.parse("dense"))])
    assert one == other


def test_a_cycle_core_takes_no_mask_of_a_product() -> None:
    for part in ("accel/systolic-ws-32x32", "accel/sigma"):
        with pytest.raises(MappingError, match="monarch:4 weights are several products"):
            device(part).cycles(linear("monarch:4", m=8, n=64, k=64))


def test_a_budget_of_power_sees_the_factors() -> None:
    model, op = device(GPU), linear("lowrank512", m=4096)
    parts = tuple(ops.linear(4096, *shape) for shape in ((512, 4096), (4096, 512)))
    assert model.op_burst_gain([op])[0] == pytest.approx(model.burst_gain(parts).sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "held_dense"),
    [("monarch:64", False), ("butterfly", False), ("lowrank16+2:4", False), ("nmg:2:4:16", False),
     ("bank16:0.25", True), ("block32:0.1", True)],
)  # fmt: skip
def test_patterns_run_from_yaml(text: str, held_dense: bool, tmp_path: Path) -> None:
    """Patterns that the GPU multiplies as dense lie in its memory as dense, zeros included; all others take less."""
    result, dense = (_run(tmp_path, each, "systems/h100-pcie5") for each in (text, "dense"))
    assert result.latency_s > 0 and {op.weight_sparsity for op in result.ops} == {text, "dense"}
    taken, whole = (each.memory["gpu0"]["weights"] for each in (result, dense))
    assert taken == whole if held_dense else taken < whole
    assert (f"{text} weights are multiplied as dense ones" in " ".join(result.notes)) == held_dense


def test_grouped_weights_run_on_the_engine_made_for_them(tmp_path: Path) -> None:
    """Weights of its own n:m:g take one walk of the counter over each tile, any other 2:4 take more."""
    own, other = (_run(tmp_path, text, "systems/nmg-counter") for text in ("nmg:2:4:16", "2:4"))
    assert own.notes == () and own.latency_s < other.latency_s
    named = _run(tmp_path, "nmg:2:4:16", "systems/nmg-counter", "weight_format: nmg\n")
    assert named.latency_s == own.latency_s


def _run(folder: Path, sparsity: str, system: str, more: str = "") -> Result:
    builder = TraceBuilder("t").add(ops.linear(8, 1536, 1024, "int8" if "nmg" in system else "bf16", name="up"))
    builder.add(ops.linear(8, 64, 1536, "int8" if "nmg" in system else "bf16", name="lm_head")).build().save(
        folder / "t.trace"
    )
    path = folder / "run.yaml"
    path.write_text(
        f"name: t\nworkload: {{trace: t.trace}}\nsystem: {system}\nlevel: 0\nweight_sparsity: '{sparsity}'\n{more}"
    )
    return simulate_point(check_experiment(*load_experiment(str(path))))
