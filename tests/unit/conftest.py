# SPDX-License-Identifier: Apache-2.0
"""What several unit tests begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from simsparse.core import TraceBuilder, ops


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the trace of one product, ``t.trace``."""
    TraceBuilder("t").add(ops.linear(8, 64, 64)).build().save(tmp_path / "t.trace")
    return tmp_path
