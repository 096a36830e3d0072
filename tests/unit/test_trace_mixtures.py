# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts that a model writes by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import simsparse as ss
from simsparse.core import OpKind
from simsparse.trace import trace_model


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


def test_a_loop_over_experts_is_noted_and_experts_without_tokens_read_nothing() -> None:
    torch.manual_seed(0)
    trace = trace_model(Loop(), torch.randn(1, 64))
    assert trace.meta["looped_experts"] == ["experts"]
    layers = [op for op in trace.ops if op.kind == OpKind.LINEAR and op.name.startswith("experts")]
    assert len(layers) == 4 and {op.weight_bytes for op in layers} == {4 * 64 * 128}
    assert trace.meta["other_ops"] == 0


def test_layers_in_a_list_are_no_experts() -> None:
    layer = [nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16)) for _ in range(3)]
    assert "looped_experts" not in trace_model(nn.Sequential(*layer), torch.randn(4, 16)).meta
