# SPDX-License-Identifier: Apache-2.0
"""Speed of cycle cores on a whole model."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

import simsparse as ss
from simsparse.core import OpKind, Sparsity

pytestmark = pytest.mark.bench


@pytest.mark.torch
@pytest.mark.parametrize("part", ["accel/systolic-ws-32x32-2to4", "accel/sat-vcu1525"])
def test_resnet_50_with_2_to_4_weights_takes_2_s(part: str) -> None:
    """54 products, 25 million weights: drawing the masks is part of it."""
    pytest.importorskip("transformers")
    from simsparse.models import extract

    trace = extract("resnet-50", "forward", batch=1)
    pattern = Sparsity.parse("2:4")
    ops = tuple(
        op.with_(weight_sparsity=pattern) if op.kind in (OpKind.LINEAR, OpKind.CONV2D) else op for op in trace.ops
    )
    sparse = replace(trace, ops=ops)
    ss.trace_cycles(sparse, part)
    began = time.process_time()
    found = ss.trace_cycles(sparse, part)
    seconds = time.process_time() - began
    print(f"ResNet-50 at 2:4 on {part}, {len(found)} products at level 2: {seconds:.2f} s of CPU")
    assert all(not isinstance(each, str) for each in found.values())
    assert seconds < 2.0
