# SPDX-License-Identifier: Apache-2.0
"""Every case of a published result keeps its tolerance, and its committed page is what the command writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from simsparse.errors import SpecError
from simsparse.report.cases import case_page, write_case_pages
from simsparse.validate.case import CASES, CasePoint, CaseReport, run_cases

PAGES = Path(__file__).parents[2] / "reports" / "studies" / "cases"
pytestmark = pytest.mark.validation


@pytest.mark.parametrize("name", list(CASES))
def test_a_case_keeps_its_tolerance(name: str) -> None:
    report = CASES.get(name)()
    assert report.name == name
    assert report.passed, [(p.label, p.published, p.simulated, p.error) for p in report.points]
    page = PAGES / f"{name}.md"
    assert page.read_text(encoding="utf-8") == case_page(report.to_dict()), "remake: simsparse study --all"
    assert page.with_suffix(".png").exists()


def test_a_case_without_tolerance_must_say_why() -> None:
    with pytest.raises(SpecError, match="why it deviates"):
        CaseReport("x", "X", "a paper", "a model", [CasePoint("a", 1, 2)], None)
    with pytest.raises(SpecError, match="needs points"):
        CaseReport("x", "X", "a paper", "a model", [], 0.1)
    with pytest.raises(SpecError, match="is not a case"):
        run_cases(["pim-attac"])


def test_a_case_beyond_its_tolerance_fails() -> None:
    report = CaseReport("x", "X", "a paper", "a model", [CasePoint("a", 1, 1), CasePoint("b", 2, 2.3)], 0.1)
    assert not report.passed and report.verdict == "beyond 10 %"
    assert report.worst.label == "b" and report.mean_error == pytest.approx(0.075)
    assert CaseReport("x", "X", "a paper", "a model", [CasePoint("a", 1, 1)], 0).verdict == "equal"


def test_pages_are_written(tmp_path: Path) -> None:
    points = [CasePoint("small", 1, 1.01, "x"), CasePoint("large", 900, 1000, "x")]
    report = CaseReport("x", "A title", "a paper", "a model", points, 0.2, assumed=("a clock of 1 GHz",))
    (page,) = write_case_pages([report.to_dict()], tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "within 20 %" in text and "+11.1 %" in text and "a clock of 1 GHz" in text
    assert (tmp_path / "x.png").stat().st_size > 5000
