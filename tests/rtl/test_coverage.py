# SPDX-License-Identifier: Apache-2.0
"""Structural coverage is read and added up as Verilator wrote it, and the report counts what is missing."""

from __future__ import annotations

import pytest

from tests.rtl import coverage
from tests.rtl.coverage import Point, points, report


def written(kind: str, name: str, place: str, count: int) -> str:
    told = {"f": "rtl/nm_two.sv", "l": "7", "n": "3", "t": kind, "page": f"v_{kind}/nm_two", "o": name, "h": place}
    return "C '" + "".join(f"\x01{key}\x02{value}" for key, value in told.items()) + f"' {count}"


TEXT = "\n".join([
    "# SystemC::Coverage-3", written("line", "block", "top.a", 4), written("toggle", "q[0]:0->1", "top.a", 0),
    written("toggle", "q[0]:0->1", "top.b", 5), written("toggle", "q[1]:0->1", "top.a", 0),
])  # fmt: skip


def test_a_point_counts_once_for_all_places_of_its_module() -> None:
    assert points(TEXT, ["nm_two"]) == {
        Point("nm_two", "line", 7, 3, "block"): 4, Point("nm_two", "toggle", 7, 3, "q[0]:0->1"): 5,
        Point("nm_two", "toggle", 7, 3, "q[1]:0->1"): 0,
    }  # fmt: skip
    assert not points(TEXT, ["nm_three"])


def test_what_is_not_reached_lowers_the_share_unless_it_is_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    found = points(TEXT, ["nm_two"])
    text, share = report(found)
    assert share == pytest.approx(2 / 3) and "- `nm_two:7` q 0->1: 1" in text
    monkeypatch.setattr(coverage, "EXCEPTIONS", {("nm_two", r"q\[1\]:.*"): "always low"})
    text, share = report(found)
    assert share == 1 and "always low" in text and "## Not reached" not in text


def test_the_committed_report_has_the_share_that_is_asked() -> None:
    text = coverage.REPORT.read_text(encoding="utf-8")
    share = float(text.partition("(")[2].partition("%")[0]) / 100
    assert share >= coverage.LEAST_SHARE
