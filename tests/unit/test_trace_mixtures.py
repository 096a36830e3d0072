# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts that a model writes by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import simsparse as ss
from simsparse.core import OpKind
from simsparse.trace import trace_model


class Gathered(nn.Module):
    """Copies the matrices of the experts that each token chose, and multiplies them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 8)
        self.up, self.down = nn.Parameter(torch.randn(8, 16, 32)), nn.Parameter(torch.randn(8, 32, 16))

    def forward(self, x: Any) -> Any:
        share, chosen = self.gate(x).softmax(-1).topk(2, -1)
        hidden = functional.gelu(torch.einsum("td,tkdh->tkh", x, self.up[chosen]))
        return torch.einsum("tkh,tkhd,tk->td", hidden, self.down[chosen], share)


def test_experts_whose_matrices_are_copied_for_each_token_are_named() -> None:
    assert trace_model(Gathered(), torch.randn(6, 16)).meta["gathered_experts"] == ["down", "up"]


class Batched(nn.Module):
    """Every expert on every token, as two or three batched products."""

    def __init__(self, gate: str, experts: int = 4, width: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.gate = gate
        self.up = nn.Parameter(torch.randn(experts, width, 2 * hidden if gate == "joined" else hidden))
        if gate == "apart":
            self.side = nn.Parameter(torch.randn(experts, width, hidden))
        self.down = nn.Parameter(torch.randn(experts, hidden, width))

    def forward(self, x: Any) -> Any:
        rows = x.repeat(self.up.shape[0], 1, 1)
        hidden = torch.bmm(rows, self.up)
        if self.gate == "joined":
            gate, hidden = hidden.chunk(2, dim=-1)
            hidden = functional.silu(gate) * hidden
        elif self.gate == "apart":
            hidden = functional.silu(torch.bmm(rows, self.side)) * hidden
        else:
            hidden = functional.relu(hidden)
        return torch.bmm(hidden, self.down).sum(0)


class Loop(nn.Module):
    def __init__(self, experts: int = 8, width: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.gate = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden, bias=False), nn.SiLU(), nn.Linear(hidden, width, bias=False))
            for _ in range(experts)
        )

    def forward(self, x: Any) -> Any:
        share, chosen = torch.topk(torch.softmax(self.gate(x), -1), 2)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            token, place = torch.where(chosen == i)
            out.index_add_(0, token, expert(x[token]) * share[token, place, None])
        return out


@pytest.mark.parametrize("gate", ["none", "joined", "apart"])
def test_experts_as_batched_products_are_one_op(gate: str) -> None:
    model = Batched(gate)
    trace = trace_model(nn.ModuleDict({"experts": model})["experts"], torch.randn(10, 64))
    (op,) = [op for op in trace.ops if op.kind == OpKind.MOE_FFN]
    ups = 1 if gate == "none" else 2
    assert op.dims == {"tokens": 40, "d_model": 64, "d_ff": 128, "experts": 4, "top_k": 1, "gated": ups - 1}
    assert op.flops == 2 * 40 * 64 * 128 * (ups + 1)
    assert op.resident_bytes == 4 * sum(parameter.numel() for parameter in model.parameters())
    assert not [op for op in trace.ops if op.kind in (OpKind.LINEAR, OpKind.MATMUL)]


def test_such_experts_take_a_pattern_and_move_with_offloading() -> None:
    trace = trace_model(Batched("joined").to(torch.bfloat16), torch.randn(10, 64, dtype=torch.bfloat16))
    pruned = trace.with_weight_sparsity("2:4")
    assert {str(op.weight_sparsity) for op in pruned.ops if op.kind == OpKind.MOE_FFN} == {"2:4"}
    run = ss.simulate(trace, ss.load_system("systems/h100-pcie5"), "on_demand")
    assert sum(count for (part, _), count in run.counts.items() if part.startswith("pcie")) > 0


def test_a_hidden_value_that_is_used_elsewhere_keeps_the_products_apart() -> None:
    class Shown(Batched):
        def forward(self, x: Any) -> Any:
            hidden = functional.relu(torch.bmm(x.repeat(4, 1, 1), self.up))
            return torch.bmm(hidden, self.down).sum(0), hidden

    trace = trace_model(Shown("none"), torch.randn(10, 64))
    assert [op.kind for op in trace.ops if op.kind in (OpKind.LINEAR, OpKind.MOE_FFN)] == [OpKind.LINEAR] * 2


LOOPS = ("index_add", "mask", "sorted", "token", "dense", "stacked", "two lists", "shares inside", "named")


class Expert(nn.Module):
    def __init__(self, width: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.up, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Any, share: Any = 1.0) -> Any:
        return self.down(functional.silu(self.gate(x)) * self.up(x) * share)


class Looped(nn.Module):
    """Eight experts, of which each token takes two, in loops as models write them."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.router = form, nn.Linear(64, 8, bias=False)
        if form == "stacked":
            self.up, self.gate = (nn.Parameter(torch.randn(8, 128, 64)) for _ in range(2))
            self.down = nn.Parameter(torch.randn(8, 64, 128))
        elif form == "two lists":
            self.up, self.gate = (nn.ModuleList(nn.Linear(64, 128) for _ in range(8)) for _ in range(2))
            self.down = nn.ModuleList(nn.Linear(128, 64) for _ in range(8))
        elif form == "named":
            self.experts = nn.ModuleDict({f"expert_{i}": Expert() for i in range(8)})
        else:
            self.experts = nn.ModuleList(Expert() for _ in range(8))

    def expert(self, i: int, x: Any, share: Any = 1.0) -> Any:
        if self.form == "stacked":
            return functional.linear(
                functional.silu(functional.linear(x, self.gate[i])) * functional.linear(x, self.up[i]), self.down[i]
            )
        if self.form == "two lists":
            return self.down[i](functional.silu(self.gate[i](x)) * self.up[i](x))
        return (self.experts[f"expert_{i}"] if self.form == "named" else self.experts[i])(x, share)

    def forward(self, x: Any) -> Any:
        share, chosen = torch.topk(torch.softmax(self.router(x), -1), 2)
        if self.form == "token":
            rows = [sum(self.expert(int(chosen[t, j]), x[t : t + 1]) * share[t, j] for j in range(2))
                    for t in range(len(x))]  # fmt: skip
            return torch.cat(rows)
        if self.form == "dense":
            shares = torch.zeros(len(x), 8).scatter(-1, chosen, share)
            return sum(self.expert(i, x) * shares[:, i : i + 1] for i in range(8))
        if self.form == "sorted":
            order = chosen.flatten().argsort()
            rows = x[order // 2].split(chosen.flatten().bincount(minlength=8).tolist())
            made = torch.cat([self.expert(i, part) for i, part in enumerate(rows) if len(part)])
            return (torch.empty_like(made).index_copy(0, order, made).view(-1, 2, 64) * share[..., None]).sum(1)
        return self._one_by_one(x, share, chosen)

    def _one_by_one(self, x: Any, share: Any, chosen: Any) -> Any:
        out = torch.zeros_like(x)
        for i in range(8):
            token, place = torch.where(chosen == i)
            if not len(token):
                continue
            if self.form == "mask":
                hit = (chosen == i).any(-1)
                out[hit] += self.expert(i, x[hit]) * share[token, place, None]
            elif self.form == "shares inside":
                out.index_add_(0, token, self.expert(i, x[token], share[token, place, None]))
            else:
                out.index_add_(0, token, self.expert(i, x[token]) * share[token, place, None])
        return out


def own_bytes(model: nn.Module) -> int:
    return 4 * sum(parameter.numel() for name, parameter in model.named_parameters() if "router" not in name)


@pytest.mark.parametrize("form", LOOPS)
def test_experts_in_a_loop_are_one_op(form: str) -> None:
    torch.manual_seed(0)
    model = Looped(form)
    trace = trace_model(model, torch.randn(10, 64))
    (op,) = [op for op in trace.ops if op.kind == OpKind.MOE_FFN]
    top_k = 8 if form == "dense" else 2
    assert op.dims == {"tokens": 10, "d_model": 64, "d_ff": 128, "experts": 8, "top_k": top_k, "gated": 1}
    assert op.resident_bytes == own_bytes(model) and op.bias is (form != "stacked")
    assert [op.name for op in trace.ops if op.kind in (OpKind.LINEAR, OpKind.MATMUL)] == ["router"]
    assert "looped_experts" not in trace.meta and trace.meta["other_ops"] == 0
    assert ss.simulate(trace, ss.load_system("systems/h100-pcie5"), "on_demand").latency_s > 0


@pytest.mark.parametrize("form", LOOPS)
def test_a_training_step_of_looped_experts_is_three_ops(form: str) -> None:
    torch.manual_seed(0)
    trace = trace_model(Looped(form), torch.randn(10, 64), "train")
    assert [op.label for op in trace.ops if op.kind == OpKind.MOE_FFN] == ["fwd", "bwd_input", "bwd_weight"]
    assert not [op for op in trace.ops if op.kind in (OpKind.LINEAR, OpKind.MATMUL) and "router" not in op.name]


def test_a_training_step_of_batched_experts_is_three_ops() -> None:
    trace = trace_model(Batched("joined"), torch.randn(10, 64), "train")
    assert [op.label for op in trace.ops if op.kind == OpKind.MOE_FFN] == ["fwd", "bwd_input", "bwd_weight"]


@pytest.mark.parametrize("joined", [True, False])
def test_biases_of_batched_experts_are_theirs(joined: bool) -> None:
    class Biased(Batched):
        def __init__(self) -> None:
            super().__init__("none")
            self.up_bias, self.down_bias = nn.Parameter(torch.randn(4, 1, 128)), nn.Parameter(torch.randn(4, 1, 64))

        def forward(self, x: Any) -> Any:
            rows = x.repeat(4, 1, 1)
            if joined:
                hidden = functional.relu(torch.baddbmm(self.up_bias, rows, self.up))
                return torch.baddbmm(self.down_bias, hidden, self.down).sum(0)
            return (
                torch.bmm(functional.relu(torch.bmm(rows, self.up) + self.up_bias), self.down) + self.down_bias
            ).sum(0)

    model = Biased()
    (op,) = [op for op in trace_model(model, torch.randn(10, 64)).ops if op.kind == OpKind.MOE_FFN]
    assert op.bias and op.resident_bytes == own_bytes(model)


def test_the_routing_of_a_loop_is_the_one_asked_for_or_what_the_router_chose() -> None:
    torch.manual_seed(0)
    model, x = Looped("index_add"), torch.randn(10, 64)

    def routing(**wanted: Any) -> Any:
        return next(op.routing for op in trace_model(model, x, **wanted).ops if op.kind == OpKind.MOE_FFN)

    chosen = model.router(x).topk(2)[1].flatten().bincount(minlength=8).tolist()
    assert list(routing(routing="model").counts) == chosen
    assert routing(weights="trained").origin == "recorded"
    assert routing(routing="zipf:1.5").origin == "generated:zipf:1.5" and sum(routing(routing="zipf:1.5").counts) == 20


@pytest.mark.parametrize("shape", [(1, 64), (9, 64), (2, 7, 64)])
def test_a_loop_keeps_the_experts_of_each_token(shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Loop(), torch.randn(shape)
    flat = x.reshape(-1, 64)
    trace = trace_model(model, flat, routing="model")
    (layer,) = [op for op in trace.ops if op.kind == OpKind.MOE_FFN]
    assert layer.routing is not None
    chosen = model.gate(flat).topk(2)[1].tolist()
    assert [sorted(row) for row in layer.routing.ids] == [sorted(row) for row in chosen]
    assert ss.load_trace(trace.save(tmp_path / "t.trace")).ops == trace.ops


def test_only_experts_that_get_tokens_are_read() -> None:
    torch.manual_seed(0)
    (op,) = [op for op in trace_model(Loop(), torch.randn(1, 64)).ops if op.kind == OpKind.MOE_FFN]
    assert op.resident_bytes == 4 * op.weight_bytes == 8 * 2 * 4 * 64 * 128


def test_experts_of_three_layers_stay_as_they_are_and_are_noted() -> None:
    class Deep(Loop):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(
                nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 96), nn.ReLU(), nn.Linear(96, 64))
                for _ in range(8)
            )

    torch.manual_seed(0)
    trace = trace_model(Deep(), torch.randn(4, 64))
    assert trace.meta["looped_experts"] == ["experts"] and not [op for op in trace.ops if op.kind == OpKind.MOE_FFN]


