# SPDX-License-Identifier: Apache-2.0
"""Hardware as data: every part loads, every number has a source, every mistake is named with its place."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from spec_files import write

import simsparse
from simsparse.config import catalogue
from simsparse.config.hardware import PARTS, load_hardware, load_system
from simsparse.config.parts.link import LinkPart
from simsparse.config.parts.pim import PimPart
from simsparse.config.paths import find_part, part_names
from simsparse.config.quantity import Basis, Quantity
from simsparse.core import Role
from simsparse.devices.base import SAVING, device_for
from simsparse.errors import SpecError
from simsparse.paths import find_file

ASSUMED = "source: null, basis: assumed"
LINK = """\
kind: link
description: a link
bandwidth: {value: 10 GB/s, source: null, basis: assumed}
efficiency: {value: 0.9, source: null, basis: assumed}
duplex: {value: 1.5, source: null, basis: assumed}
latency: {value: 1 us, source: null, basis: assumed}
issue: {value: 1 us, source: null, basis: assumed}
energy:
  byte: {value: 10 pJ/byte, source: null, basis: assumed}
  static: {value: 1 W, source: null, basis: assumed}
"""
SYSTEM = """\
kind: system
description: a system
devices:
  host: {part: cpu/h100-host}
  pim0: {part: pim/bank-pim}
links:
  - {part: link/pcie5-x16, between: [host, pim0], name: pcie}
