# SPDX-License-Identifier: Apache-2.0
"""Every registered device, on every part of its kind, keeps the contract.

Tests of the group "dram" compile the DRAM core, which takes long: on one worker it is compiled once.
"""

from __future__ import annotations

import pytest

from simsparse.devices.base import DEVICES
from simsparse.testing import DeviceContract
from simsparse.testing.device import parts_of


class TestGpu(DeviceContract):
    model = "gpu"


class TestCpu(DeviceContract):
    model = "cpu"


class TestSystolic(DeviceContract):
    model = "accel"


class TestSparseEngine(DeviceContract):
    model = "engine"
    dtype = "int8"


class TestSpatial(DeviceContract):
    model = "spatial"
    dtype = "int8"


@pytest.mark.xdist_group("dram")
class TestPim(DeviceContract):
    model = "pim"


class TestDpu(DeviceContract):
    model = "dpu"
    dtype = "int8"


class TestStorage(DeviceContract):
    model = "storage"


class TestMemory(DeviceContract):
    model = "memory"


class TestSwitch(DeviceContract):
    model = "switch"


def test_every_device_is_under_contract() -> None:
    ours = {model for model in DEVICES if DEVICES.get(model).__module__.startswith("simsparse.devices.")}
    assert {contract.model for contract in DeviceContract.__subclasses__()} == ours
    assert all(parts_of(model) for model in ours)
