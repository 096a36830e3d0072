# SPDX-License-Identifier: Apache-2.0
"""CPU, storage and link against arithmetic by hand and against measured copies and products."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.link import LinkPart
from simsparse.core import ops
from simsparse.devices.base import device_for
from simsparse.devices.link import HostMemory, copy_counts, copy_seconds, duplex_rate, link_prices, link_rate
from simsparse.devices.storage import Storage
from simsparse.errors import MappingError, SpecError
from simsparse.lowering.energy import op_energy

GPU_DATA = Path(__file__).parents[1] / "validation/data/gpu"
REFERENCES = ("h100_sxm5_80gb", "h200_sxm5_141gb")


def rows(name: str, section: str) -> list[dict[str, Any]]:
    lines = (GPU_DATA / f"{name}.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["section"] == section]


def pcie5() -> LinkPart:
    part = load_hardware("link/pcie5-x16")
    assert isinstance(part, LinkPart)
    return part


def copy_errors(reference: str, op: str, least: int, most: int) -> list[float]:
    measured = [row for row in rows(reference, "pcie") if row["op"] == op and least <= row["bytes"] < most]
    return [copy_seconds(pcie5(), row["bytes"]) / row["s"] - 1 for row in measured]


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("op", ["h2d_pinned", "d2h_pinned"])
def test_large_copies_are_near_measured_ones(reference: str, op: str) -> None:
    """1 MiB to 1 GiB; rate and latency come from another run on another host."""
    errors = np.abs(copy_errors(reference, op, 1 << 20, 1 << 31))
    assert len(errors) == 11
    assert errors.mean() < 0.02
    assert errors.max() < 0.05


@pytest.mark.parametrize("reference", REFERENCES)
def test_small_copies_are_a_lower_bound(reference: str) -> None:
    """Below 1 MiB the measured host needed 12 to 15 us to issue a copy, the fitted one 4: too fast."""
    errors = copy_errors(reference, "h2d_pinned", 0, 1 << 20)
    assert all(-0.8 < error < 0.05 for error in errors)


@pytest.mark.parametrize("reference", REFERENCES)
def test_both_directions_share_the_link(reference: str) -> None:
    for row in rows(reference, "pcie"):
        if row["op"] == "bidir" and row["bytes"] >= 1 << 28:
            assert duplex_rate(pcie5()) / 1e9 == pytest.approx(row["gbps"], rel=0.1)


def test_a_copy_is_latency_and_bytes_or_the_issue_interval() -> None:
    part = pcie5()
    assert copy_seconds(part, 1) == part.issue.si
    large = 1 << 30
    assert copy_seconds(part, large) == part.latency.si + large / (part.bandwidth.si * part.efficiency.si)
    assert copy_seconds(part, large, HostMemory.PAGEABLE) > copy_seconds(part, large)
    assert op_energy(copy_counts(10), link_prices(part)) == pytest.approx(10 * part.energy.byte.si)


def test_a_link_without_a_pageable_rate_says_so() -> None:
    with pytest.raises(SpecError, match="pageable"):
        link_rate(pcie5().model_copy(update={"pageable": None}), HostMemory.PAGEABLE)


@pytest.mark.parametrize("reference", REFERENCES)
def test_cpu_products_are_near_measured_ones(reference: str) -> None:
    """The rates are the H100 host's own; the H200's is another virtual machine of the same kind."""
    device = device_for(load_hardware("cpu/h100-host"))
    dtypes = {"torch.float32": "fp32", "torch.bfloat16": "bf16"}
    for row in rows(reference, "cpu"):
        if row["op"] == "cpu_gemm":
            op = ops.linear(row["n"], row["n"], row["n"], dtypes[row["dtype"]])
            assert device.costs([op])[0].latency_s == pytest.approx(row["s"], rel=0.25)


def test_cpu_has_no_sparse_kernels() -> None:
    device = device_for(load_hardware("cpu/h100-host"))
    sparse, dense = (ops.linear(8, 256, 256, weight_sparsity=s) for s in ("2:4", "dense"))
    assert device.costs([sparse]) == device.costs([dense])
    assert device.costs([dense])[0].counts.of("core", "flop") == dense.flops


def test_cpu_names_the_types_it_has() -> None:
    device = device_for(load_hardware("cpu/h100-host"))
    with pytest.raises(MappingError, match=r"int4.*fp32"):
        device.costs([ops.linear(8, 8, 8, "int4")])


def test_storage_reads_whole_pages() -> None:
    device = device_for(load_hardware("storage/nvme-gen4"))
    assert isinstance(device, Storage)
    page = round(device.part.page.si)
    cost = device.costs([ops.transfer(page + 1, "disk", "host")])[0]
    assert cost.counts.of("flash", "read_byte") == 2 * page
    assert cost.latency_s == device.part.latency.si + 2 * page / device.part.read.si
