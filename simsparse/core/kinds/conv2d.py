# SPDX-License-Identifier: Apache-2.0
"""Two-dimensional convolutions, as their im2col product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simsparse.core.kind import KINDS, Gemm, Kind, Unit, activation_bytes, bias_bytes, positive, stored_bytes
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of, whole
from simsparse.errors import SpecError
from simsparse.sparsity.drawn import Operand
from simsparse.sparsity.statement import Sparsity


def conv2d(
    batch: int,
    c_in: int,
    c_out: int,
    h_in: int,
    w_in: int,
    kh: int,
    kw: int,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    dtype: str | DType = "bf16",
    weight_sparsity: str | Sparsity = "dense",
    name: str = "conv2d",
    **fields: Any,
) -> Op:
    """A 2-D convolution, NCHW; ``stride``, ``padding`` and ``dilation`` are numbers, or pairs for height and width.

    Raises SpecError on a bad dim, dtype or sparsity, and when ``groups`` does not divide the channels.
    """
    sizes = positive(batch=batch, c_in=c_in, c_out=c_out, h_in=h_in, w_in=w_in, kh=kh, kw=kw, groups=groups)
    (down, across), (above, beside), (tall, wide) = (
        _pair("stride", stride, 1), _pair("padding", padding, 0), _pair("dilation", dilation, 1)
    )  # fmt: skip
    h_out = (sizes["h_in"] + 2 * above - tall * (sizes["kh"] - 1) - 1) // down + 1
    w_out = (sizes["w_in"] + 2 * beside - wide * (sizes["kw"] - 1) - 1) // across + 1
    sizes |= positive(h_out=h_out, w_out=w_out)
    dims = {key: sizes[key] for key in CONV2D.dims}
    sparsity = Sparsity.parse(weight_sparsity)
    return Op(CONV2D.name, name, dims, DType.parse(dtype), weight_sparsity=sparsity, **fields).checked()


def _pair(key: str, value: int | Sequence[int], least: int) -> tuple[int, int]:
    """``value`` for height and width. Raises SpecError."""
    single = whole(value)
    found = [single] * 2 if single is not None else [whole(each) for each in _listed(value)]
    numbers = [number for number in found if number is not None and number >= least]
    if len(found) != 2 or len(numbers) != 2:
        raise SpecError(f"{value!r:.80} is not a whole number of at least {least}, or two of them", key=key)
    return numbers[0], numbers[1]


def _listed(value: Any) -> list[Any]:
    plain = value.tolist() if hasattr(value, "tolist") else value
    return list(plain) if isinstance(plain, list | tuple) else []


class Conv2dKind(Kind):
    """A convolution (batch, c_in, h_in, w_in) to (batch, c_out, h_out, w_out) with kernels (kh, kw) in ``groups``."""

    name = "conv2d"
    dims = ("batch", "c_in", "c_out", "h_in", "w_in", "h_out", "w_out", "kh", "kw", "groups")
    unit = Unit.MATRIX
    prunable = True
    masked = (Operand.WEIGHT,)

    @property
    def factory(self) -> Callable[..., Op]:
        return conv2d

    def examples(self, dtype: str) -> list[Op]:
        return [
            conv2d(1, 64, 64, 56, 56, 3, 3, padding=1, dtype=dtype),
            conv2d(2, 32, 32, 14, 14, 3, 3, groups=32, dtype=dtype, name="depthwise"),
        ]

    def check(self, op: Op) -> None:
        super().check(op)
        d = op.dims
        if d["c_in"] % d["groups"] or d["c_out"] % d["groups"]:
            raise SpecError(f"{d['groups']} does not divide c_in {d['c_in']} and c_out {d['c_out']}", key="groups")

    def gemms(self, op: Op) -> tuple[tuple[int, int, int, int], ...]:
        d = op.dims
        groups = d["groups"]
        reduction = d["c_in"] // groups * d["kh"] * d["kw"]
        return ((groups, d["batch"] * d["h_out"] * d["w_out"], d["c_out"] // groups, reduction),)

    def products(self, op: Op) -> tuple[Gemm, ...]:
        """The im2col product, lowered on the fly: each input crosses the memory once, not once per kernel tap."""
        ((count, m, n, k),) = self.gemms(op)
        return (Gemm(count, m, n, k, None, self.input_bytes(op) / count, m * n * op.dtype.bits / 8),)

    def weight_bytes(self, op: Op) -> int:
        ((groups, _, n, k),) = self.gemms(op)
        return groups * (stored_bytes(op, n, k) + bias_bytes(op, n))

    def input_bytes(self, op: Op) -> int:
        d = op.dims
        return activation_bytes(op, d["batch"] * d["c_in"] * d["h_in"] * d["w_in"])

    def output_bytes(self, op: Op) -> int:
        d = op.dims
        return bytes_of(d["batch"] * d["c_out"] * d["h_out"] * d["w_out"], op.dtype)


CONV2D = KINDS.register("conv2d")(Conv2dKind())
