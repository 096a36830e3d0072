# SPDX-License-Identifier: Apache-2.0
"""What several unit tests begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweep_runs import in_closed_form, save_trace

from simsparse.core import TraceBuilder, ops


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the trace of one product, ``t.trace``."""
    TraceBuilder("t").add(ops.linear(8, 64, 64)).build().save(tmp_path / "t.trace")
    return tmp_path


@pytest.fixture
def sweep_folder(tmp_path: Path) -> Path:
    """A folder with the trace of four layers, ``t.trace``."""
    save_trace(tmp_path)
    return tmp_path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What sweeps run, which is simulated by a closed form."""
    return in_closed_form(monkeypatch)
