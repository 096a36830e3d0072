# SPDX-License-Identifier: Apache-2.0
"""Citations of parts outside of hw_models/."""

from __future__ import annotations

from pathlib import Path

from simsparse.config.catalogue import check
from simsparse.paths import data_root


def _own_part(folder: Path) -> str:
    text = (data_root() / "hw_models/link/pcie5-x16.yaml").read_text().replace("pcie-base-5", "our-lab-notebook")
    path = folder / "link" / "own.yaml"
    path.parent.mkdir()
    path.write_text(text)
    return str(path)


def test_a_part_may_cite_sources_of_its_own_folder(tmp_path: Path) -> None:
    part = _own_part(tmp_path)
    (tmp_path / "sources.yaml").write_text("our-lab-notebook: Measured in our lab, page 12\n")
    assert check([part]) == []


def test_a_source_without_a_citation_is_named_with_its_line(tmp_path: Path) -> None:
    part = _own_part(tmp_path)
    fault = str(check([part])[0])
    assert fault.startswith(f"{part}:") and "'our-lab-notebook' is no source" in fault
