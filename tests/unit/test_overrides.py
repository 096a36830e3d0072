# SPDX-License-Identifier: Apache-2.0
"""Overrides of parts and systems, and what a system says as a whole."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from typing import Any

import pytest

from simsparse import estimate_many, simulate
from simsparse.config.hardware import System, load_hardware, load_system, override_part
from simsparse.config.parts.accel import AccelPart
from simsparse.config.parts.link import LinkPart
from simsparse.config.parts.pim import PimPart
from simsparse.config.quantity import Basis
from simsparse.core import TraceBuilder, ops
from simsparse.errors import MappingError, SpecError


def test_an_override_replaces_one_value_and_says_so() -> None:
    part = load_hardware("accel/systolic-ws-32x32", {"memory.bandwidth": "100 GB/s", "array.macs.int8": 2})
    assert isinstance(part, AccelPart)
    assert part.memory.bandwidth.si == 100e9
    assert part.memory.bandwidth.basis is Basis.OVERRIDE
    assert part.array.macs["int8"].si == 2
    before, after = dict(load_hardware("accel/systolic-ws-32x32").quantities()), dict(part.quantities())
    assert {path for path in after if after[path] != before[path]} == {"memory.bandwidth", "array.macs.int8"}


def test_words_and_lists_of_words_can_be_replaced() -> None:
    part = load_hardware("accel/sat-vcu1525", {"array.dataflow": "os", "sparsity.patterns": "2:4, 1:4"})
    assert isinstance(part, AccelPart) and part.sparsity is not None
    assert (part.array.dataflow, part.sparsity.patterns) == ("os", ("2:4", "1:4"))
    with pytest.raises(SpecError, match=r"sparsity\.patterns"):
        load_hardware("accel/sat-vcu1525", {"sparsity.patterns": "2:4, dense"})


def test_an_unknown_value_can_be_given() -> None:
    part = load_hardware("pim/bank-pim")
    assert part.area is None
    area = override_part(part, {"area": "600 mm**2"}).area
    assert area is not None
    assert area.si == 600


def test_systems_override_devices_and_links_and_remember_it() -> None:
    system = load_system("systems/bank-pim", {"pcie.bandwidth": "100 GB/s", "pim0.commands.interval": 4})
    link, pim = system.links[0].part, system.devices["pim0"]
    assert isinstance(link, LinkPart)
    assert isinstance(pim, PimPart)
    assert (link.bandwidth.si, pim.commands.interval.si) == (100e9, 4)
    assert system.overrides == {"pcie.bandwidth": "100 GB/s", "pim0.commands.interval": "4"}
    again = system.with_overrides({"pcie.bandwidth": "50 GB/s"})
    assert again.overrides == {"pcie.bandwidth": "50 GB/s", "pim0.commands.interval": "4"}
    assert len({load_system("systems/bank-pim").fingerprint, system.fingerprint, again.fingerprint}) == 3


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("pci.bandwidth", "1 GB/s", "pci.bandwidth: 'pci' is not in systems/bank-pim; did you"),
        ("pcie.bandwith", "1 GB/s", "pcie.bandwith: link/pcie5-x16 has no value 'bandwith'; did you "),
        ("pcie", "1 GB/s", "pcie: link/pcie5-x16 has no value ''; allowed: "),
        ("pcie.", "1 GB/s", "pcie.: link/pcie5-x16 has no value ''; allowed: "),
        ("pcie.energy", "1", "pcie.energy: link/pcie5-x16 has no value 'energy'; "),
        ("pcie.bandwidth.si", "1", "pcie.bandwidth.si: link/pcie5-x16 has no value 'bandwidth.si'; "),
        ("pcie.kind", "link", "pcie.kind: link/pcie5-x16 has no value 'kind'; "),
        ("pim0.compute.macs.int4", "1", "pim0.compute.macs.int4: pim/bank-pim has no value 'compute.macs.int4'; "),
        ("pcie.bandwidth", "1 GHz", "pcie.bandwidth: '1 GHz' is not a quantity in byte/second"),
        ("pcie.bandwidth", -1, "pcie.bandwidth: '-1' is not a quantity in byte/second"),
        ("pcie.efficiency", -1, "pcie.efficiency: '-1' must be from 1e-06 to 1e+06"),
        ("pcie.efficiency", [1], "pcie.efficiency: '[1]' is not a plain number"),
        ("pcie.efficiency", None, "pcie.efficiency: 'None' is not a plain number"),
    ],
)  # fmt: skip
def test_mistakes_in_overrides_are_named_with_their_path(path: str, value: Any, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_system("systems/bank-pim", {path: value})
    assert str(caught.value).startswith(expected)


def test_an_override_takes_well_under_a_millisecond() -> None:
    system = load_system("systems/bank-pim")
    best = min(_seconds_of_overrides(system, start) for start in range(1, 2000, 200))
    assert best < 0.5e-3


def _seconds_of_overrides(system: System, start: int) -> float:
    begin = time.perf_counter()
    for i in range(start, start + 100):
        system.with_overrides({"pcie.bandwidth": f"{i} GB/s", "pim0.commands.interval": i})
    return (time.perf_counter() - begin) / 200


# Systems as a whole


def test_area_is_that_of_the_devices_when_all_is_known() -> None:
    system = load_system("systems/bank-pim")
    assert system.area_mm2 is None
    assert system.with_overrides({"pim0.area": "600 mm**2"}).area_mm2 == 600
    both = load_system("systems/h100-logic-pim")
    gpu, pim = both.devices["gpu0"].area, both.devices["pim0"].area
    assert gpu is not None
    assert pim is not None
    assert both.area_mm2 == pytest.approx(gpu.si + pim.si)


def test_assumed_lists_every_assumption_and_no_more() -> None:
    system = load_system("systems/bank-pim")
    assert "pim0.compute.launch = 1 us" in system.assumed
    assert len(system.assumed) == sum(
        quantity.basis is Basis.ASSUMED for part in system.parts().values() for _, quantity in part.quantities()
    )
    given = system.with_overrides({"pim0.compute.launch": "2 us"})
    assert set(system.assumed) - set(given.assumed) == {"pim0.compute.launch = 1 us"}


def test_a_part_alone_is_a_system_of_one_device() -> None:
    system = load_system("pim/bank-pim")
    assert (list(system.devices), system.links) == (["pim0"], ())


def test_an_override_leaves_the_part_as_it_was() -> None:
    part = load_hardware("gpu/h100-sxm5-80gb")
    changed = override_part(part, {"memory.bandwidth": "1 TB/s"})
    again = override_part(changed, {"memory.bandwidth": "2 TB/s", "memory.capacity": "1 GB"})
    assert (part.overridden, changed.overridden) == ((), ("memory.bandwidth",))
    assert again.overridden == ("memory.bandwidth", "memory.capacity")


@pytest.mark.parametrize(
    ("part", "path", "value", "message"),
    [
        ("pim/bank-pim", "pim0.commands.rfc", "5070", "commands.rfc 5070 is not below commands.refi"),
        ("pim/bank-pim", "pim0.commands.column", "1 MiB", "holds no whole number of columns of 1 MiB"),
        ("pim/bank-pim", "pim0.commands.ras", "64", "commands.ras 64 is over commands.rc"),
        ("pim/bank-pim", "pim0.memory.stacks", "2.5", "'2.5' is not a whole number of items"),
        ("gpu/h100-sxm5-80gb", "gpu0.compute.sms", "3.7", "'3.7' is not a whole number of items"),
        ("gpu/h100-sxm5-80gb", "gpu0.memory.efficiency", "1.2", "it must be at most 1"),
        ("accel/vegeta", "accel0.array.cols", "0.5", "must be from 1 to 65536"),
        ("storage/nvme-gen5", "storage0.page", "0.5 byte", "must be from 1 to 1.15292e+18 byte"),
    ],
)
def test_values_that_no_machine_has_are_refused_at_the_door(part: str, path: str, value: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as refused:
        load_system(part, {path: value})
    assert path in str(refused.value)


def test_peaks_follow_clock_and_multiprocessors() -> None:
    stated = load_hardware("gpu/h100-sxm5-80gb")
    faster = override_part(stated, {"compute.clock": "3660 MHz", "compute.tensor.fp8": "2000 TFLOPS"})
    wider = override_part(faster, {"compute.sms": "264"})
    rates = [part.compute.tensor["bf16"].si / 989.4e12 for part in (stated, faster, wider)]  # type: ignore[attr-defined]
    assert rates == pytest.approx([1, 2, 4])
    assert wider.compute.tensor["fp8"].si == 2000e12  # type: ignore[attr-defined]
    held = [part.gemm.half.sustained.si * rate for part, rate in zip((stated, wider), (1, 4), strict=True)]  # type: ignore[attr-defined]
    assert held == pytest.approx([0.762, 0.762])
    back = override_part(
        wider, {"compute.clock": "1830 MHz", "compute.sms": "132", "compute.tensor.fp8": "1978.9 TFLOPS"}
    )
    assert [value.si for _, value in back.quantities()] == [value.si for _, value in stated.quantities()]
    assert back.stated is stated


def test_peaks_of_a_host_follow_its_cores() -> None:
    stated = load_hardware("cpu/cortex-a72-rpi4")
    more = override_part(stated, {"threads.cores": "8"})
    assert more.compute.peak["fp32"].si == 2 * stated.compute.peak["fp32"].si  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", ["gpu/h100-sxm5-80gb", "gpu/t4"])
@pytest.mark.parametrize("path, unit", [("compute.clock", "Hz"), ("compute.sms", ""), ("memory.bandwidth", "byte/s")])
def test_a_library_chooses_for_the_card_as_it_is_stated(part: str, path: str, unit: str) -> None:
    """It would else choose other kernels on another card, slower ones at times."""
    stated = load_hardware(part)
    known = dict(stated.quantities())[path].si
    linears = [
        ops.linear(m, n, k, "fp16") for m, n, k in ((2, 280, 4680), (7, 264, 4240), (29, 128, 3632), (300, 72, 512))
    ]
    times = []
    for times_more in (1, 1.5, 2, 4, 10):
        changed = override_part(stated, {path: f"{times_more * known!r} {unit}".strip()})
        times.append(estimate_many(linears, [changed]).latency_s)
    for before, after in pairwise(times):
        assert (after <= 1.0001 * before).all()


def test_settings_of_an_engine_have_limits() -> None:
    trace = TraceBuilder("one").add(ops.linear(16, 16, 64)).build()
    for registers in ("1", "8000"):
        with pytest.raises(MappingError, match="must be from 6 to 64 on vegeta"):
            simulate(trace, load_system("accel/vegeta", {"accel0.engine.registers": registers}))
