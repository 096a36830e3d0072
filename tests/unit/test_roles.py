# SPDX-License-Identifier: Apache-2.0
"""Roles and groups: what a system's devices do, whatever their kinds are called."""

from __future__ import annotations

from pathlib import Path

import pytest

import simsparse as ss
from simsparse.config.hardware import Connection, System, load_hardware, load_system
from simsparse.core import Role, TraceBuilder, ops
from simsparse.errors import MappingError, SpecError
from simsparse.lowering.machine import Machine
from simsparse.testing.fake_machine import FakePart, host, link, number, offload_system, processor

ONE = TraceBuilder("one").add(ops.linear(1, 8, 8)).build()
NODE = """\
kind: system
description: a node
devices:
  host: {part: cpu/h100-host}
  gpu0: {part: gpu/h100-sxm5-80gb}
  gpu1: {part: gpu/h100-sxm5-80gb, role: host}
  ssd: {part: storage/nvme-gen5}
links:
  - {part: link/pcie5-x16, between: [host, gpu0], name: pcie}
groups:
  both: [gpu1, gpu0]
"""


def node(tmp_path: Path, text: str = NODE) -> System:
    path = tmp_path / "node.yaml"
    path.write_text(text, encoding="utf-8")
    return load_system(path)


class UnmodelledPart(FakePart):
    """Of a kind that has a device model, run by one that nobody registered."""

    @property
    def model(self) -> str:
        return "unregistered"


class TestRoles:
    def test_a_part_has_the_role_of_its_kind(self) -> None:
        roles = {
            "gpu/h100-sxm5-80gb": Role.PROCESSOR, "pim/bank-pim": Role.PROCESSOR, "accel/sigma": Role.PROCESSOR,
            "cpu/h100-host": Role.HOST, "memory/ddr5-4800": Role.MEMORY, "storage/nvme-gen5": Role.STORAGE,
        }  # fmt: skip
        assert {name: load_hardware(name).role for name in roles} == roles

    def test_a_system_may_give_another(self, tmp_path: Path) -> None:
        machine = Machine(node(tmp_path))
        assert (machine.processors, machine.hosts, machine.host) == (("gpu0",), ("host", "gpu1"), "host")
        assert machine.of_role(Role.STORAGE) == ("ssd",)

    def test_hosts_compute_where_nothing_else_does(self) -> None:
        machine = Machine(System("s", "", {"a": host(), "b": host()}))
        assert (machine.processors, machine.hosts, machine.host) == (("a", "b"), (), None)

    def test_another_role_is_another_machine_to_a_graph_of_commands(self, tmp_path: Path) -> None:
        other = node(tmp_path, NODE.replace(", role: host", ""))
        assert Machine(node(tmp_path)).topology != Machine(other).topology
        assert node(tmp_path).fingerprint != other.fingerprint

    @pytest.mark.parametrize("name", ["memory/ddr5-4800", "storage/nvme-gen5"])
    def test_what_only_holds_bytes_computes_nothing(self, name: str) -> None:
        with pytest.raises(MappingError, match="has no device that computes"):
            ss.simulate(ONE, load_system(name))
        beside = System("s", "", {"bytes": load_hardware(name), "gpu0": processor()})
        assert [op.device for op in ss.simulate(ONE, beside).ops] == ["gpu0"]

    def test_a_memory_that_is_called_a_processor_refuses_operators(self) -> None:
        system = System("s", "", {"ddr": load_hardware("memory/ddr5-4800")}, roles={"ddr": Role.PROCESSOR})
        with pytest.raises(MappingError, match="ddr: memory computes nothing"):
            ss.simulate(ONE, system)

    def test_a_part_without_a_device_model_does_not_vanish(self) -> None:
        lost = UnmodelledPart.model_validate({"name": "fake/lost", "description": "", "capacity": number("1 GB"),
                                              "speed": number(1), "idle": number("1 W")})  # fmt: skip
        system = System("s", "", {"gpu0": processor(), "lost0": lost})
        with pytest.raises(MappingError, match="lost0: fake/lost can't be a device: 'unregistered' is not a device"):
            ss.simulate(ONE, system)

    def test_a_link_alone_is_no_machine(self) -> None:
        with pytest.raises(MappingError, match="link0: link/pcie5-x16 can't be a device"):
            ss.simulate(ONE, load_system("link/pcie5-x16"))

    def test_areas_and_powers_are_those_of_processors_and_memories(self) -> None:
        dram = load_hardware("memory/ddr5-4800", {"area": "10 mm**2"})
        assert System("s", "", {"dram": dram, "host": load_hardware("cpu/h100-host")}).area_mm2 == 10
        assert System("s", "", {"dram": dram}, roles={"dram": Role.STORAGE}).area_mm2 is None

    def test_overrides_keep_roles(self, tmp_path: Path) -> None:
        system = node(tmp_path).with_overrides({"pcie.latency": "1 us"})
        assert system.roles == {"gpu1": Role.HOST}
        assert system.groups == {"both": ("gpu1", "gpu0")}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("role: host", "role: hosts", "node.yaml:6: devices.gpu1.role: 'hosts'"),
        ("both: [gpu1, gpu0]", "both: [gpu1, gpu7]", "node.yaml:11: groups.both[1]: 'gpu7' is no device here"),
        ("both: [gpu1, gpu0]", "both: [gpu1, gpu1]", "node.yaml:11: groups.both[1]: 'gpu1' stands twice"),
        ("both:", "gpu0:", "node.yaml:11: groups.gpu0: is the name of a device"),
    ],
)
def test_mistakes_are_named_with_their_line(old: str, new: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        node(tmp_path, NODE.replace(old, new))
    assert expected in str(caught.value)


def test_copies_between_any_host_and_a_device_are_on_its_copy_engines() -> None:
    system = offload_system()
    second = System("two", "", {**system.devices, "far": host()},
                    (*system.links, Connection("far-link", link(), ("far", "gpu0"))))  # fmt: skip
    machine = Machine(second)
    assert machine.copy_lane("far", "gpu0") == machine.copy_lane("host", "gpu0") == ("gpu0", "h2d")
    assert machine.copy_lane("gpu0", "far") == machine.copy_lane("gpu0", "host") == ("gpu0", "d2h")
