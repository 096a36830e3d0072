# SPDX-License-Identifier: Apache-2.0
"""Speed of the mapper."""

from __future__ import annotations

import time

import pytest

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.spatial import SpatialPart
from simsparse.mapper import LoopNest, SpatialMachine
from simsparse.mapper.search import map_layer

pytestmark = pytest.mark.bench
RESNET50 = (
    (64, 3, 112, 7, 2), (64, 64, 56, 1, 1), (64, 64, 56, 3, 1), (256, 64, 56, 1, 1), (64, 256, 56, 1, 1),
    (128, 256, 56, 1, 1), (128, 128, 28, 3, 2), (512, 128, 28, 1, 1), (512, 256, 28, 1, 2), (128, 512, 28, 1, 1),
    (128, 128, 28, 3, 1), (256, 512, 28, 1, 1), (256, 256, 14, 3, 2), (1024, 256, 14, 1, 1), (1024, 512, 14, 1, 2),
    (256, 1024, 14, 1, 1), (256, 256, 14, 3, 1), (512, 1024, 14, 1, 1), (512, 512, 7, 3, 2), (2048, 512, 7, 1, 1),
    (2048, 1024, 7, 1, 2), (512, 2048, 7, 1, 1), (512, 512, 7, 3, 1), (1000, 2048, 1, 1, 1),
)  # fmt: skip
"""Distinct layers of ResNet-50: outputs, inputs, side of the result, side of the kernel, stride."""


def test_resnet50_is_mapped_within_two_seconds() -> None:
    part = load_hardware("spatial/gemmini-16x16")
    assert isinstance(part, SpatialPart)
    machine = SpatialMachine.of(part)
    layers = [LoopNest("layer", (1, k, c, side, side, r, r), (stride, stride)) for k, c, side, r, stride in RESNET50]
    map_layer(layers[0], machine)
    map_layer.cache_clear()
    before = time.process_time()
    for layer in layers:
        map_layer(layer, machine)
    assert time.process_time() - before < 2
