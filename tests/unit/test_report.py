"""Reports are made from any sweep folder, whole, without warnings, and say what the data say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simsparse.errors import StoreError
from simsparse.report import build_report


def row(workload: str, setup: str, sparsity: str, latency_s: float | None, **more: Any) -> dict[str, Any]:
    """One row of a sweep's table."""
    known = {
        "key": f"{workload}-{setup}-{sparsity}", "workload.trace": f"traces/{workload}.trace", "setup": setup,
        "system": "systems/none", "policy": "resident", "weight_sparsity": sparsity, "status": "done", "error": None,
        "latency_s": latency_s, "energy_j": None if latency_s is None else 200 * latency_s, "area_mm2": 814.0,
        "bound": "memory", "seconds_by_bound": json.dumps({"memory": 0.8, "launch": 0.2}),
        "energy_by_component": json.dumps({"gpu0.hbm.read_byte": 3.0, "gpu0.static": 1.0}),
        "assumed": json.dumps(["gpu0.energy.static = 90 W"]), "unvalidated": json.dumps([]),
    }  # fmt: skip
    return known | more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small sweep: two workloads, two setups, three sparsities, one failure, one unvalidated setup."""
    rows = [
        row(workload, setup, sparsity, base * factor, unvalidated=json.dumps(["bank PIM"] if setup == "pim" else []))
        for workload, base in (("llama", 5e-3), ("mixtral", 2e-2))
        for setup in ("gpu", "pim")
        for sparsity, factor in (("dense", 1.0), ("2:4", 0.6), ("1:8", 0.3))
    ]
    rows[2] |= {"status": "failed", "error": "MappingError: no kernel for 1:8", "latency_s": None, "energy_j": None}
    pd.DataFrame(rows).to_parquet(tmp_path / "results.parquet")
    (tmp_path / "resolved.yaml").write_text('name: tiny\naxes: {setup: [gpu, pim], weight_sparsity: [dense, "2:4"]}\n')
    return tmp_path


def test_page_stands_alone_and_shows_every_point(folder: Path) -> None:
    html = build_report(folder).read_text()
    assert "http://" not in html and "https://" not in html
    for word in ("llama", "mixtral", "gpu", "pim", "MappingError: no kernel for 1:8", "gpu0.energy.static", "90 W"):
        assert word in html


def test_csv_equals_the_sweep_table(folder: Path) -> None:
    build_report(folder)
    before, after = pd.read_parquet(folder / "results.parquet"), pd.read_csv(folder / "report" / "points.csv")
    pd.testing.assert_frame_equal(after[["key", "latency_s", "energy_j"]], before[["key", "latency_s", "energy_j"]])


def test_folder_without_results_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no sweep result"):
        build_report(tmp_path)
