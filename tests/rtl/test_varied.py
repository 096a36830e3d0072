# SPDX-License-Identifier: Apache-2.0
"""Verification at parameters of one's own."""

from __future__ import annotations

import pytest

from simsparse.errors import SimulationError, SpecError
from simsparse.rtl.varied import setting, varied
from simsparse.rtl.verify import verify_block

pytestmark = pytest.mark.usefixtures("_simulator")


def test_parameters_of_the_array_inside_the_engine() -> None:
    block = varied("nm_gemm_top", {"N": 3, "M": 8, "Rows": 2, "Cols": 2, "MaxTokens": 6})
    wanted = {"N": 3, "M": 8, "Rows": 2, "Cols": 2, "MaxTokens": 6, "DataWidth": 8, "WeightWidth": 8}
    assert wanted.items() <= dict(block.parameters).items()
    assert not verify_block(block, 100, complete=False).verdict.differences


def test_a_width_that_another_one_follows() -> None:
    block = varied("nm_dot_pe", {"DataWidth": 6, "WeightWidth": 5})
    assert {"DataWidth": 6, "WeightWidth": 5}.items() <= dict(block.parameters).items()
    assert not verify_block(block, 100, complete=False).verdict.differences


def test_what_the_module_refuses_is_said() -> None:
    with pytest.raises(SimulationError, match=r"N must be in 1\.\.M"):
        varied("nm_prune", {"N": 9})


@pytest.mark.parametrize(("module", "settings"), [("nm_prune", {"Depth": 3}), ("nothing", {})])
def test_an_unknown_name_is_refused(module: str, settings: dict[str, int]) -> None:
    with pytest.raises(SpecError):
        varied(module, settings)


@pytest.mark.parametrize("text", ["N", "N=", "N=x", "N=1.5"])
def test_a_setting_is_a_name_and_a_number(text: str) -> None:
    with pytest.raises(SpecError, match="NAME=NUMBER"):
        setting(text)
