# SPDX-License-Identifier: Apache-2.0
"""Sparsity of real weights and inputs in traces: where it is consumed, padding apart."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from simsparse.core import DENSE, OpKind  # noqa: E402
from simsparse.models import prune_nm  # noqa: E402
from simsparse.trace import load_trace, trace_model  # noqa: E402
from simsparse.trace.masks import MaskStore, load_masks, save_with_masks  # noqa: E402
from simsparse.trace.statistics.sparsity_stats import WidthWindow, input_facts, weight_rows  # noqa: E402

pytestmark = pytest.mark.torch


def real_share(x: Any, pads: Any, window: WidthWindow) -> float:
    """Products that meet no padding, by convolving ones with ones."""
    real = functional.pad(torch.ones(1, 1, *(size for size in x.shape[2:])), [-pad for pad in pads])
    ones = torch.ones(1, 1, *window.kernel)
    met = functional.conv2d(functional.pad(real, pads), ones, None, window.stride, window.padding, window.dilation)
    return float(met.sum() / (met.numel() * ones.numel()))


@pytest.mark.parametrize(
    ("pads", "window"),
    [
        ((), WidthWindow((3, 3), (1, 1), (1, 1), (1, 1))),
        ((1, 2, 0, 3), WidthWindow((3, 5), (2, 1), (0, 0), (1, 1))),
        ((2, 2, 1, 1), WidthWindow((3, 3), (1, 2), (2, 1), (2, 2))),
    ],
)
def test_padding_is_counted_apart_from_zeros(pads: Any, window: WidthWindow) -> None:
    torch.manual_seed(0)
    inner = torch.relu(torch.randn(2, 5, 12, 11))
    x = functional.pad(inner, pads)
    facts = input_facts(x, pads, window)
    assert facts["input_density"] == pytest.approx(float((inner != 0).float().mean()), abs=1e-4)
    read = 10 * (x.shape[2] + 2 * window.padding[0]) * (x.shape[3] + 2 * window.padding[1])
    assert facts["padding"] == pytest.approx(1 - inner.numel() / read, abs=1e-4)
    assert facts["padding_macs"] == pytest.approx(1 - real_share(x, pads, window), abs=1e-4)
    by_channel = (inner != 0).float().mean(dim=(0, 2, 3))
    assert facts["input"]["columns"][0] == pytest.approx(float(by_channel.min()), abs=1e-4)


class Padded(nn.Module):
    """ReLU, batch norm that turns its zeros into a constant, padding: the next layer sees zeros of padding only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3)

    def forward(self, x: Any) -> Any:
        return self.second(functional.pad(self.norm(functional.relu(self.first(x))), (1, 1, 1, 1)))


def test_zeros_of_an_explicit_pad_are_padding_at_the_consumer() -> None:
    torch.manual_seed(0)
    model = Padded().eval()
    with torch.no_grad():
        model.norm.bias.fill_(0.3)
    second = next(op for op in trace_model(model, torch.randn(2, 3, 10, 10)).ops if op.name == "second")
    assert second.stats["input_density"] == 1.0
    assert second.stats["padding"] == pytest.approx(1 - 64 / 100, abs=1e-4)
    assert "input" not in second.stats


def test_zeros_that_relu_leaves_are_not_padding() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ZeroPad2d(1), nn.Conv2d(8, 4, 3))
    x = torch.randn(2, 3, 10, 10)
    with torch.no_grad():
        expected = float((model[1](model[0](x)) != 0).float().mean())
    stats = next(op for op in trace_model(model, x).ops if op.name == "3").stats
    assert stats["input_density"] == pytest.approx(expected, abs=1e-4)
    assert stats["padding"] == pytest.approx(0.36, abs=1e-4)


def test_padding_with_another_value_is_no_padding_with_zeros() -> None:
    model = nn.Sequential(nn.ConstantPad2d(1, 2.0), nn.Conv2d(3, 4, 3))
    stats = next(op for op in trace_model(model, torch.ones(1, 3, 8, 8)).ops if op.kind == OpKind.CONV2D).stats
    assert "padding" not in stats
    assert stats["input_density"] == 1.0


