# SPDX-License-Identifier: Apache-2.0
"""Area of PEs: what a useful MAC takes, the page and the plot."""

from __future__ import annotations

import pytest

from simsparse.report.pe_area import area_page, area_plot
from simsparse.rtl.area import PATTERNS, PeArea


def test_a_dense_pe_spends_area_on_zeros() -> None:
    sparse, dense = PeArea(2, 4, 8, 1000, 9000.0, 2000.0), PeArea(2, 0, 8, 900, 8000.0, 2000.0)
    assert sparse.useful(0.5) == 4500
    assert dense.useful(0.5) == 8000
    assert dense.row()["pe"] == "dense, 2" and sparse.row()["pe"] == "2:4"


def test_the_page_and_the_plot_hold_every_pattern() -> None:
    rows = [{"pattern": f"{n}:{m}", "bits": bits, "nm": 100.0 * bits * m / n, "dense": 120.0 * bits * m / n}
            for bits in (8, 16) for n, m in PATTERNS]  # fmt: skip
    cells = [{"pe": "2:4", "bits": 8, "cells": 1000, "area_um2": 9000, "registers_um2": 2000}]
    page = area_page(rows, cells, "a command")
    assert page.count("| 1.20 |") == len(rows) and "a command" in page and "9,000" in page
    plot = area_plot(rows)
    assert "1.20 times" in plot.title
    assert len(plot.figure.axes) == 2


def test_patterns_are_what_the_pe_takes() -> None:
    assert all(0 < n <= m for n, m in PATTERNS)
    assert PeArea(1, 4, 8, 1, 1.0, 1.0).useful(0.25) == pytest.approx(1.0)
