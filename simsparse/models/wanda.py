# SPDX-License-Identifier: Apache-2.0
"""Norms of layer inputs over calibration data, which Wanda weighs weights with.

Sun et al., "A simple and effective pruning approach for large language models", arXiv:2306.11695.
The paper treats linear layers; for a convolution the norm is taken of each column of its im2col
matrix, so that every tap of every input channel has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from simsparse.models.prune import prunable
from simsparse.trace.statistics.sparsity_stats import weight_rows

_LINEAR = {functional.linear}
_CONVOLUTIONS = {functional.conv2d, functional.conv1d}
_CONVOLUTION_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def input_norms(
    model: torch.nn.Module, batches: Iterable[Any], run: Callable[[torch.nn.Module, Any], Any] | None = None
) -> dict[str, torch.Tensor]:
    """L2 norm of what each weight of a layer meets over all ``batches``, by layer path.

    ``run(model, batch)`` makes one forward pass; by default keyword arguments for a mapping, else
    one positional argument. Shapes: (1, k), or (outputs, k) for a grouped convolution, in the order
    of ``weight_rows``. Layers that do not run are missing.
    """
    collector = _Squares(model)
    with torch.no_grad(), collector:
        for batch in batches:
            (run or _forward)(model, batch)
    return {path: squares.sqrt().float() for path, squares in collector.squares.items()}


def _forward(model: torch.nn.Module, batch: Any) -> Any:
    return model(**batch) if isinstance(batch, Mapping) else model(batch)


class _Squares(TorchFunctionMode):  # type: ignore[misc]
    """Adds up squared inputs at the very calls that use a layer's weight, padding included."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.squares: dict[str, torch.Tensor] = {}
        self._paths = {id(layer.weight): path for path, layer in prunable(model).items()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func in _LINEAR or func in _CONVOLUTIONS:
            named = dict(zip(_CONVOLUTION_ARGUMENTS, args, strict=False)) | given
            if path := self._paths.get(id(named["weight"])):
                self._add(path, _linear(named) if func in _LINEAR else _convolution(named, func))
        return func(*args, **given)

    def _add(self, path: str, squares: torch.Tensor) -> None:
        self.squares[path] = self.squares[path] + squares if path in self.squares else squares


def _linear(named: Mapping[str, Any]) -> torch.Tensor:
    x = named["input"]
    return x.double().square().reshape(-1, x.shape[-1]).sum(dim=0, keepdim=True)


def _convolution(named: Mapping[str, Any], forward: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Sum of squares under each tap: the gradient of the summed convolution of squares by its weight."""
    weight, groups = named["weight"], int(named.get("groups", 1))
    geometry = {key: named[key] for key in ("stride", "padding", "dilation") if key in named}
    with torch.enable_grad():
        one_each = torch.zeros(groups, *weight.shape[1:], dtype=torch.float64, requires_grad=True)
        summed = forward(named["input"].double().square(), one_each, groups=groups, **geometry).sum()
        (squares,) = torch.autograd.grad(summed, one_each)
    per_group = weight_rows(squares)
    return per_group.repeat_interleave(weight.shape[0] // groups, dim=0) if groups > 1 else per_group
