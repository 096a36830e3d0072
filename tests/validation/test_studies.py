# SPDX-License-Identifier: Apache-2.0
"""Every study runs, and its state is the one on the committed page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simsparse.config.study import load_study, study_names
from simsparse.studies import State, run_studies

PAGES = Path(__file__).parents[2] / "reports" / "studies"
pytestmark = pytest.mark.validation


@pytest.mark.parametrize("name", [name for name in study_names() if load_study(name)[0].status is None])
def test_a_study_runs_and_has_the_state_of_its_page(name: str) -> None:
    (found,) = run_studies([name], vary=False)
    assert found.state is not State.FAILED, [item.error for item in found.claims if item.error]
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    stated = re.search(r"^\*\*(.+?)\*\*", page, re.MULTILINE)
    assert stated and stated[1] == found.state, "remake: simsparse study --all --out reports/studies"


def test_every_study_has_a_page_and_a_row() -> None:
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    for name in study_names():
        assert (PAGES / f"{name}.md").is_file()
        assert f"]({name}.md)" in index
