# SPDX-License-Identifier: Apache-2.0
"""Convolutions over one to three axes, transposed ones too, as their im2col product."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from simsparse.core.kind import KINDS, Gemm, Kind, Unit, activation_bytes, bias_bytes, flag, positive, stored_bytes
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of, whole
from simsparse.errors import SpecError
from simsparse.sparsity.drawn import Operand
from simsparse.sparsity.statement import Sparsity

AXES = 3


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
    d_in: int = 1,
    kd: int = 1,
    transposed: bool = False,
    output_padding: int | Sequence[int] = 0,
    dtype: str | DType = "bf16",
    weight_sparsity: str | Sparsity = "dense",
    name: str = "conv2d",
    **fields: Any,
) -> Op:
    """A convolution, NCHW; with a depth ``d_in`` and a kernel depth ``kd`` a 3-D one, NCDHW.

    ``stride``, ``padding``, ``dilation`` and ``output_padding`` are numbers, or one per axis: (height, width), or
    (depth, height, width). ``transposed``: as torch's ConvTranspose2d, weights (c_in, c_out / groups, kh, kw). Raises
    SpecError on a bad dim, dtype or sparsity, and when ``groups`` does not divide the channels.
    """
    sizes = positive(batch=batch, c_in=c_in, c_out=c_out, groups=groups)
    taken = tuple(positive(d_in=d_in, h_in=h_in, w_in=w_in).values())
    kernel = tuple(positive(kd=kd, kh=kh, kw=kw).values())
    strides, pads = _per_axis("stride", stride, 1), _per_axis("padding", padding, 0)
    steps, more = _per_axis("dilation", dilation, 1), _per_axis("output_padding", output_padding, 0)
    turned = flag("transposed", transposed)
    rule = _transposed_size if turned else _size
    axes = list(zip(taken, kernel, strides, pads, steps, more, strict=True))
    depth = rule(*axes[0]) if (taken[0], kernel[0]) != (1, 1) else 1
    made = tuple(positive(d_out=depth, h_out=rule(*axes[1]), w_out=rule(*axes[2])).values())
    dims = conv_dims(
        sizes["batch"], sizes["c_in"], sizes["c_out"], taken, made, kernel, groups=sizes["groups"], stride=strides,
        dilation=steps, transposed=bool(turned),
    )  # fmt: skip
    sparsity = Sparsity.parse(weight_sparsity)
    return Op(CONV2D.name, name, dims, DType.parse(dtype), weight_sparsity=sparsity, **fields).checked()


def conv_dims(
    batch: int, c_in: int, c_out: int, taken: Sequence[int], made: Sequence[int], kernel: Sequence[int], *,
    groups: int = 1, stride: Sequence[int] = (), dilation: Sequence[int] = (), transposed: bool = False,
) -> dict[str, int]:  # fmt: skip
    """Dims of a convolution over one to three axes of sizes ``taken`` that writes sizes ``made``.

    ``stride`` and ``dilation`` are one number per axis, or empty where they are not known or one. A stride that the
    sizes give with the least padding is left out. Raises SpecError on more axes than three.
    """
    d_in, h_in, w_in = _three(taken)
    d_out, h_out, w_out = _three(made)
    kd, kh, kw = _three(kernel)
    _, dilation_h, dilation_w = _three(dilation)
    dims = {
        "batch": batch, "c_in": c_in, "c_out": c_out, "h_in": h_in, "w_in": w_in, "h_out": h_out, "w_out": w_out,
        "kh": kh, "kw": kw, "groups": groups, "d_in": d_in, "d_out": d_out, "kd": kd, "transposed": int(transposed),
        "dilation_h": dilation_h, "dilation_w": dilation_w,
    }  # fmt: skip
    if stride and not transposed:
        known, likely = _three(stride)[1:], _strides(dims)
        named = zip(("stride_h", "stride_w"), known, likely, (h_out, w_out), strict=True)
        dims |= {key: step for key, step, other, out in named if step != other and out > 1}
    return {key: size for key, size in dims.items() if CONV2D.optional_dims.get(key) != size}


def strides(op: Op) -> tuple[int, int]:
    """Vertical and horizontal stride of a convolution: as the op says, else with the least padding for its sizes.

    For one output row any stride serves, and 1 is taken.
    """
    d = CONV2D.all_dims(op)
    likely = _strides(d)
    return d["stride_h"] or likely[0], d["stride_w"] or likely[1]


def _strides(d: Mapping[str, int]) -> tuple[int, int]:
    tall, wide = (d[f"dilation_{axis}"] * (d[f"k{axis}"] - 1) + 1 for axis in "hw")
    return _stride(d["h_in"], d["h_out"], tall), _stride(d["w_in"], d["w_out"], wide)


def _stride(size: int, out: int, kernel: int) -> int:
    if out == 1:
        return 1
    for padding in range(kernel):
        room = size + 2 * padding - kernel
        stride = room // (out - 1) if room > 0 else 0
        for each in (stride, stride - 1):
            if each > 0 and room // each + 1 == out:
                return each
    return max(1, round(size / out))


def _size(size: int, kernel: int, stride: int, padding: int, dilation: int, more: int) -> int:
    """Outputs along one axis. Source: torch's Conv2d."""
    del more
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _transposed_size(size: int, kernel: int, stride: int, padding: int, dilation: int, more: int) -> int:
    """Outputs along one axis. Source: torch's ConvTranspose2d."""
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + more + 1


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    """Depth, height and width; 1 for those that are not there."""
    if len(sizes) > AXES:
        raise SpecError(f"{len(sizes)} axes; a convolution has at most {AXES}", key="dims")
    depth, height, width = [1] * (AXES - len(sizes)) + list(sizes)
    return depth, height, width