"""


def fault(path: str) -> str:
    """The error of loading ``path``, its folder cut off."""
    with pytest.raises(SpecError) as caught:
        load_system(path)
    return str(caught.value).replace(str(Path(path).parent) + "/", "")


# The catalogue


@pytest.mark.parametrize("name", part_names())
def test_every_part_and_system_loads(name: str) -> None:
    system = load_system(name)
    assert system.name == name
    assert system.description


@pytest.mark.parametrize("name", [name for name in part_names() if not name.startswith(("systems/", "link/", "nic/"))])
def test_every_part_that_is_no_link_has_a_device(name: str) -> None:
    device = device_for(load_hardware(name))
    assert device.role is Role.SWITCH or (device.memory_bytes and device.memory_bytes > 0)
    assert device.static_watts >= 0
    assert all(price >= 0 for (component, _), price in device.prices.items() if component != SAVING)


def test_nothing_is_wrong_with_the_catalogue() -> None:
    assert [str(error) for error in catalogue.check()] == []


def test_the_listing_counts_values_by_basis() -> None:
    entries = {entry.name: entry for entry in catalogue.listing()}
    assert list(entries) == part_names()
    pim = entries["pim/bank-pim"]
    assert pim.kind == "pim"
    assert sum(pim.bases.values()) == len(list(load_hardware("pim/bank-pim").quantities()))
    assert pim.bases["assumed"] == sum(q.basis is Basis.ASSUMED for _, q in load_hardware("pim/bank-pim").quantities())
    assert entries["systems/bank-pim"].bases == {}


def test_the_listing_of_one_kind() -> None:
    assert {entry.kind for entry in catalogue.listing("link")} == {"link"}
    with pytest.raises(SpecError, match="'lnk' is not a kind of part; did you mean link"):
        catalogue.listing("lnk")


@pytest.mark.parametrize(
    ("said", "name"),
    [("h100", "gpu/h100-sxm5-80gb"), ("H100", "gpu/h100-sxm5-80gb"),
     ("RTX 4090", "gpu/rtx4090"), ("NVIDIA GeForce RTX 4090", "gpu/rtx4090"), ("A100-80GB", "gpu/a100-sxm4-80gb"),
     ("nvidia a100 80gb", "gpu/a100-sxm4-80gb"), ("h200-SXM5", "gpu/h200-sxm5-141gb"),
     ("T4", "gpu/t4"), ("GPU/A40", "gpu/a40"), ("Vegeta", "accel/vegeta"), ("sat", "accel/sat"),
     ("nvme_gen4", "storage/nvme-gen4"), ("4090", "gpu/rtx4090"), ("hbm3", "memory/hbm3-6400"),
     ("a100 sparse attention", "gpu/a100-sparse-attention")],
)  # fmt: skip
def test_a_part_is_found_by_the_name_that_users_write(said: str, name: str) -> None:
    assert load_hardware(said).name == name


def test_a_system_goes_before_a_part_of_its_name() -> None:
    assert load_system("VEGETA").name == "systems/vegeta"
    assert load_system("a40-pcie4").name == "systems/a40-pcie4"


@pytest.mark.parametrize(
    ("said", "says"),
    [("a100", r"did you mean gpu/a100-sxm4-40gb or gpu/a100-sxm4-80gb\?$"),
     ("h20", "is no part"), ("L40", "is no part"),
     ("rtx5090", "did you mean gpu/rtx4090"),
     ("", "is no part"), ("b300", "is no part"), ("-", "is no part")],
)  # fmt: skip
def test_a_name_of_several_parts_or_none_is_refused(said: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        load_hardware(said)


def test_values_carry_their_citation_and_an_overridable_path() -> None:
    values = {value.path: value for value in catalogue.values("link/pcie5-x16")}
    bandwidth = values["bandwidth"]
    assert (bandwidth.text, bandwidth.si, bandwidth.unit, bandwidth.basis) == (
        "63.015 GB/s", 63.015e9, "byte/second", "derived",
    )  # fmt: skip
    assert bandwidth.source == f"pcie-base-5: {catalogue.sources()['pcie-base-5']}"
    system = load_system("systems/bank-pim")
    for value in catalogue.values("systems/bank-pim"):
        assert system.with_overrides({value.path: value.text}).overrides == {value.path: value.text}


def test_check_names_the_line_of_a_source_that_nobody_cites(tmp_path: Path) -> None:
    path = write(tmp_path, LINK.replace(f"10 GB/s, {ASSUMED}", "10 GB/s, source: nowhere, basis: paper"))
    (error,) = catalogue.check([path])
    assert str(error).startswith(f"{path}:3: bandwidth.source: 'nowhere' is no source; allowed: ")


def test_check_goes_on_after_a_part_that_does_not_load(tmp_path: Path) -> None:
    broken, fine = write(tmp_path, "kind: link", "a.yaml"), write(tmp_path, LINK, "b.yaml")
    assert [error.file for error in catalogue.check([broken, fine, "none"])] == [broken, None]


def test_check_refuses_the_basis_of_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, LINK.replace(f"10 GB/s, {ASSUMED}", "10 GB/s, source: null, basis: override"))
    assert "override is for values given at run time" in str(catalogue.check([path])[0])


def test_check_names_a_citation_that_no_part_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hw_models" / "link").mkdir(parents=True)
    write(tmp_path / "hw_models", "used: a\nunused: b\n", "sources.yaml")
    write(tmp_path / "hw_models/link", LINK.replace("1 W, source: null", "1 W, source: used"), "a.yaml")
    for module in ("catalogue", "paths", "parts.gpu_kernels", "silicon", "engine"):
        monkeypatch.setattr(f"simsparse.config.{module}.data_root", lambda: tmp_path)
    assert [str(e) for e in catalogue.check()] == [
        f"{tmp_path}/hw_models/sources.yaml:2: unused: no part uses this source"
    ]


@pytest.mark.parametrize(("text", "expected"), [("[]", "expected a mapping"), ("a: 1", ":1: a: 1 is not a citation")])
def test_a_broken_list_of_sources_is_one_fault(
    text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hw_models").mkdir()
    write(tmp_path / "hw_models", text, "sources.yaml")
    monkeypatch.setattr("simsparse.config.catalogue.data_root", lambda: tmp_path)
    (error,) = catalogue.check([])
    assert expected in str(error)


# Every field of a schema is read, be it by a check among fields


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """All models in a type, quantities apart."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation is not Quantity:
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for argument in get_args(annotation):
        yield from models(argument)


CODE = "\n".join(path.read_text() for path in sorted(Path(simsparse.__file__).parent.rglob("*.py")))


