# SPDX-License-Identifier: Apache-2.0
"""Weights that are tensors of a class of their own, as quantisation libraries have them, take the memory of what holds
them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import simsparse as ss
from simsparse.core import OpKind
from simsparse.trace import trace_model

N, K, GROUP = 32, 64, 16


class Quantised(torch.Tensor):  # type: ignore[misc]
    """Codes with a scale per group; products dequantise."""

    @staticmethod
    def __new__(cls, codes: Any, scales: Any, shape: Any) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=scales.dtype, device=codes.device)

    def __init__(self, codes: Any, scales: Any, shape: Any) -> None:
        del shape
        self.codes, self.scales = codes, scales

    def __tensor_flatten__(self) -> Any:
        return ["scales", "codes"], tuple(self.shape)

    @classmethod
    def __tensor_unflatten__(cls, inner: Any, shape: Any, size: Any, stride: Any) -> Any:
        return cls(inner["codes"], inner["scales"], size)

    def plain(self) -> Any:
        codes = self.codes
        if codes.dtype is torch.uint8:
            codes = torch.stack((codes & 15, codes >> 4), -1).reshape(N, K).to(torch.int8) - 8
        return (codes.to(self.scales.dtype).reshape(N, -1, GROUP) * self.scales[..., None]).reshape(N, K)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        if func in (aten.detach.default, aten.t.default):
            own = args[0]
            return cls(own.codes, own.scales, own.shape[::-1] if func is aten.t.default else own.shape)
        if func in (aten.mm.default, aten.addmm.default):
            return func(*(each.plain().t() if isinstance(each, cls) else each for each in args))
        raise NotImplementedError(func)

    __torch_function__ = torch._C._disabled_torch_function_impl


class InPython(Quantised):
    """The same, whose layer says how to run it."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.linear:
            x, weight, bias = (*args, None)[:3]
            return nn.functional.linear(x, weight.plain(), bias)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


CODES = {
    "int8": torch.randint(-8, 8, (N, K), dtype=torch.int8), "int4": torch.zeros(N, K // 2, dtype=torch.uint8),
}  # fmt: skip


def layer(kind: type[Quantised], dtype: str) -> nn.Module:
    made = nn.Linear(K, N, bias=False)
    wrapper = kind(CODES[dtype], torch.ones(N, K // GROUP, dtype=torch.bfloat16), (N, K))
    made.weight = nn.Parameter(wrapper, requires_grad=False)
    return made


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("kind", [Quantised, InPython])
def test_a_wrapped_weight_takes_the_memory_of_its_codes_and_scales(kind: type[Quantised], dtype: str) -> None:
    trace = trace_model(layer(kind, dtype), torch.randn(4, K, dtype=torch.bfloat16))
    product = trace.ops[-1]
    assert (product.kind, product.weight) == (OpKind.LINEAR, "weight")
    assert dict(product.dims) == {"m": 4, "n": N, "k": K}
    held = ss.simulate(trace, "gpu/h200-sxm5-141gb").memory["gpu0"]["weights"]
    codes, scales = CODES[dtype].numel(), 2 * N * K // GROUP
    assert held == (codes if kind is Quantised else codes + scales)


@pytest.mark.parametrize("dtype", CODES)
def test_a_kernel_on_a_wrapped_weight_reads_its_codes(dtype: str) -> None:
    (op,) = trace_model(layer(Quantised, dtype), torch.randn(4, K, dtype=torch.bfloat16)).ops
    assert (op.dtype, op.weight_dtype, op.weight_bytes) == ("bf16", dtype, CODES[dtype].numel())