def test_what_is_written_over_a_padded_tensor_is_no_padding() -> None:
    class Overwritten(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x: Any) -> Any:
            return self.conv(functional.pad(x, (1, 1, 1, 1)).add_(1.0))

    stats = next(op for op in trace_model(Overwritten(), torch.ones(1, 1, 6, 6)).ops if op.name == "conv").stats
    assert (stats["input_density"], stats.get("padding")) == (1.0, None)


def test_masks_are_those_of_the_tensors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 12))
    prune_nm(model, 2, 4)
    x = torch.relu(torch.randn(3, 4, 6, 6))
    store = MaskStore()
    path = save_with_masks(trace_model(model, x, masks=store), store, tmp_path / "x.trace")
    trace = load_trace(path)
    masks = load_masks(trace, tmp_path)
    conv, linear = (next(op for op in trace.ops if op.kind == kind) for kind in (OpKind.CONV2D, OpKind.LINEAR))
    with torch.no_grad():
        hidden = model[:3](x)
    for op, layer, given in ((conv, model[0], x.movedim(1, -1).reshape(-1, 4)), (linear, model[3], hidden)):
        assert np.array_equal(masks.weight(op), (weight_rows(layer.weight.detach()) != 0).numpy())
        assert np.array_equal(masks.input(op), (given != 0).numpy())


def test_masks_of_a_trace_drive_the_cycle_core(tmp_path: Path) -> None:
    from simsparse import cycles

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32, bias=False)).half()
    prune_nm(model, 2, 4)
    store = MaskStore()
    trace = trace_model(model, torch.randn(16, 64).half(), masks=store)
    save_with_masks(trace, store, tmp_path / "x.trace")
    mask = load_masks(load_trace(tmp_path / "x.trace"), tmp_path).weight(trace.ops[0])
    assert mask is not None
    sparse = cycles(trace.ops[0], "accel/systolic-ws-32x32-2to4", mask)
    dense = cycles(trace.ops[0].with_(weight_sparsity=DENSE), "accel/systolic-ws-32x32-dense", np.ones_like(mask))
    assert 0 < sparse.cycles < dense.cycles


def test_masks_keep_no_tensor_alive() -> None:
    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 64)

        def forward(self, x: Any) -> Any:
            y = functional.relu(x)
            self.seen = weakref.ref(y.untyped_storage())
            out = self.layer(functional.pad(y, (0, 0)))
            del y
            return out

    model = Watch()
    trace_model(model, torch.randn(8, 64), masks=MaskStore())
    gc.collect()
    assert model.seen() is None


def test_an_untouched_operand_says_only_that() -> None:
    torch.manual_seed(0)
    (op,) = trace_model(nn.Linear(32, 16), torch.randn(4, 32)).ops
    assert op.stats == {"density": 1.0, "nm": [], "input_density": 1.0}


def test_both_projections_of_experts_and_their_input_are_measured() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        "mixtral", hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, vocab_size=64, num_local_experts=4,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    experts = model.model.layers[0].mlp.experts
    with torch.no_grad():
        experts.down_proj.mul_(torch.tensor([1.0, 0.0, 1.0, 0.0]).repeat(12))
    ids = torch.randint(0, 64, (1, 8), generator=torch.Generator().manual_seed(0))
    for pattern, up in (("dense", 1.0), ("2:4", 0.5)):
        op = next(o for o in trace_model(model, {"input_ids": ids}, "prefill").ops if o.kind == OpKind.MOE_FFN)
        assert (op.stats["density"], op.stats["up"]["density"], op.stats["input_density"]) == (0.5, up, 1.0)
        assert str(op.weight_sparsity) == pattern
        with torch.no_grad():
            experts.gate_up_proj.mul_(torch.tensor([0.0, 1.0, 1.0, 0.0]).repeat(8))


def test_an_input_that_several_layers_read_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from simsparse.trace.capture import recorder as capture

    measured: list[int] = []
    real = capture.input_facts
    monkeypatch.setattr(capture, "input_facts", lambda *given: measured.append(1) or real(*given))

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

        def forward(self, x: Any) -> Any:
            first, second = self.layers[0](x), self.layers[1](x)
            return self.layers[2](x.mul_(0)) + first + second

    ops = [op for op in trace_model(Shared(), torch.randn(4, 16)).ops if op.kind == OpKind.LINEAR]
    assert len(measured) == 2
    assert [op.stats["input_density"] for op in ops] == [1.0, 1.0, 0.0]