@pytest.mark.parametrize("kind", list(PARTS))
def test_every_field_of_a_schema_is_read_by_code(kind: str) -> None:
    fields = {name for model in models(PARTS.get(kind)) for name in model.model_fields}
    assert {name for name in fields if not re.search(rf"\.{name}\b(?!\()", CODE)} == set()


# Mistakes, with file and line


def test_the_files_that_the_mistakes_start_from_are_right(tmp_path: Path) -> None:
    assert load_system(write(tmp_path, LINK, "l.yaml")).devices["link0"].kind == "link"
    assert [link.name for link in load_system(write(tmp_path, SYSTEM)).links] == ["pcie"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("duplex:", "duplx:", "x.yaml:5: duplx: unknown key; did you mean duplex? allowed: "),
        ("  static:", "  statc:", "x.yaml:10: energy.statc: unknown key; did you mean static? allowed: byte, static"),
        ("issue:", "latency:", "x.yaml:7: latency: 'latency' stands twice; first on line 6"),
        ("10 GB/s", "10 GHz", "x.yaml:3: bandwidth: '10 GHz' is not a quantity in byte/second"),
        ("10 GB/s", "10", "x.yaml:3: bandwidth: '10' is not a quantity in byte/second"),
        ("10 GB/s", "-1 GB/s", "x.yaml:3: bandwidth: '-1 GB/s' must be from 1000 to 1e+18 byte/second"),
        ("10 GB/s", "0 GB/s", "x.yaml:3: bandwidth: '0 GB/s' must be from 1000 to 1e+18 byte/second"),
        ("10 GB/s", "1e999 GB/s", "x.yaml:3: bandwidth: '1e999 GB/s' must be from 1000 to 1e+18 byte/second"),
        ("10 GB/s", "nan", "x.yaml:3: bandwidth: 'nan' is not a quantity in byte/second"),
        ("10 GB/s", "null", "x.yaml:3: bandwidth: value is missing; expected {value, source, basis}"),
        ("10 GB/s", "[1, 2]", "x.yaml:3: bandwidth: [1, 2] is not a number with a unit"),
        ("10 GB/s", "true", "x.yaml:3: bandwidth: True is not a number with a unit"),
        ("value: 0.9", "value: 90", "x.yaml:4: efficiency: '90' is a share; it must be at most 1"),
        ("value: 0.9", "value: nan", "x.yaml:4: efficiency: 'nan' must be from 1e-06 to 1e+06"),
        ("value: 0.9", "value: high", "x.yaml:4: efficiency: 'high' is not a plain number"),
        ("value: 0.9", "value: 90 %", "x.yaml:4: efficiency: '90 %' is not a plain number"),
        ("value: 0.9", "value: " + "9" * 400, "x.yaml:4: efficiency: 'inf' must be from 1e-06 to 1e+06"),
        ("value: 1.5", "value: 3", "x.yaml:5: duplex: '3' must be from 1 (half duplex) to 2 (full duplex)"),
        (f"value: 1.5, {ASSUMED}", "value: 1.5, source: null", "x.yaml:5: duplex: basis is missing; expected {value, "),
        (ASSUMED, "source: null, basis: guess", "x.yaml:3: bandwidth: 'guess' is not a basis; allowed: standard, "),
        (ASSUMED, "source: null, basis: [a]", "x.yaml:3: bandwidth: ['a'] is not a basis; allowed: standard, "),
        (ASSUMED, "source: null, basis: paper", "x.yaml:3: bandwidth: a number of basis paper needs a source"),
        (ASSUMED, "source: '', basis: paper", "x.yaml:3: bandwidth: a number of basis paper needs a source"),
        (ASSUMED, "source: [a], basis: paper", "x.yaml:3: bandwidth: source ['a'] is not text"),
        (ASSUMED, f"{ASSUMED}, note: {{a: b}}", "x.yaml:3: bandwidth: note {'a': 'b'} is not text"),
        (ASSUMED, f"{ASSUMED}, unit: GB", "x.yaml:3: bandwidth: unknown key 'unit'; allowed: basis, note, "),
        (f"{{value: 10 GB/s, {ASSUMED}}}", "10 GB/s", "x.yaml:3: bandwidth: '10 GB/s': expected {value, source"),
        (f"{{value: 10 GB/s, {ASSUMED}}}", "[]", "x.yaml:3: bandwidth: []: expected {value, source, basis}"),
        ("issue:", "# issue:", "x.yaml:1: issue: is missing"),
        ("kind: link", "kind: lnk", "x.yaml:1: kind: 'lnk' is not a part kind; did you mean link? allowed: "),
        ("kind: link", "kind: [link]", "x.yaml:1: kind: \"['link']\" is not a part kind; "),
        ("kind: link", "name: a", "x.yaml:1: kind: 'None' is not a part kind; allowed: "),
        ("description: a link", "name: a link", "x.yaml:2: name: unknown key; a part's name is its path"),
        ("description: a link", "description: [a]", "x.yaml:2: description: ['a']: Input should be a valid string"),
        (LINK[LINK.index("energy:") :], "energy: []", "x.yaml:8: energy: []: Input should be a valid dictionary "),
    ],
)  # fmt: skip
def test_mistakes_in_a_part_are_named_with_their_line(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert old in LINK
    text = fault(write(tmp_path, LINK.replace(old, new, 1)))
    assert text.startswith(expected) or expected in text


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("pim/bank-pim", "pim/bank-pm", "x.yaml:5: devices.pim0.part: 'pim/bank-pm' is no part and no YAML file; did"),
        ("link/pcie5-x16", "link/pcie", "x.yaml:7: links[0].part: 'link/pcie' is no part and no YAML file; "),
        ("[host, pim0]", "[host, pim1]", "x.yaml:7: links[0].between: 'pim1' is no device here; did you mean pim0? "),
        ("[host, pim0]", "[host, host]", "x.yaml:7: links[0].between: 'host' is linked to itself"),
        ("[host, pim0]", "[host]", "x.yaml:7: links[0].between"),
        ("[host, pim0]", "host", "x.yaml:7: links[0].between: 'host': Input should be a valid tuple"),
        ("name: pcie", "name: pim0", "x.yaml:6: links: the name 'pim0' is used twice"),
        ("name: pcie", "name: a.b", "x.yaml:7: links[0].name: 'a.b' is not a name; expected letters"),
        ("name: pcie", "nam: pcie", "x.yaml:7: links[0].nam: unknown key; did you mean name? allowed: between, "),
        ("  pim0:", "  pim.0:", "x.yaml:5: devices.pim.0: 'pim.0' is not a name; "),
        ("pim/bank-pim", "link/pcie5-x16", "x.yaml:5: devices.pim0.part: link/pcie5-x16 is a link; it stands under "),
        ("link/pcie5-x16", "pim/bank-pim", "x.yaml:7: links[0].part: pim/bank-pim is a pim; expected a link or a nic"),
        ("pim/bank-pim", "systems/bank-pim", "kind: is a system; expected a part"),
        ("pim/bank-pim", "[a]", "x.yaml:5: devices.pim0.part: ['a']: Input should be a valid string"),
        (SYSTEM[SYSTEM.index("devices:") : SYSTEM.index("links:")], "devices: {}\n", "x.yaml:3: devices: {}: "),
    ],
)  # fmt: skip
def test_mistakes_in_a_system_are_named_with_their_line(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert old in SYSTEM
    text = fault(write(tmp_path, SYSTEM.replace(old, new, 1)))
    assert text.startswith(expected) or expected in text


@pytest.mark.parametrize("text", ["[]", "~", "link", "3", "- kind: link"])
def test_a_file_that_is_no_mapping(text: str, tmp_path: Path) -> None:
    assert fault(write(tmp_path, text)) == "x.yaml:1: expected a mapping"


@pytest.mark.parametrize(
    "name", ["", "a\x00b", "a" * 5000, "../..", "/", "gpu", "link/pcie5-x16/", "hw_models", "\ud800"]
)
def test_names_that_are_no_part(name: str) -> None:
    with pytest.raises(SpecError, match="is no part and no YAML file"):
        find_part(name)
    with pytest.raises(SpecError, match="is not a file"):
        find_file(name)


def test_messages_stay_short(tmp_path: Path) -> None:
    for new in ("x" * 10_000, "[" + "1," * 5_000 + "1]", "[" * 60 + "]" * 60):
        assert len(fault(write(tmp_path, LINK.replace("10 GB/s", new)))) < 400
        assert len(fault(write(tmp_path, LINK.replace("a link", f"[{new}]")))) < 400


@given(st.dictionaries(st.sampled_from(["value", "source", "basis", "note"]), st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers(), max_size=2),
    st.sampled_from(list(Basis)), st.sampled_from(["1 GB/s", "0.5"]),
)))  # fmt: skip
def test_any_number_is_read_or_refused_with_its_key(raw: dict[str, Any]) -> None:
    part = load_hardware("link/pcie5-x16")
    try:
        changed = type(part).model_validate({**part.model_dump(exclude={"bandwidth"}), "bandwidth": raw, **kept(part)})
    except ValueError as error:
        assert "bandwidth" in str(error)
    else:
        assert isinstance(changed, LinkPart)
        assert changed.bandwidth.si > 0


