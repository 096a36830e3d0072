# SPDX-License-Identifier: Apache-2.0
"""Speed of sparse kernels on CPUs: level 2 of a whole network and of a language model's layer, level 0 of many ops."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

import simsparse as ss
from simsparse.core import Op, OpKind, ops
from simsparse.devices.cpu import Cpu
from simsparse.paths import data_root

pytestmark = pytest.mark.bench
SPARSE = {"dtype": "fp32", "weight_sparsity": "unstructured:0.1", "weight_format": "csr"}


def cpu_seconds(part: str, work: Sequence[Op], level: int) -> float:
    """Seconds of CPU of costs at ``level``, compiled code warmed."""
    device = Cpu(ss.load_hardware(part))
    device.costs([ops.linear(4, 64, 64, **SPARSE)], level)
    began = time.process_time()
    device.costs(work, level)
    return time.process_time() - began


def test_resnet_50_is_walked_in_5_s() -> None:
    trace = ss.load_trace(data_root() / "traces" / "studies" / "resnet-50-int8.trace.gz")
    work = [op.with_(weight_dtype=None, output_dtype=None, kernels=(), **SPARSE)
            for op in trace.ops if op.kind in (OpKind.LINEAR, OpKind.CONV2D)]  # fmt: skip
    seconds = cpu_seconds("cpu/snapdragon-855", work, 2)
    print(f"ResNet-50, a tenth of the weights, {len(work)} products at level 2: {seconds:.2f} s of CPU")
    assert seconds < 5.0


def test_a_llama_layer_is_walked_in_5_s() -> None:
    sizes = ((4096, 4096),) * 4 + ((11008, 4096),) * 2 + ((4096, 11008),)
    seconds = cpu_seconds("cpu/epyc-7763", [ops.linear(1, n, k, **SPARSE) for n, k in sizes], 2)
    print(f"a layer of Llama-2-7B, a tenth of the weights, at level 2: {seconds:.2f} s of CPU")
    assert seconds < 5.0


def test_ten_thousand_ops_at_level_0_take_2_s() -> None:
    work = [ops.linear(m, n, 4096, **SPARSE) for m in range(1, 101) for n in range(64, 6464, 64)]
    seconds = cpu_seconds("cpu/epyc-7763", work, 0)
    print(f"{len(work)} sparse products at level 0: {seconds:.2f} s of CPU")
    assert seconds < 2.0
