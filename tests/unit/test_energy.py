# SPDX-License-Identifier: Apache-2.0
"""Energy is the price of each action times its count, plus static power over time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsparse.core import ActionCounts
from simsparse.errors import SpecError
from simsparse.lowering.energy import op_energy, price

READ, MAC = ("hbm", "read_byte"), ("tensor", "mac_bf16")
PRICES = {READ: 2e-12, MAC: 1e-12}


def test_two_devices_by_hand():
    counts = {"gpu0": ActionCounts({READ: 10, MAC: 3}), "pcie": ActionCounts({("link", "byte"): 5})}
    joules = price(counts, 2.0, {"gpu0": PRICES, "pcie": {("link", "byte"): 1.0}}, {"gpu0": 100.0, "pcie": 0.5})
    assert joules == {
        "gpu0.hbm.read_byte": 2e-11, "gpu0.tensor.mac_bf16": 3e-12, "pcie.link.byte": 5.0,
        "gpu0.static": 200.0, "pcie.static": 1.0,
    }  # fmt: skip


def test_idle_device_still_draws_static_power():
    assert price({}, 3.0, {}, {"host": 50.0}) == {"host.static": 150.0}


@pytest.mark.parametrize("prices", [{}, {READ: 1.0}])
def test_missing_price_is_an_error(prices):
    counts = ActionCounts({MAC: 1})
    with pytest.raises(SpecError, match=r"no energy price for tensor\.mac_bf16"):
        op_energy(counts, prices)
    with pytest.raises(SpecError, match=r"^gpu0: no energy price"):
        price({"gpu0": counts}, 1.0, {"gpu0": prices}, {})


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(1, 50))
def test_energy_is_additive_and_scales(reads, macs, times):
    a, b = ActionCounts({READ: reads}), ActionCounts({MAC: macs})
    whole = op_energy(a + b, PRICES)
    assert whole == pytest.approx(op_energy(a, PRICES) + op_energy(b, PRICES))
    assert op_energy((a + b) * times, PRICES) == pytest.approx(times * whole)
    assert sum(price({"gpu0": a + b}, 0.0, {"gpu0": PRICES}, {}).values()) == pytest.approx(whole)
