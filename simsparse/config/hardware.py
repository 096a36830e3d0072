# SPDX-License-Identifier: Apache-2.0
"""Parts and systems: from a name or path to a validated, frozen machine."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from simsparse.config.cluster import Cluster, ClusterEntry, Domain, GroupSpan
from simsparse.config.extends import read_part
from simsparse.config.paths import find_part, part_name
from simsparse.config.quantity import Basis, Frozen, Part, Quantity, shown
from simsparse.config.remember import by_content, read_noted
from simsparse.config.validated import fault_message, validate_document
from simsparse.config.yaml import Document, KeyPath
from simsparse.core.role import Role
from simsparse.errors import SpecError, nearest
from simsparse.registry import Registry

PARTS: Registry[type[Part]] = Registry(
    "part kind", package="simsparse.config.parts", beside="simsparse.devices.base:DEVICES"
)
"""Schemas of parts; that of a kind may stand beside its device."""


NIC = "nic"
"""Name of a cluster's network port among the parts of its system."""
LINK_PARTS = ("link", "nic")
"""Kinds of part that stand between devices."""

_SET_BY_LOADER = {"name": "a part's name is its path", "overridden": "overrides stand in an experiment or a sweep"}


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", text):
        raise ValueError(f"{shown(text)} is not a name; expected letters, digits, _ and -, a letter first")
    return text


ComponentName = Annotated[str, AfterValidator(_name)]


MAX_COUNT = 64
"""Devices that one entry of a system may stand for."""


class _DeviceEntry(Frozen):
    """``count`` equal devices, NAME0 to NAMEn; what a link joins to NAME is joined to each of them."""

    part: str
    role: Role | None = None
    count: Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)] | None = None


class _LinkEntry(Frozen):
    part: str
    between: tuple[str, str]
    name: ComponentName | None = None


class _SystemSpec(Frozen):
    kind: str
    description: str
    devices: Annotated[dict[ComponentName, _DeviceEntry], Field(min_length=1)]
    links: tuple[_LinkEntry, ...] = ()
    groups: dict[ComponentName, tuple[str, ...]] = Field(default_factory=dict)
    collectives: dict[str, str] = Field(default_factory=dict)
    cluster: ClusterEntry | None = None


def _total(numbers: Iterable[Quantity | None]) -> float | None:
    """The sum in SI; None of nothing, or when one is unknown."""
    listed = list(numbers)
    known = [number.si for number in listed if number is not None]
    return sum(known) if known and len(known) == len(listed) else None


@dataclass(frozen=True)
class Connection:
    """A link part between two devices of a system."""

    name: str
    part: Part
    between: tuple[str, str]


