# SPDX-License-Identifier: Apache-2.0
"""Layers of MobileNet v1 and v2 and EfficientNet as operators, whose 1 x 1 convolutions may be sparse.

Sources: Howard et al., MobileNets, 2017, table 1; Sandler et al., MobileNetV2, CVPR 2018, table 2; Tan and Le,
EfficientNet, ICML 2019, table 1. Normalisation and rectifiers are part of the convolutions; EfficientNet's swish and
its squeeze and excitation are operators of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from simsparse.core import Op, ops

V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Outputs and stride of each pair of a depthwise and a 1 x 1 convolution."""
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, outputs, repeats, stride of the first."""
EFFICIENTNET = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
                (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))  # fmt: skip
"""The same with the edge of the depthwise kernel."""
SWISH_FLOPS = 30
"""Operations per element: an exponential by a polynomial of degree 5, a division, a product. Source: google/XNNPACK,
src/f32-vsigmoid/neon.c.in (rr1-p5-div), counted."""


class _Builder:
    """Collects the layers of a network on one image in fp32; ``density`` is that of 1 x 1 convolutions.

    ``swish``: the activation is one that takes a kernel of its own.
    """

    def __init__(self, size: int, density: float, swish: bool = False) -> None:
        self.size, self.channels, self.density, self.swish = size, 3, density, swish
        self.ops: list[Op] = []

    def full(self, outputs: int, stride: int) -> None:
        """A dense 3 x 3 convolution."""
        self._conv(outputs, 3, stride, 1)
        self.activation()

    def depthwise(self, kernel: int, stride: int) -> None:
        self._conv(self.channels, kernel, stride, self.channels)
        self.activation()

    def pointwise(self, outputs: int, active: bool = True) -> None:
        self._conv(outputs, 1, 1, 1, self.density)
        if active:
            self.activation()

    def activation(self) -> None:
        if self.swish:
            self._each("swish", 1, SWISH_FLOPS)

    def addition(self) -> None:
        """A residual connection."""
        self._each("add", 2, 1)

    def excitation(self, inputs: int) -> None:
        """Means of the channels through two layers of a quarter of the block's ``inputs``, which scale the channels."""
        self._pool()
        for outputs, taken in ((inputs // 4, self.channels), (self.channels, inputs // 4)):
            self.ops.append(ops.linear(1, outputs, taken, "fp32", name="excitation"))
        self._each("scale", 1, 1)

    def head(self, classes: int = 1000) -> list[Op]:
        """The mean over pixels and the dense classifier; all layers."""
        self._pool()
        self.ops.append(ops.linear(1, classes, self.channels, "fp32", name="classifier"))
        return self.ops

    def _each(self, name: str, reads: int, flops: int) -> None:
        """An operator over all elements, which reads ``reads`` of each."""
        count = self.size**2 * self.channels
        self.ops.append(ops.elementwise(4 * reads * count, 4 * count, flops * count, "fp32", name=name))

    def _pool(self) -> None:
        count = self.size**2 * self.channels
        self.ops.append(ops.elementwise(4 * count, 4 * self.channels, count, "fp32", name="pool"))

    def _conv(self, outputs: int, kernel: int, stride: int, groups: int, density: float = 1.0) -> None:
        sparse = {} if density == 1 else {"weight_sparsity": f"unstructured:{density!r}", "weight_format": "csr"}
        self.ops.append(ops.conv2d(1, self.channels, outputs, self.size, self.size, kernel, kernel, stride=stride,
                                   padding=kernel // 2, groups=groups, dtype="fp32", **sparse))  # fmt: skip
        self.size, self.channels = ceil(self.size / stride), outputs


def mobilenet_v1(width: float, density: float = 1.0) -> list[Op]:
    """MobileNet v1 on an image of 224 x 224."""
    net = _Builder(224, density)
    net.full(_eights(32 * width), 2)
    for outputs, stride in V1:
        net.depthwise(3, stride)
        net.pointwise(_eights(outputs * width))
    return net.head()


def mobilenet_v2(width: float, density: float = 1.0) -> list[Op]:
    """MobileNet v2 on an image of 224 x 224."""
    net = _Builder(224, density)
    net.full(_eights(32 * width), 2)
    for block in V2:
        _inverted(net, *block, 3, width)
    net.pointwise(_eights(1280 * max(1.0, width)))
    return net.head()


def efficientnet(depth: float, size: int, density: float = 1.0) -> list[Op]:
    """EfficientNet of width 1: B0 with depth 1 on 224 x 224, B1 with depth 1.1 on 240 x 240."""
    net = _Builder(size, density, swish=True)
    net.full(32, 2)
    for expansion, outputs, repeats, stride, kernel in EFFICIENTNET:
        _inverted(net, expansion, outputs, ceil(depth * repeats), stride, kernel, 1.0)
    net.pointwise(1280)
    return net.head()


def _inverted(
    net: _Builder, expansion: int, outputs: int, repeats: int, stride: int, kernel: int, width: float
) -> None:
    for step in _steps(repeats, stride):
        inputs, made = net.channels, _eights(outputs * width)
        if expansion > 1:
            net.pointwise(inputs * expansion)
        net.depthwise(kernel, step)
        if net.swish:
            net.excitation(inputs)
        net.pointwise(made, active=False)
        if step == 1 and inputs == made:
            net.addition()


def _steps(repeats: int, stride: int) -> Iterator[int]:
    yield stride
    yield from (1 for _ in range(repeats - 1))


def _eights(channels: float) -> int:
    """The nearest multiple of 8 that is at least 8 and not more than a tenth below. Source: TensorFlow's MobileNet."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
