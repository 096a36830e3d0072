# SPDX-License-Identifier: Apache-2.0
"""What torch's functions amount to: none of those that a model may call is left as unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from simsparse.core import OpKind
from simsparse.trace import trace_model

LINE, IMAGE, VOLUME = (2, 4, 16), (2, 4, 16, 16), (2, 4, 8, 8, 8)
linalg = torch.linalg


class Scaled(nn.Module):
    """Calls a function on its input times a parameter, so that there are gradients of both."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function, self.scale = function, nn.Parameter(torch.ones(1))

    def forward(self, x: Any) -> Any:
        return self.function(x * self.scale)


def definite(x: torch.Tensor) -> torch.Tensor:
    return x @ x.mT + torch.eye(x.shape[-1])


CALLS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "in place": (lambda x: functional.hardswish(x * 1, inplace=True).masked_fill_(x > 1, 0.0).ge_(0), LINE),
    "hard swish": (functional.hardswish, LINE), "mish": (functional.mish, LINE),
    "pool a volume": (lambda x: functional.max_pool3d(x, 2) + functional.avg_pool3d(x, 2), VOLUME),
    "adaptive pool": (lambda x: functional.adaptive_max_pool3d(x, 2) + functional.adaptive_avg_pool3d(x, 2), VOLUME),
    "unpool": (lambda x: functional.max_unpool2d(*functional.max_pool2d(x, 2, return_indices=True), 2), IMAGE),
    "pad": (lambda x: functional.pad(x, (1,) * 6, "reflect") + functional.pad(x, (1,) * 6, "replicate"), VOLUME),
    "pad a line": (lambda x: functional.pad(x, (1, 1), "reflect"), LINE),
    "resample": (lambda x: functional.interpolate(x, scale_factor=2, mode="trilinear"), VOLUME),
    "bicubic": (lambda x: functional.interpolate(x, scale_factor=2, mode="bicubic"), IMAGE),
    "antialias": (lambda x: functional.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True), IMAGE),
    "nearest": (lambda x: functional.interpolate(x, scale_factor=2, mode="nearest-exact"), IMAGE),
    "sample": (lambda x: functional.grid_sample(x, x[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=True), IMAGE),
    "response": (lambda x: functional.local_response_norm(x, 2), IMAGE),
    "windows": (lambda x: x.unfold(2, 4, 2), LINE),
    "running": (lambda x: x.logcumsumexp(-1) + x.cummin(-1)[0] + x.cummax(-1)[0], LINE),
    "order": (lambda x: x.mode(-1)[0] + x.nanmedian(-1)[0] + x.kthvalue(3)[0], LINE),
    "choose": (lambda x: x.masked_select(x > 0).sum() + x.masked_scatter(x > 0, x).sum() + x.take(torch.ones(3).long()),
               LINE),
    "put": (lambda x: x.put(torch.tensor([1, 3]), x[0, 0, :2]), LINE),
    "random": (lambda x: x + torch.empty_like(x).exponential_() + torch.bernoulli(x.sigmoid()) + torch.normal(x, 1.0),
               LINE),
    "distances": (lambda x: torch.cdist(x, x).sum() + torch.dist(x, x + 1) + functional.pdist(x[0]).sum(), LINE),
    "losses": (lambda x: functional.soft_margin_loss(x, x.detach().sign()) + functional.cross_entropy(
        x, torch.zeros(2, 16).long(), label_smoothing=0.1), LINE),
    "alignment": (lambda x: functional.ctc_loss(x.log_softmax(-1), torch.ones(4, 3).long(), torch.full((4,), 2),
                                                torch.full((4,), 2)), LINE),
    "lists": (lambda x: sum(torch._foreach_mul([x, x], 2.0)) + torch._foreach_norm([x])[0], LINE),
    "masked softmax": (lambda x: torch._masked_softmax(x, x.detach() > 0, -1) + torch._safe_softmax(x, -1), LINE),
    "norm of weights": (lambda x: torch._weight_norm(x, x[:, :1, :1]), LINE),
    "blocks": (lambda x: torch.block_diag(x[0], x[1]).rot90().sum() + torch.addr(x[0], x[0, 0], x[0, 1]), (2, 4, 4)),
    "inverse": (lambda x: linalg.inv(definite(x)) + linalg.solve(definite(x), x), (2, 4, 4)),
    "decompose": (lambda x: linalg.qr(x)[0] + linalg.svd(x)[0] + linalg.eigh(definite(x))[1], (2, 4, 4)),
    "triangles": (lambda x: linalg.cholesky(definite(x)) + linalg.lu(x)[1] + linalg.matrix_exp(x), (2, 4, 4)),
    "determinants": (lambda x: linalg.det(x) + linalg.slogdet(definite(x))[1], (2, 4, 4)),
    "spectrum": (lambda x: torch.stft(x[0], 16, window=torch.hann_window(16), return_complex=True).abs(), (1, 2, 64)),
}  # fmt: skip


@pytest.mark.parametrize("phase", ["forward", "train"])
@pytest.mark.parametrize("name", CALLS)
def test_a_function_and_its_gradient_are_known(name: str, phase: Any) -> None:
    function, shape = CALLS[name]
    torch.manual_seed(0)
    trace = trace_model(Scaled(function), torch.randn(shape), phase)
    assert [op.label for op in trace.ops if op.kind == OpKind.OTHER] == []


@pytest.mark.parametrize(
    ("function", "shape", "flops"),
    [
        (lambda a: linalg.cholesky_ex(a)[0], (5, 6, 6), 5 * 6**3 / 3), (linalg.inv, (6, 6), 2 * 6**3),
        (lambda a: linalg.lu_factor(a)[0], (6, 6), 2 / 3 * 6**3), (linalg.det, (3, 6, 6), 2 * 6**3),
        (lambda a: linalg.solve(a, a[:, :2]), (6, 6), 2 / 3 * 6**3 + 2 * 36 * 2),
        (lambda a: linalg.solve_triangular(a, a[..., :3], upper=True), (4, 6, 6), 4 * 36 * 3),
        (lambda a: torch.geqrf(a)[0], (8, 6), 2 * 36 * (8 - 2)),
        (lambda a: torch._linalg_eigh(a, "L", False)[0], (6, 6), 4 / 3 * 6**3),
        (lambda a: linalg.eigh(a)[1], (6, 6), 9 * 6**3),
        (lambda a: torch._linalg_svd(a, False, False)[1], (8, 6), 4 * 8 * 36 - 4 / 3 * 6**3),
        (lambda a: linalg.svd(a)[1], (6, 8), 14 * 8 * 36 + 8 * 6**3),
    ],
)  # fmt: skip
def test_a_factorisation_counts_the_flops_of_its_textbook(function: Any, shape: tuple[int, ...], flops: float) -> None:
    class Calls(nn.Module):
        def forward(self, x: Any) -> Any:
            return function(x)

    torch.manual_seed(0)
    trace = trace_model(Calls(), torch.randn(shape) + 8 * torch.eye(*shape[-2:]))
    assert sum(op.flops for op in trace.ops) == pytest.approx(flops, abs=1)


def test_a_convolution_whose_time_axis_is_first_is_a_convolution() -> None:
    class InTime(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(3, 4, 8)), nn.Parameter(torch.zeros(8))

        def forward(self, x: Any) -> Any:
            return torch.conv_tbc(x, self.weight, self.bias, 1)

    (op,) = trace_model(InTime(), torch.randn(10, 2, 4)).ops
    assert (op.kind, op.flops, op.weight, op.bias) == (OpKind.CONV2D, 2 * 10 * 2 * 3 * 4 * 8, "weight", True)