@dataclass(frozen=True)
class System:
    """Devices by name and the links between them.

    ``overrides`` are the values that the user changed, path to text, as they enter the Result. ``roles``
    are those that differ from the parts' own. ``groups`` are lists of devices by name, in the order of
    ranks; ``collectives`` the algorithms by the label of the collective, where the file names them. ``cluster``: of
    how many equal nodes this is one. Where one device stands for all ranks of its kind, ``spans`` are the groups of
    ranks by name, and ``domains`` what joins them, innermost first.
    """

    name: str
    description: str
    devices: Mapping[str, Part]
    links: tuple[Connection, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    collectives: Mapping[str, str] = field(default_factory=dict)
    cluster: Cluster | None = None
    spans: Mapping[str, GroupSpan] = field(default_factory=dict)
    domains: tuple[Domain, ...] = ()

    def role(self, device: str) -> Role:
        """What ``device`` does: the role that the system gives it, else that of its part."""
        return self.roles.get(device) or self.devices[device].role

    def parts(self) -> dict[str, Part]:
        """Devices and links by name, and the port of a cluster's network, ``nic``."""
        network = {NIC: self.cluster.nic} if self.cluster else {}
        return {**self.devices, **{link.name: link.part for link in self.links}, **network}

    @property
    def area_mm2(self) -> float | None:
        """Sum of the areas of processors and memories; None if any is unknown."""
        return _total(part.counted_area for part in self._counted)

    @property
    def power_w(self) -> float | None:
        """Sum of the stated powers of the same devices; None if any is unknown."""
        return _total(part.stated_power for part in self._counted)

    @property
    def _counted(self) -> list[Part]:
        return [part for name, part in self.devices.items() if self.role(name) in (Role.PROCESSOR, Role.MEMORY)]

    @cached_property
    def assumed(self) -> tuple[str, ...]:
        """Paths of all values of basis ``assumed``."""
        return tuple(f"{name}.{text}" for name, part in self.parts().items() for text in part.assumed)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every value of the system, whatever files they came from."""
        values = {name: part.digest for name, part in self.parts().items()}
        links = [(link.name, link.between) for link in self.links]
        stated: list[Any] = [dict(said) for said in (self.roles, self.groups, self.collectives) if said]
        if self.cluster:
            stated.append([self.cluster.nodes, self.cluster.nics, self.cluster.leaf, self.cluster.oversubscription])
        stated += [[name, span.ranks, span.stride] for name, span in self.spans.items()]
        return hashlib.sha256(json.dumps([values, links, *stated], sort_keys=True).encode()).hexdigest()[:16]

    def with_overrides(self, overrides: Mapping[str, Any]) -> System:
        """A copy with values replaced; a path is DEVICE_OR_LINK.FIELD[.FIELD]. Raises SpecError.

        Devices that share a part and its new values share the new part too.
        """
        if not overrides:
            return self
        parts, known = self.parts(), dict[tuple[int, str, str | int], tuple[Part, Part]]()
        for path, value in overrides.items():
            owner, _, key = path.partition(".")
            if owner not in parts:
                raise SpecError(f"{shown(owner)} is not in {self.name}; {nearest(owner, parts)}", key=path)
            given, before = _given(value), parts[owner]
            same = (id(before), key, given if isinstance(given, str) else id(given))
            try:
                if same not in known:
                    known[same] = before, override_part(before, {key: given})
            except SpecError as error:
                raise SpecError(error.message, key=path) from error
            parts[owner] = known[same][1]
        devices = {name: parts[name] for name in self.devices}
        links = tuple(replace(link, part=parts[link.name]) for link in self.links)
        texts = {path: value.text if isinstance(value, Quantity) else str(value) for path, value in overrides.items()}
        cluster = replace(self.cluster, nic=parts[NIC]) if self.cluster else None
        return replace(self, devices=devices, links=links, cluster=cluster, overrides={**self.overrides, **texts})


def _given(value: Any) -> str | Quantity:
    """A value in place of another one: text, or a number that has been read."""
    return value if isinstance(value, Quantity) else str(value)


def override_part(part: Part, changes: Mapping[str, str | Quantity]) -> Part:
    """``part`` with values replaced: dotted path to text such as ``"4.8 TB/s"``.

    A value that the file leaves unknown (null) can be given too, a word such as a dataflow, and a list of words with
    commas between them, such as N:M patterns. Raises SpecError.
    """
    changed = part
    for path, text in changes.items():
        changed = _replaced(changed, part, path, path.split("."), text)
    overridden = (*part.overridden, *(path for path in changes if path not in part.overridden))
    return changed.changed_from(part.stated, overridden) if changes else part


def _replaced(node: Any, part: Part, path: str, keys: list[str], text: str | Quantity) -> Any:
    """``node`` with the value at ``keys`` replaced; ``part`` and ``path`` are for messages."""
    key, *deeper = keys
    if node is part and key in _SET_BY_LOADER:
        raise _no_value(part, path)
    if isinstance(node, BaseModel) and key in type(node).model_fields:
        inside, old = {field: getattr(node, field) for field in type(node).model_fields}, getattr(node, key)
    elif isinstance(node, dict) and key in node:
        inside, old = dict(node), node[key]
    else:
        raise _no_value(part, path)
    if deeper:
        inside[key] = _replaced(old, part, path, deeper, text)
    elif old is None or isinstance(old, Quantity):
        inside[key] = text if isinstance(text, Quantity) else {"value": text, "source": None, "basis": Basis.OVERRIDE}
    elif isinstance(text, Quantity):
        raise _no_value(part, path)
    elif node is not part and isinstance(old, str):
        inside[key] = text
    elif isinstance(old, tuple) and all(isinstance(item, str) for item in old):
        inside[key] = tuple(word.strip() for word in text.split(","))
    else:
        raise _no_value(part, path)
    if isinstance(node, dict):
        return inside
    try:
        return type(node).model_validate(inside)
    except ValidationError as error:
        raise SpecError(fault_message(error.errors()[0]), key=path) from error


def _no_value(part: Part, path: str) -> SpecError:
    known = [name for name, _ in part.quantities()]
    return SpecError(f"{part.name} has no value {shown(path)}; {nearest(path, known)}", key=path)


def _mapping(document: Document) -> dict[str, Any]:
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping")
    return document.data


def load_hardware(name: str | Path, overrides: Mapping[str, Any] | None = None) -> Part:
    """The part called ``name`` (``gpu/h100-sxm5-80gb``) or in the YAML file ``name``.

    Raises SpecError that names file, line and key.
    """
    path = find_part(str(name), systems=False)
    part = _load_part(path, part_name(path))
    return override_part(part, {key: str(value) for key, value in overrides.items()}) if overrides else part


@by_content(maxsize=1024)
def _load_part(path: Path, name: str) -> Part:
    document = read_part(path)
    data = _mapping(document)
    kind = data.get("kind")
    if kind == "system":
        raise document.error(("kind",), "is a system; expected a part")
    try:
        model = PARTS.get(kind if isinstance(kind, str) and len(kind) < 60 else shown(kind))
    except SpecError as error:
        raise document.error(("kind",), error.message) from None
    for key, why in _SET_BY_LOADER.items():
        if key in data:
            raise document.error((key,), f"unknown key; {why}")
    part: Part = validate_document(document, model, {**data, "name": name})
    return part


def load_system(name: str | Path, overrides: Mapping[str, Any] | None = None) -> System:
    """The system called ``name`` (``systems/h100-pcie5``), or a single part as a one-device system.

    Raises SpecError that names file, line and key.
    """
    path = find_part(str(name))
    system = _load_system(path, part_name(path))
    return system.with_overrides(overrides or {})


def part_of(part: Part | str | Path) -> Part:
    """``part`` itself, or the one that it names. Raises SpecError that names file, line and key."""
    return part if isinstance(part, Part) else load_hardware(part)


def system_of(system: System | Part | str | Path) -> System:
    """``system`` itself, a part as a one-device system, or what a name stands for. Raises SpecError that names file,
    line and key."""
    if isinstance(system, Part):
        return System(system.name, system.description, {f"{system.kind}0": system})
    return system if isinstance(system, System) else load_system(system)


@by_content(maxsize=1024)
def _load_system(path: Path, name: str) -> System:
    document = read_noted(path)
    data = _mapping(document)
    if data.get("kind") != "system":
        return system_of(_load_part(path, name))
    spec: _SystemSpec = validate_document(document, _SystemSpec, deepcopy(data))
    copies = {device: _copies(device, entry) for device, entry in spec.devices.items()}
    parts = {device: _device(document, device, entry.part) for device, entry in spec.devices.items()}
    devices = {copy: parts[device] for device, own in copies.items() for copy in own}
    links = tuple(
        _link(document, i, each, devices) for i, entry in enumerate(spec.links) for each in _each(entry, copies)
    )
    taken = Counter([*devices, *(link.name for link in links), *([NIC] if spec.cluster else [])])
    if twice := next((n for n, times in taken.items() if times > 1), None):
        raise document.error(("links",), f"the name {twice!r} is used twice")
    roles = {copy: entry.role for device, entry in spec.devices.items() if entry.role for copy in copies[device]}
    groups = {name: tuple(copy for member in own for copy in copies.get(member, (member,)))
              for name, own in spec.groups.items()}  # fmt: skip
    _check_groups(document, groups, devices)
    cluster = _cluster(document, spec.cluster) if spec.cluster else None
    return System(name, spec.description, devices, links, {}, roles, groups, spec.collectives, cluster)


def _cluster(document: Document, entry: ClusterEntry) -> Cluster:
    path: KeyPath = ("cluster", "nic")
    part = _member(document, path, entry.nic)
    if part.kind not in LINK_PARTS:
        raise document.error(path, f"{entry.nic} is a {part.kind}; expected a nic or a link")
    return Cluster(entry.nodes, part, entry.nics, entry.leaf, entry.oversubscription)


def _copies(device: str, entry: _DeviceEntry) -> tuple[str, ...]:
    return (device,) if entry.count is None else tuple(f"{device}{i}" for i in range(entry.count))


def _each(entry: _LinkEntry, copies: Mapping[str, tuple[str, ...]]) -> Iterator[_LinkEntry]:
    """The links that an entry stands for: one per device that an end stands for."""
    ends = [copies.get(end, (end,)) for end in entry.between]
    if all(copies.get(end) in (None, (end,)) for end in entry.between):
        yield entry
        return
    name = entry.name or "-".join(entry.between)
    for i, between in enumerate(product(*ends)):
        yield entry.model_copy(update={"between": between, "name": f"{name}{i}"})


def _check_groups(document: Document, groups: Mapping[str, tuple[str, ...]], devices: Mapping[str, Part]) -> None:
    for name, members in groups.items():
        if name in devices:
            raise document.error(("groups", name), "is the name of a device")
        for i, member in enumerate(members):
            path: KeyPath = ("groups", name, i)
            if member not in devices:
                raise document.error(path, f"{shown(member)} is no device here; {nearest(member, devices)}")
            if member in members[:i]:
                raise document.error(path, f"{shown(member)} stands twice")


def _device(document: Document, device: str, name: str) -> Part:
    path: KeyPath = ("devices", device, "part")
    part = _member(document, path, name)
    if part.kind in LINK_PARTS:
        raise document.error(path, f"{name} is a {part.kind}; it stands under links, between two devices")
    return part


def _link(document: Document, index: int, entry: _LinkEntry, devices: Mapping[str, Part]) -> Connection:
    path: KeyPath = ("links", index, "between")
    for end in entry.between:
        if end not in devices:
            raise document.error(path, f"{shown(end)} is no device here; {nearest(end, devices)}")
    if entry.between[0] == entry.between[1]:
        raise document.error(path, f"{entry.between[0]!r} is linked to itself")
    part = _member(document, ("links", index, "part"), entry.part)
    if part.kind not in LINK_PARTS:
        raise document.error(("links", index, "part"), f"{entry.part} is a {part.kind}; expected a link or a nic")
    return Connection(entry.name or "-".join(entry.between), part, entry.between)


def _member(document: Document, path: KeyPath, name: str) -> Part:
    try:
        file = find_part(name, Path(document.file).parent)
    except SpecError as error:
        raise document.error(path, error.message) from None
    return _load_part(file, part_name(file))
