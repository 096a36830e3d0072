# SPDX-License-Identifier: Apache-2.0
"""Models that the tool has never seen: they are traced, or a typed error says where, what and what to do."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from twins import counted, flops_of, ops_of  # noqa: E402

from simsparse.core import OpKind  # noqa: E402
from simsparse.errors import TraceError  # noqa: E402
from simsparse.trace import trace_model  # noqa: E402

pytestmark = pytest.mark.torch


class EarlyExit(nn.Module):
    """Leaves early when the mean of the first layer says so."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        x = self.first(x).relu()
        if x.mean() > self.threshold:
            return self.head(x)
        return self.head(self.second(x))


@pytest.mark.parametrize(("threshold", "layers"), [(-1.0, ["first", "head"]), (99.0, ["first", "second", "head"])])
def test_control_flow_on_values_is_followed_on_real_data(threshold: float, layers: list[str]) -> None:
    trace = trace_model(EarlyExit(threshold), torch.randn(2, 8))
    assert [op.name for op in ops_of(trace, OpKind.LINEAR)] == layers
    assert trace.meta["other_ops"] == 0


class Selecting(nn.Module):
    """Keeps as many rows as its values say."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(8, 1)

    def forward(self, x: Any) -> Any:
        return x[self.score(x).squeeze(-1) > 0]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (EarlyExit(0.0), "EarlyExit: the model can't run: RuntimeError at aten._local_scalar_dense in EarlyExit: "),
        (nn.Sequential(nn.Linear(8, 8), Selecting()), "1: the model can't run: NotImplementedError at aten.index in 1"),
    ],
)
def test_control_flow_on_values_without_any_is_an_error_that_says_what_to_do(model: Any, says: str) -> None:
    with pytest.raises(TraceError) as error:
        trace_model(model.to("meta"), torch.empty(2, 8, device="meta"))
    assert says in str(error.value)
    assert str(error.value).endswith("depends on values, which the meta device has not: trace it on the CPU")


def test_an_error_of_the_model_names_module_and_operation() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.ReLU(), nn.Linear(4, 4)))
    with pytest.raises(TraceError, match=r"^1\.1: the model can't run: RuntimeError at aten\.addmm in 1\.1 \(Linear\)"):
        trace_model(model, torch.randn(2, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_module_is_an_error_that_says_what_to_do() -> None:
    scripted = torch.jit.trace(nn.Linear(8, 8), torch.randn(2, 8))
    with pytest.raises(TraceError, match="trace the module it was made from"):
        trace_model(nn.Sequential(nn.ReLU(), scripted), torch.randn(2, 8))


def test_shared_weights_have_one_name() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.layer = nn.Embedding(10, 8), nn.Linear(8, 8)
            self.head = nn.Linear(8, 10, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: Any) -> Any:
            return self.head(self.layer(self.layer(self.embed(ids))))

    trace = trace_model(Shared(), torch.tensor([[1, 2, 3]]))
    assert [(op.name, op.weight) for op in trace.ops] == [
        ("embed", "embed.weight"), ("layer", "layer.weight"), ("layer.1", "layer.weight"), ("head", "embed.weight"),
    ]  # fmt: skip
    assert trace.meta["parameters"] == 10 * 8 + 8 * 8 + 8


def test_a_custom_autograd_function_is_recorded() -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any) -> Any:
            ctx.save_for_backward(weight)
            return torch.tanh(x @ weight) * 2

        @staticmethod
        def backward(ctx: Any, upstream: Any) -> Any:
            raise NotImplementedError(ctx, upstream)

    class Custom(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 4))

        def forward(self, x: Any) -> Any:
            return Twice.apply(x, self.weight)

    trace = trace_model(Custom(), torch.randn(3, 8))
    assert [(op.kind, op.label, op.weight) for op in trace.ops] == [
        (OpKind.LINEAR, "", "weight"), (OpKind.ELEMENTWISE, "tanh_mul", None),
    ]  # fmt: skip


def test_a_foreign_operation_is_kept_with_its_bytes_and_counted() -> None:
    @torch.library.custom_op("simsparse_test::foreign", mutates_args=())
    def foreign(x: torch.Tensor) -> torch.Tensor:
        return x.flip(0)

    class Foreign(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 2, bias=False)

        def forward(self, x: Any) -> Any:
            return self.head(foreign(x).abs())

    trace = trace_model(Foreign(), torch.randn(8, 8))
    other = ops_of(trace, OpKind.OTHER)
    assert [(op.label, op.dims["read_bytes"], op.dims["write_bytes"]) for op in other] == [("foreign", 256, 256)]
    assert trace.meta["other_ops"] == 1
    assert trace.meta["other_share"] == pytest.approx(512 / sum(op.min_bytes for op in trace.ops), abs=1e-6)


def test_a_spectrum_counts_the_operations_of_a_fast_transform() -> None:
    class Spectrum(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.fft.rfft(x)

    (op,) = trace_model(Spectrum(), torch.randn(4, 16)).ops
    assert (op.kind, op.dims["read_bytes"], op.dims["write_bytes"]) == (OpKind.ELEMENTWISE, 256, 4 * 9 * 8)
    assert op.flops == 2.5 * 4 * 16 * 4


def test_a_pass_in_inference_mode_is_the_same_pass() -> None:
    class Inference(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 4)

        @torch.inference_mode()
        def forward(self, x: Any) -> Any:
            return self.layer(x)

    (op,) = trace_model(Inference(), torch.randn(3, 8)).ops
    assert (op.kind, op.bias, op.weight) == (OpKind.LINEAR, True, "layer.weight")


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (nn.LSTM, {}),
        (nn.LSTM, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
        (nn.LSTM, {"proj_size": 4}),
        (nn.GRU, {"bias": False}),
        (nn.RNN, {"nonlinearity": "relu"}),
    ],
)
def test_the_products_of_recurrent_layers_match_the_flop_counter(
    kind: Any, options: dict[str, Any], device: str
) -> None:
    model, x = kind(8, 16, **options).to(device), torch.randn(5, 3, 8, device=device)
    trace = trace_model(model, x)
    bare = kind(8, 16, **options).to("meta")
    with torch.no_grad():
        assert flops_of(trace, OpKind.LINEAR) == counted(lambda: bare(x.to("meta")))
    assert trace.meta["other_ops"] == 0
    biases = sum(value.numel() for name, value in model.named_parameters() if "bias" in name)
    steps = 3 if options.get("batch_first") else 5
    recurrent = sum(value.numel() for name, value in model.named_parameters() if "hh" in name or "hr" in name)
    once = sum(value.numel() for name, value in model.named_parameters() if "ih" in name)
    assert trace.weight_bytes == 4 * (once + steps * recurrent)
    assert biases == 0 or any(op.bias for op in trace.ops)


def test_a_packed_batch_of_an_lstm_shrinks_with_its_sequences() -> None:
    packed = nn.utils.rnn.pack_sequence([torch.randn(length, 8) for length in (5, 3, 2)])
    trace = trace_model(nn.LSTM(8, 16), [packed])
    recurrent = [op for op in ops_of(trace, OpKind.LINEAR) if "recurrent" in op.name]
    assert [op.dims["m"] for op in recurrent] == [3, 3, 2, 1, 1]
    assert next(op for op in trace.ops if op.name == "l0.input").dims["m"] == 10


def test_a_step_of_a_recurrent_layer_waits_for_the_one_before() -> None:
    trace = trace_model(nn.Sequential(nn.LSTM(8, 16)), torch.randn(3, 2, 8))
    deps = {op.name: set(op.deps) for op in trace.ops}
    assert deps["0.l0.recurrent.1"] == {"0.l0.cell"}
    assert deps["0.l0.cell.1"] == {"0.l0.input", "0.l0.recurrent.1"}


def test_a_weight_keeps_its_name_through_a_cast() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.layer(x)

    trace = trace_model(Mixed(), torch.randn(4, 8))
    assert [(op.weight, str(op.dtype)) for op in ops_of(trace, OpKind.LINEAR)] == [("layer.weight", "bf16")]


def test_a_bias_counts_wherever_torch_adds_it() -> None:
    layer = nn.Linear(16, 4)
    for x in (torch.randn(2, 16), torch.randn(2, 3, 16), torch.randn(3, 2, 16).transpose(0, 1), torch.randn(16)):
        trace = trace_model(layer, x)
        (op,) = ops_of(trace, OpKind.LINEAR)
        assert op.weight_bytes == 4 * (16 * 4 + 4), x.shape
    (convolution,) = trace_model(nn.Conv2d(3, 8, 3), torch.randn(1, 3, 9, 9)).ops
    assert convolution.weight_bytes == 4 * (8 * 27 + 8)


@pytest.mark.parametrize("phase", ["forward", "train"])
def test_nothing_of_a_pass_is_alive_after_it(phase: Any) -> None:
    seen: list[Any] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            for _ in range(3):
                x = torch.tanh(self.layer(x))
                seen.append(weakref.ref(x.untyped_storage()))
            return x

    trace = trace_model(Watched(), torch.randn(4, 8), phase)
    gc.collect()
    assert len(seen) == 3
    assert all(reference() is None for reference in seen)
    assert trace.ops


def test_the_storage_of_a_dead_tensor_is_freed_while_the_pass_goes_on() -> None:
    class Long(nn.Module):
        alive = 0

        def forward(self, x: Any) -> Any:
            references = []
            for _ in range(20):
                x = torch.sigmoid(x)
                references.append(weakref.ref(x.untyped_storage()))
                self.alive = max(self.alive, sum(reference() is not None for reference in references))
            return x

    model = Long()
    trace_model(model, torch.zeros(10))
    assert model.alive <= 2
