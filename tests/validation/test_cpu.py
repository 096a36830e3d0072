# SPDX-License-Identifier: Apache-2.0
"""Kernels on CPUs against published measurements; no row of 80 or 90 % sparsity was read by a fit."""

from __future__ import annotations

import statistics
from functools import cache
from pathlib import Path

import pytest

from simsparse.core import Op
from simsparse.validate import CASES, SectionReport, validate_file
from simsparse.validate.mobile_networks import efficientnet, mobilenet_v1, mobilenet_v2

pytestmark = pytest.mark.validation

ROWS = Path(__file__).parent / "data" / "cpu" / "srigl_rows.csv"
PART = "cpu/xeon-w2145"


@cache
def section() -> SectionReport:
    return validate_file(ROWS, PART).section("cpu_sparse")


def test_rows_that_no_fit_read_are_within_a_fifth() -> None:
    judged = [abs(found.error) for found in section().predictions if found.row.whole("sparsity_pct") in (80, 90)]
    assert len(judged) == 30 and statistics.fmean(judged) < 0.20


@pytest.mark.parametrize("kernel", ["dense", "smaller dense", "CSR", "CSR of active rows", "condensed"])
def test_each_kernel_is_within_a_quarter(kernel: str) -> None:
    errors = [abs(found.error) for found in section().predictions if found.row.text("kernel") == kernel]
    assert len(errors) == 8 and statistics.fmean(errors) < 0.25


def test_the_right_kernel_wins() -> None:
    """In every row; sparse kernels win at one token and lose at 256."""
    assert set(section().facts.values()) == {1.0}


def test_more_threads_than_cores_are_skipped_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS.read_text(encoding="utf-8").replace("cpu,4,", "cpu,9,"), encoding="utf-8")
    assert validate_file(path, PART).section("cpu_sparse").skipped == {"9 threads on 8 cores": 40}


def test_sparse_mobile_networks_stand_to_each_other_as_published() -> None:
    """Ten ratios of latencies on a Snapdragon 835; no value of the part was read off them."""
    points = CASES.get("fast-sparse-convnets")().points
    sparse = [point for point in points if "dense" not in point.label]
    assert len(sparse) == 10
    assert all(abs(point.error) < 0.15 for point in sparse), {point.label: point.error for point in sparse}


@pytest.mark.parametrize(
    ("network", "millions"),
    [(mobilenet_v1(1.0), 569), (mobilenet_v2(1.0), 300), (mobilenet_v2(1.4), 582), (efficientnet(1.0, 224), 390),
     (efficientnet(1.1, 240), 700)],
)  # fmt: skip
def test_networks_have_their_published_work(network: list[Op], millions: float) -> None:
    """Multiply-adds of the papers' tables, to the digits that they give."""
    assert sum(op.dense_macs for op in network) / 1e6 == pytest.approx(millions, rel=0.02)