def test_a_shared_expert_beside_a_mixture_is_a_feed_forward_network() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(
                nn.ModuleDict({"norm": nn.LayerNorm(64), "routed": Looped("index_add"), "shared": Expert()})
                for _ in range(3)
            )

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                inner = layer["norm"](x)
                x = x + layer["routed"](inner) + layer["shared"](inner)
            return x

    torch.manual_seed(0)
    for tokens in (1, 6):
        trace = trace_model(Layers(), torch.randn(tokens, 64))
        experts = [op.name for op in trace.ops if op.kind == OpKind.MOE_FFN]
        assert experts == [f"layers.{i}.routed.experts" for i in range(3)]
        assert len([op for op in trace.ops if op.kind == OpKind.LINEAR and "shared" in op.name]) == 9


def test_the_gate_of_a_feed_forward_network_is_no_router() -> None:
    trace = trace_model(Expert(), torch.randn(4, 64))
    assert [op.label for op in trace.ops if op.kind == OpKind.LINEAR] == ["", "", ""]
    pruned = trace.with_weight_sparsity("2:4")
    assert {str(op.weight_sparsity) for op in pruned.ops if op.kind == OpKind.LINEAR} == {"2:4"}


def test_layers_in_a_list_are_no_experts() -> None:
    layer = [nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16)) for _ in range(3)]
    assert "looped_experts" not in trace_model(nn.Sequential(*layer), torch.randn(4, 16)).meta
