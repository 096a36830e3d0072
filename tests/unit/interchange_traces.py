# SPDX-License-Identifier: Apache-2.0
"""Small traces that go to other tools and come back."""

from __future__ import annotations

from simsparse.core import Trace, TraceBuilder, ops


def mixed() -> Trace:
    builder = TraceBuilder("mixed", seed=3, note="é")
    builder.add(ops.linear(4, 16, 8, weight_sparsity="2:4", name="layers.0.q", module="layers.0.q", weight="q.weight",
                           stats={"density": 0.5}))  # fmt: skip
    builder.add(ops.linear(4, 16, 10, weight_sparsity="unstructured:0.125", name="loose"))
    builder.add(ops.attention(2, 4, 2, 8, 4, 6))
    builder.add(ops.elementwise(64, 32, 16, label="add"), deps=["layers.0.q", "loose"])
    builder.add(ops.moe_ffn(2, 8, 16, 4, routing=[[0, 1], [3, 1]], name="experts"))
    builder.add(ops.matmul(3, 4, 5, 6), deps=[])
    builder.add(ops.transfer(100, "host", "gpu0"))
    builder.add(ops.collective("all_reduce", 64, 4))
    return builder.build()


def images() -> Trace:
    builder = TraceBuilder("images")
    builder.add(ops.conv2d(1, 3, 8, 32, 32, 3, 3, stride=2, padding=1, name="stem"))
    builder.add(ops.conv2d(1, 8, 8, 16, 16, 3, 3, padding=1, groups=8, name="depthwise"))
    builder.add(ops.conv2d(1, 8, 16, 16, 16, 1, 1, weight_sparsity="1:4", name="point"))
    builder.add(ops.conv2d(4, 16, 8, 16, 16, 5, 5, groups=2, name="grouped"))
    builder.add(ops.linear(1, 10, 16, name="head"))
    return builder.build()
