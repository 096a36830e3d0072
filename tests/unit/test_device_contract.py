"""Every registered device, on every part of its kind, keeps the contract."""

from __future__ import annotations

import pytest
from contracts.device import DeviceContract, each_part, parts_of

from simsparse.devices.base import DEVICES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    each_part(metafunc)


class TestGpu(DeviceContract):
    model = "gpu"


class TestCpu(DeviceContract):
    model = "cpu"


class TestSystolic(DeviceContract):
    model = "accel"


class TestSparseEngine(DeviceContract):
    model = "engine"
    dtype = "int8"


class TestPim(DeviceContract):
    model = "pim"


class TestStorage(DeviceContract):
    model = "storage"


class TestMemory(DeviceContract):
    model = "memory"


def test_every_device_is_under_contract() -> None:
    ours = {model for model in DEVICES if DEVICES.get(model).__module__.startswith("simsparse.")}
    assert {contract.model for contract in DeviceContract.__subclasses__()} == ours
    assert all(parts_of(model) for model in ours)