def kept(part: Any) -> dict[str, Any]:
    return {name: getattr(part, name) for name in type(part).model_fields if name != "bandwidth"}


# Systems


def test_parts_beside_a_system_file_are_found(tmp_path: Path) -> None:
    write(tmp_path, LINK, "mine.yaml")
    system = load_system(write(tmp_path, SYSTEM.replace("link/pcie5-x16", "mine.yaml")))
    assert system.links[0].part.description == "a link"


# The data against what it was read from


def test_column_commands_of_pim_give_the_published_multiples() -> None:
    """AttAcc without power limit 16 times the external rate at most; Duplex 4 times."""
    for name, multiple in (("bank-pim", 32 / 3), ("bank-pim-unlimited", 16), ("logic-pim", 4)):
        part = load_hardware(f"pim/{name}")
        assert isinstance(part, PimPart)
        external = part.memory.stacks.si * part.memory.bandwidth.si
        assert part.column_bandwidth / external == pytest.approx(multiple, rel=0.01)


def test_units_of_pim_do_an_operation_a_byte_or_eight() -> None:
    for name, intensity in (("bank-pim", 1), ("bank-pim-unlimited", 1), ("logic-pim", 8)):
        part = load_hardware(f"pim/{name}")
        assert isinstance(part, PimPart)
        compute, stacks = part.compute, part.memory.stacks.si
        flops = 2 * stacks * compute.units.si * compute.macs["fp16"].si * compute.clock.si
        assert flops / part.column_bandwidth == pytest.approx(intensity, rel=0.01)


