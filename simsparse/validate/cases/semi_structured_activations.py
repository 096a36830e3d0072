# SPDX-License-Identifier: Apache-2.0
"""Semi-structured activation sparsity: ResNet-18 on a Raspberry Pi 4B with columns of activations left out."""

from __future__ import annotations

from collections.abc import Mapping

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.cpu import CpuPart
from simsparse.core import Op, ops
from simsparse.devices.cpu import Cpu
from simsparse.validate.case import CASES, VARIED, CasePoint, CaseReport, CaseTable, Sensitivity, Varied

PART = "cpu/cortex-a72-rpi4"
PUBLISHED: Mapping[float, float] = {0.1: 1.11, 0.2: 1.25, 0.3: 1.42}
"""Speed-up by sparsity. Source: Deeplite/activ-sparse, commit ed76728d, README."""
STAGES = ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))
"""Outputs and stride of the residual blocks of ResNet-18. Source: He et al., CVPR 2016, table 1."""
MOVED = (("compute.efficiency", "0.6"), ("threads.bandwidth", "2 GB/s"), ("threads.count", "4"),
         ("core.caches.l3.bandwidth", "5 GB/s"))  # fmt: skip


@CASES.register("semi-structured-activations")
def semi_structured_activations() -> CaseReport:
    """Three speed-ups."""
    found = _gains({})
    points = [CasePoint(_label(zeros), published, found[_label(zeros)], "x") for zeros, published in PUBLISHED.items()]
    moved = [(name, value, _gains({name: value})) for name, value in MOVED]
    return CaseReport(
        "semi-structured-activations",
        "ResNet-18 with columns of activations left out",
        "Grimaldi, Ganji, Lazarevich, Sah, Accelerating Deep Neural Networks via Semi-Structured Activation Sparsity, "
        "ICCV workshops 2023: speed-ups of its repository on a Raspberry Pi 4B.",
        f"Each 3 x 3 and 7 x 7 convolution on {PART} as the copy of its inputs into columns and a dense product; a "
        "share of the columns of 3 x 3 convolutions is neither copied nor multiplied. One thread, fp32, one image.",
        points,
        tolerance=0.10,
        assumed=("every 3 x 3 convolution has the same share of zero columns", "zero columns are found in no time"),
        sensitivity=[Sensitivity(point.label, name, value, gains[point.label])
                     for point in points for name, value, gains in moved],
        tables=[CaseTable("Milliseconds per image", ["zero columns", "simulated"],
                          [[f"{zeros:.0%}", f"{_seconds(zeros, {}) * 1e3:.0f}"] for zeros in (0.0, *PUBLISHED)])],
    )  # fmt: skip


def _label(zeros: float) -> str:
    return f"{zeros:.0%} of the columns"


def _gains(overrides: Mapping[str, str]) -> dict[str, float]:
    return {_label(zeros): _seconds(0.0, overrides) / _seconds(zeros, overrides) for zeros in PUBLISHED}


VARIED.register("semi-structured-activations")(Varied(PART, _gains))


def _seconds(zeros: float, overrides: Mapping[str, str]) -> float:
    part = load_hardware(PART, overrides)
    assert isinstance(part, CpuPart)
    return sum(cost.latency_s for cost in Cpu(part).costs(_resnet18(zeros)))


def _resnet18(zeros: float) -> list[Op]:
    """Its layers on 224 x 224, of which 3 x 3 convolutions leave out a share ``zeros`` of the pixels."""
    made = _conv(3, 64, 224, 7, 2, 0.0)
    size, channels = 56, 64
    for outputs, stride in STAGES:
        made += _conv(channels, outputs, size, 3, stride, zeros)
        if stride > 1:
            made += _conv(channels, outputs, size, 1, stride, 0.0)
        size, channels = size // stride, outputs
        made += _conv(channels, channels, size, 3, 1, zeros)
        count = 4 * size**2 * channels
        made.append(ops.elementwise(2 * count, count, count // 4, "fp32", name="add"))
    return [*made, ops.linear(1, 1000, 512, "fp32", name="classifier")]


def _conv(inputs: int, outputs: int, size: int, kernel: int, stride: int, zeros: float) -> list[Op]:
    pixels = max(1, round((size // stride) ** 2 * (1 - zeros)))
    taps = inputs * kernel**2
    copy = ops.elementwise(4 * inputs * size**2, 4 * pixels * taps, 0, "fp32", name="columns")
    product = ops.linear(pixels, outputs, taps, "fp32", name="product")
    return [copy, product] if kernel > 1 else [product]
