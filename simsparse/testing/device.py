# SPDX-License-Identifier: Apache-2.0
"""The contract of a device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import numpy as np
import pytest

from simsparse.config.hardware import load_hardware
from simsparse.config.paths import part_names
from simsparse.core import KINDS, DType, Op, OpCycles, ops
from simsparse.core.kinds.elementwise import ElementwiseKind
from simsparse.devices.base import DEVICES, SAVING, CostArrays, Device, device_for
from simsparse.errors import MappingError
from simsparse.lowering.energy import op_energy


def zoo(dtype: str) -> list[Op]:
    """Small and large operators of every kind."""
    return [op for kind in KINDS for op in KINDS.get(kind).examples(dtype)]


@cache
def device_of(part: str) -> Device:
    """The device that the tests of ``part`` share."""
    return device_for(load_hardware(part))


@cache
def supported_by(part: str, dtype: str) -> list[Op]:
    """The operators of the zoo that ``part`` runs, in ``dtype``, fp16 and int8."""
    device, dtypes = device_of(part), dict.fromkeys((dtype, "fp16", "int8"))
    return [op for each in dtypes for op in zoo(each) if not device.supports(op)]


@cache
def costs_of(part: str, dtype: str) -> CostArrays:
    """Costs of what ``part`` runs."""
    return device_of(part).cost_arrays(supported_by(part, dtype))


class Stranger(ElementwiseKind):
    """A kind that no device knows."""

    name = "stranger"


class DeviceContract:
    """Inherit and set ``model``: every part under hw_models/ that it runs is then checked, or those of ``parts``."""

    model: ClassVar[str]
    parts: ClassVar[Sequence[str]] = ()
    dtype: ClassVar[str] = "bf16"
    grows: ClassVar[tuple[str, ...]] = ("m", "n", "k")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give each test every part."""
        if "part" in metafunc.fixturenames and hasattr(self, "model"):
            metafunc.parametrize("part", self.parts or parts_of(self.model))

    @pytest.fixture
    def device(self, part: str) -> Device:
        return device_of(part)

    @pytest.fixture
    def supported(self, device: Device, part: str) -> list[Op]:
        found = supported_by(part, self.dtype)
        assert found or not device.op_kinds
        return found

    @pytest.fixture
    def arrays(self, part: str) -> CostArrays:
        """The costs of all of ``supported``, computed once a part."""
        return costs_of(part, self.dtype)

    def test_its_kind_is_registered(self, device: Device) -> None:
        assert type(device) is DEVICES.get(self.model)
        assert type(device).kind == device.part.kind
        assert device.lanes

    def test_it_runs_every_kind_that_it_names(self, device: Device) -> None:
        """Some example of each in some element type; kinds that it gives a reason against are not among them."""
        assert device.op_kinds <= set(KINDS)
        assert not device.op_kinds & set(device.refusals)
        runs = {op.kind for dtype in DType for op in zoo(dtype) if device.supports(op) is None}
        assert runs == device.op_kinds

    def test_every_kind_costs_something_or_is_refused_with_a_reason(self, device: Device) -> None:
        for op in zoo(self.dtype):
            reason = device.supports(op)
            if reason is None:
                assert device.cost_arrays([op]).latency_s[0] > 0
                continue
            assert len(reason.split()) > 2
            for ask in (lambda op=op: device.cost_arrays([op]), lambda op=op: device.cycles(op)):
                with pytest.raises(MappingError) as caught:
                    ask()
                assert op.name in str(caught.value)

    def test_a_kind_that_it_does_not_know_is_refused(self, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        assert set(KINDS)
        monkeypatch.setitem(KINDS._items, Stranger.name, Stranger())
        op = Op(Stranger.name, "odd", {"read_bytes": 1 << 30, "write_bytes": 0, "flops": 1 << 30})
        assert Stranger.name in str(device.supports(op))
        with pytest.raises(MappingError, match=Stranger.name):
            device.cost_arrays([op])

    def test_cycles_are_those_of_masks_or_there_is_no_core(self, device: Device) -> None:
        """Level 2 of a product with sparse weights: a whole number of cycles that its causes add up to, or a reason."""
        op = ops.linear(8, 64, 64, self.dtype, weight_sparsity="2:4", name="masked")
        try:
            found = device.cycles(op, seed=1)
        except MappingError as error:
            assert "masked" in str(error)
            return
        assert isinstance(found, OpCycles) and found.cycles > 0 and 0 < found.utilization <= 1
        assert not found.causes or sum(found.causes.values()) == found.cycles
        assert found == device.cycles(op, seed=1)
        assert op_energy(found.counts, device.prices) >= 0
        with pytest.raises(MappingError):
            device.cycles(op, np.ones((64, 63), np.bool_))

    def test_costs_are_well_formed(self, arrays: CostArrays, supported: list[Op]) -> None:
        assert arrays.latency_s.shape == (len(supported),)
        assert np.isfinite(arrays.latency_s).all()
        assert (arrays.latency_s > 0).all()
        assert len(arrays.validated) == len(supported)
        for seconds in arrays.contributors.values():
            assert ((seconds >= 0) & (seconds <= arrays.latency_s * (1 + 1e-9))).all()
        for counts in arrays.counts.values():
            assert counts.dtype == np.int64
            assert (counts >= 0).all()
        assert ((arrays.bound >= 0) & (arrays.bound < len(arrays.contributors))).all()

    def test_contributors_explain_the_latency(self, arrays: CostArrays) -> None:
        together = sum(arrays.contributors.values())
        assert (arrays.latency_s <= together * (1 + 1e-9)).all()

    @pytest.mark.parametrize("storage", ["dense", "nm_index", "bitmap", "csr", "bsr:16", "run_length"])
    def test_a_weight_format_is_paid_for_or_refused(self, device: Device, storage: str) -> None:
        """It runs for a positive cost, and what is decoded in no time is noted; or the refusal names the format."""
        usual = ops.linear(8, 1024, 1024, self.dtype, weight_sparsity="2:4")
        op = usual.with_(weight_format=storage)
        if reason := device.supports(op):
            assert storage in reason or device.supports(usual)
            return
        (found,) = device.costs([op])
        assert found.latency_s > 0 and sum(found.counts.values()) > 0
        assert device.notes(op) or device.skips(op)
        assert any("decoding" in note for note in device.notes(op)) == device.decodes(op)

    def test_vectorised_equals_one_by_one(self, device: Device, arrays: CostArrays, supported: list[Op]) -> None:
        for op, cost in zip(supported, arrays.op_costs(), strict=True):
            alone = device.costs([op])[0]
            assert cost.latency_s == pytest.approx(alone.latency_s, rel=1e-12)
            assert (cost.bound, cost.counts, cost.validated) == (alone.bound, alone.counts, alone.validated)

    def test_costs_repeat(self, device: Device, arrays: CostArrays, supported: list[Op]) -> None:
        assert device_for(device.part).costs(supported) == arrays.op_costs()
        assert device.costs([]) == []

    def test_every_counted_action_has_a_price(self, device: Device, arrays: CostArrays) -> None:
        for cost in arrays.op_costs():
            assert op_energy(cost.counts, device.prices) >= 0

    def test_much_more_work_is_never_faster(self, device: Device) -> None:
        small = ops.linear(16, 512, 512, self.dtype)
        if device.supports(small):
            pytest.skip("computes nothing")
        for dim in self.grows:
            large = small.with_(dims={**small.dims, dim: 16 * small.dims[dim]})
            less, more = device.costs([small, large])
            assert more.latency_s >= less.latency_s

    def test_longer_contexts_cost_more(self, device: Device) -> None:
        contexts = [ops.attention(4, 32, 8, 128, 1, length, dtype=self.dtype) for length in (256, 1024, 4096, 16384)]
        if device.supports(contexts[0]):
            pytest.skip("runs no attention")
        latencies = [cost.latency_s for cost in device.costs(contexts)]
        assert latencies == sorted(latencies)

    def test_power_and_memory_are_physical(self, device: Device) -> None:
        assert device.static_watts >= 0
        assert device.memory_bytes is None or device.memory_bytes > 0
        assert all(joules >= 0 for (component, _), joules in device.prices.items() if component != SAVING)


def parts_of(model: str) -> list[str]:
    """Names of the parts that a device model runs."""
    kind = DEVICES.get(model).kind
    return [name for name in part_names() if name.startswith(f"{kind}/") and load_hardware(name).model == model]