@pytest.mark.parametrize(("name", "lanes_gt_s"), [("pcie3-x16", 8), ("pcie4-x16", 16), ("pcie5-x16", 32)])
def test_pcie_rates_follow_from_the_line_code(name: str, lanes_gt_s: float) -> None:
    part = load_hardware(f"link/{name}")
    assert isinstance(part, LinkPart)
    assert part.bandwidth.si == pytest.approx(lanes_gt_s * 1e9 * 16 / 8 * 128 / 130, rel=1e-3)


def test_the_schema_of_a_kind_may_stand_beside_its_device() -> None:
    assert PARTS.get("storage").__module__ == "simsparse.devices.storage"
    code = "from simsparse.config.hardware import PARTS, load_hardware; print(load_hardware('storage/nvme-gen5').kind)"
    kind = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert kind.stdout == "storage\n"


def test_a_registry_imports_what_registers_beside_it_when_a_name_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "house.py").write_text(
        "from simsparse.registry import Registry\n"
        "PLAIN = Registry('plain', beside='house:OTHER')\nOTHER = Registry('other', ('late',))\n"
        "PLAIN.register('early')(0)\n",
        encoding="utf-8",
    )
    (tmp_path / "late.py").write_text("from house import PLAIN\nPLAIN.register('late')(1)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    plain = import_module("house").PLAIN
    assert plain.get("early") == 0 and "late" not in sys.modules
    assert plain.get("late") == 1 and list(plain) == ["early", "late"]
    with pytest.raises(SpecError, match="'lat' is not a plain"):
        plain.get("lat")
