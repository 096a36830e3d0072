"""Every registered device, on every part of its kind, keeps the contract."""

from __future__ import annotations

import pytest
from contracts.device import DeviceContract, each_part, parts_of

from simsparse.devices.base import DEVICES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    each_part(metafunc)


class TestGpu(DeviceContract):
    kind = "gpu"


class TestCpu(DeviceContract):
    kind = "cpu"


class TestSystolic(DeviceContract):
    kind = "accel"


class TestPim(DeviceContract):
    kind = "pim"


class TestStorage(DeviceContract):
    kind = "storage"


class TestMemory(DeviceContract):
    kind = "memory"


def test_every_device_is_under_contract() -> None:
    ours = {kind for kind in DEVICES if DEVICES.get(kind).__module__.startswith("simsparse.")}
    assert {contract.kind for contract in DeviceContract.__subclasses__()} == ours
    assert all(parts_of(kind) for kind in ours)
