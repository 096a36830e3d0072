# SPDX-License-Identifier: Apache-2.0
"""How fast the command line answers."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.bench


def test_help_within_250_ms() -> None:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "simsparse.cli", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    print(f"simsparse --help: {min(seconds):.2f} s")
    assert min(seconds) < 0.25
