# SPDX-License-Identifier: Apache-2.0
"""Contracts as test classes: what every implementation of a role must pass.

A new part inherits one class, says what it is, and pytest runs all checks::

    from simsparse.testing import DeviceContract

    class TestMine(DeviceContract):
        model = "mine"

Needs pytest; nothing else of simsparse imports this package.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"simsparse.testing.{name}" for name in ("dataflow", "device", "engine", "format", "kind", "policy", "sparsity"))
)

from simsparse.testing.dataflow import DataflowContract  # noqa: E402
from simsparse.testing.device import DeviceContract  # noqa: E402
from simsparse.testing.engine import EngineContract  # noqa: E402
from simsparse.testing.format import FormatContract  # noqa: E402
from simsparse.testing.kind import KindContract  # noqa: E402
from simsparse.testing.policy import PolicyContract, PolicyPartContract  # noqa: E402
from simsparse.testing.sparsity import SparsityContract  # noqa: E402

__all__ = [
    "DataflowContract", "DeviceContract", "EngineContract", "FormatContract", "KindContract", "PolicyContract",
    "PolicyPartContract", "SparsityContract",
]  # fmt: skip