def _per_axis(key: str, value: int | Sequence[int], least: int) -> tuple[int, int, int]:
    """``value`` for depth, height and width; a pair leaves the depth at ``least``. Raises SpecError."""
    single = whole(value)
    found = [single] * AXES if single is not None else [whole(each) for each in _listed(value)]
    numbers = [number for number in found if number is not None and number >= least]
    if len(found) not in (AXES - 1, AXES) or len(numbers) != len(found):
        raise SpecError(f"{value!r:.80} is not a whole number of at least {least}, or two or three of them", key=key)
    return numbers[-3] if len(numbers) == AXES else least, numbers[-2], numbers[-1]


def _listed(value: Any) -> list[Any]:
    plain = value.tolist() if hasattr(value, "tolist") else value
    return list(plain) if isinstance(plain, list | tuple) else []


class Conv2dKind(Kind):
    """A convolution (batch, c_in, h_in, w_in) to (batch, c_out, h_out, w_out) with kernels (kh, kw) in ``groups``.

    A 1-D one has height 1; one with a depth is 3-D. ``transposed``: every input pixel is multiplied by every tap of
    the kernel, and the products that meet in one output are added. ``stride_h`` and ``stride_w`` are 0 where they are
    those of the least padding that gives the sizes.
    """

    name = "conv2d"
    dims = ("batch", "c_in", "c_out", "h_in", "w_in", "h_out", "w_out", "kh", "kw", "groups")
    batch_dims = ("batch",)
    optional_dims = MappingProxyType(
        {"d_in": 1, "d_out": 1, "kd": 1, "transposed": 0, "stride_h": 0, "stride_w": 0, "dilation_h": 1,
         "dilation_w": 1}
    )  # fmt: skip
    zero_dims = frozenset({"stride_h", "stride_w"})
    flags = frozenset({"transposed"})
    unit = Unit.MATRIX
    prunable = True
    masked = (Operand.WEIGHT,)

    @property
    def factory(self) -> Callable[..., Op]:
        return conv2d

    def examples(self, dtype: str) -> list[Op]:
        return [
            conv2d(1, 64, 64, 56, 56, 3, 3, padding=1, dtype=dtype),
            conv2d(1, 64, 32, 28, 28, 2, 2, stride=2, transposed=True, dtype=dtype, name="transposed"),
            conv2d(1, 16, 32, 14, 14, 3, 3, d_in=8, kd=3, padding=1, dtype=dtype, name="volume"),
            conv2d(2, 32, 32, 14, 14, 3, 3, groups=32, dtype=dtype, name="depthwise"),
        ]

    def check(self, op: Op) -> None:
        super().check(op)
        d = op.dims
        if d["c_in"] % d["groups"] or d["c_out"] % d["groups"]:
            raise SpecError(f"{d['groups']} does not divide c_in {d['c_in']} and c_out {d['c_out']}", key="groups")

    def is_plane(self, op: Op) -> bool:
        """Whether the op is a plain convolution over one or two axes."""
        return not op.dims.keys() & {"d_in", "d_out", "kd", "transposed"}

    def taps(self, op: Op) -> int:
        """Positions of the kernel."""
        d = self.all_dims(op)
        return d["kd"] * d["kh"] * d["kw"]

    def gemms(self, op: Op) -> tuple[tuple[int, int, int, int], ...]:
        """The product per group: outputs by taps and inputs, or, transposed, inputs by taps and outputs."""
        d, taps = self.all_dims(op), self.taps(op)
        groups, taken, made = d["groups"], d["c_in"] // d["groups"], d["c_out"] // d["groups"]
        if d["transposed"]:
            return ((groups, d["batch"] * d["d_in"] * d["h_in"] * d["w_in"], made * taps, taken),)
        return ((groups, d["batch"] * d["d_out"] * d["h_out"] * d["w_out"], made, taken * taps),)

    def products(self, op: Op) -> tuple[Gemm, ...]:
        """The im2col product, lowered on the fly: each pixel crosses the memory once, not once per kernel tap."""
        ((count, m, n, k),) = self.gemms(op)
        return (Gemm(count, m, n, k, None, self.input_bytes(op) / count, self.output_bytes(op) / count),)

    def weight_bytes(self, op: Op) -> int:
        ((groups, _, n, k),) = self.gemms(op)
        return groups * (stored_bytes(op, n, k) + bias_bytes(op, op.dims["c_out"] // groups))

    def input_bytes(self, op: Op) -> int:
        d = self.all_dims(op)
        return activation_bytes(op, d["batch"] * d["d_in"] * d["h_in"] * d["w_in"], d["c_in"])

    def output_bytes(self, op: Op) -> int:
        d = self.all_dims(op)
        return bytes_of(d["batch"] * d["c_out"] * d["d_out"] * d["h_out"] * d["w_out"], op.out_dtype)


CONV2D = Conv2dKind()
KINDS.register("conv2d")(CONV2D)
