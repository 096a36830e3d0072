"""Parts and systems: from a name or path to a validated, frozen machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simsparse.config.paths import find_part
from simsparse.config.quantity import Basis, Frozen, Part
from simsparse.config.yaml import Document, KeyPath, read_yaml
from simsparse.errors import SpecError, nearest
from simsparse.registry import Registry

PARTS: Registry[type[Part]] = Registry(
    "part kind",
    tuple(f"simsparse.config.parts.{kind}" for kind in
          ("gpu", "cpu", "accel", "pim", "memory", "link", "storage", "nic")),
)  # fmt: skip


class _DeviceEntry(Frozen):
    part: str


class _LinkEntry(Frozen):
    part: str
    between: tuple[str, str]
    name: str | None = None


class _SystemSpec(Frozen):
    kind: str
    description: str
    devices: dict[str, _DeviceEntry]
    links: tuple[_LinkEntry, ...] = ()


@dataclass(frozen=True)
class Link:
    """A link of a system between two of its devices."""

    name: str
    part: Part
    between: tuple[str, str]


@dataclass(frozen=True)
class System:
    """Devices by name and the links between them.

    ``overrides`` are the values that the user changed, path to text, as they enter the Result.
    """

    name: str
    description: str
    devices: Mapping[str, Part]
    links: tuple[Link, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)

    def parts(self) -> dict[str, Part]:
        """Devices and links by name."""
        return {**self.devices, **{link.name: link.part for link in self.links}}

    @property
    def area_mm2(self) -> float | None:
        """Total area of the devices whose area is known to all; None when one is unknown."""
        areas = [part.area for part in self.devices.values() if part.kind not in ("cpu", "storage")]
        known = [area.si for area in areas if area is not None]
        return sum(known) if known and len(known) == len(areas) else None

    @cached_property
    def assumed(self) -> tuple[str, ...]:
        """Paths of all values of basis ``assumed``."""
        return tuple(
            f"{name}.{path} = {quantity.text}"
            for name, part in self.parts().items()
            for path, quantity in part.quantities()
            if quantity.basis is Basis.ASSUMED
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every value of the system, whatever files they came from."""
        values = {name: part.model_dump(mode="json") for name, part in self.parts().items()}
        links = [(link.name, link.between) for link in self.links]
        return hashlib.sha256(json.dumps([values, links], sort_keys=True).encode()).hexdigest()[:16]

    def with_overrides(self, overrides: Mapping[str, Any]) -> System:
        """A copy with values replaced; a path is DEVICE_OR_LINK.FIELD[.FIELD]. Raises SpecError."""
        if not overrides:
            return self
        by_part: dict[str, dict[str, str]] = {}
        for path, value in overrides.items():
            owner, _, key = path.partition(".")
            if owner not in self.parts() or not key:
                raise SpecError(f"{owner!r} is not in {self.name}; {nearest(owner, self.parts())}", key=path)
            by_part.setdefault(owner, {})[key] = str(value)
        devices = {n: override_part(p, by_part[n]) if n in by_part else p for n, p in self.devices.items()}
        links = tuple(
            replace(link, part=override_part(link.part, by_part[link.name])) if link.name in by_part else link
            for link in self.links
        )
        texts = {path: str(value) for path, value in overrides.items()}
        return System(self.name, self.description, devices, links, {**self.overrides, **texts})


def override_part(part: Part, changes: Mapping[str, str]) -> Part:
    """``part`` with values replaced: dotted path to text such as ``"4.8 TB/s"``. Raises SpecError."""
    raw = part.model_dump()
    known = dict(part.quantities())
    if unknown := next((path for path in changes if path not in known), None):
        raise SpecError(f"{part.name} has no value {unknown!r}; {nearest(unknown, known)}", key=unknown)
    for path, quantity in known.items():
        text = changes.get(path)
        _set(raw, path, quantity if text is None else {"value": text, "source": "override", "basis": Basis.OVERRIDE})
    try:
        return type(part).model_validate(raw)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(item) for item in detail["loc"])
        raise SpecError(fault_message(detail), key=where) from error


def _set(raw: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    node: Any = raw
    for parent in parents:
        node = node[parent]
    node[last] = value


def fault_message(detail: Any) -> str:
    """What is wrong, in one line, from one item of pydantic's ``errors()``."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    return f"{detail['input']!r}: {detail['msg']}"


def validate_document(document: Document, model: type[Frozen], data: Mapping[str, Any]) -> Any:
    """``data`` as ``model``; the first fault as a SpecError that names file, line, key and value."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        detail = error.errors()[0]
        path: KeyPath = detail["loc"]
        message = fault_message(detail)
        if detail["type"] == "extra_forbidden":
            message = f"unknown key; {nearest(str(path[-1]), _fields(model, path[:-1]))}"
        raise document.error(path, message) from error


def _fields(model: type[Frozen], path: KeyPath) -> list[str]:
    current: Any = model
    for part in path:
        info = getattr(current, "model_fields", {}).get(part)
        if info is None:
            return []
        current = next((t for t in _types(info.annotation) if hasattr(t, "model_fields")), None)
    return [name for name in getattr(current, "model_fields", {}) if name != "name"]


def _types(annotation: Any) -> list[Any]:
    arguments = getattr(annotation, "__args__", ())
    return [annotation, *(found for argument in arguments for found in _types(argument))]


def _mapping(document: Document) -> dict[str, Any]:
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping")
    return document.data


def load_hardware(name: str, overrides: Mapping[str, Any] | None = None) -> Part:
    """The part called ``name`` (``gpu/h100-sxm5-80gb``) or in the YAML file ``name``.

    Raises SpecError that names file, line and key.
    """
    path = find_part(name)
    part = _load_part(path, path.stat().st_mtime_ns, _part_name(name, path))
    return override_part(part, {key: str(value) for key, value in overrides.items()}) if overrides else part


def _part_name(name: str, path: Path) -> str:
    return name if not name.endswith((".yaml", ".yml")) else f"{path.parent.name}/{path.stem}"


@lru_cache(maxsize=1024)
def _load_part(path: Path, mtime_ns: int, name: str) -> Part:
    del mtime_ns
    document = read_yaml(path)
    data = _mapping(document)
    kind = data.get("kind")
    if kind == "system":
        raise document.error(("kind",), "is a system; expected a part")
    try:
        model = PARTS.get(str(kind))
    except SpecError as error:
        raise document.error(("kind",), error.message) from None
    if "name" in data:
        raise document.error(("name",), "unknown key; a part's name is its path")
    part: Part = validate_document(document, model, {**data, "name": name})
    return part


def load_system(name: str, overrides: Mapping[str, Any] | None = None) -> System:
    """The system called ``name`` (``systems/h100-pcie5``), or a single part as a one-device system.

    Raises SpecError that names file, line and key.
    """
    path = find_part(name)
    system = _load_system(path, path.stat().st_mtime_ns, _part_name(name, path))
    return system.with_overrides(overrides or {})


@lru_cache(maxsize=1024)
def _load_system(path: Path, mtime_ns: int, name: str) -> System:
    document = read_yaml(path)
    data = _mapping(document)
    if data.get("kind") != "system":
        part = _load_part(path, mtime_ns, name)
        return System(name, part.description, {f"{part.kind}0": part})
    spec: _SystemSpec = validate_document(document, _SystemSpec, deepcopy(data))
    devices = {
        device: _member(document, ("devices", device, "part"), entry.part) for device, entry in spec.devices.items()
    }
    links = []
    for i, entry in enumerate(spec.links):
        for end in entry.between:
            if end not in devices:
                raise document.error(("links", i, "between"), f"{end!r} is no device here; {nearest(end, devices)}")
        links.append(Link(entry.name or "-".join(entry.between), _member(document, ("links", i, "part"), entry.part),
                          entry.between))  # fmt: skip
    taken = [*devices, *(link.name for link in links)]
    if twice := next((n for n in taken if taken.count(n) > 1), None):
        raise document.error(("links",), f"the name {twice!r} is used twice")
    return System(name, spec.description, devices, tuple(links))


def _member(document: Document, path: KeyPath, name: str) -> Part:
    try:
        file = find_part(name, Path(document.file).parent)
    except SpecError as error:
        raise document.error(path, error.message) from None
    return _load_part(file, file.stat().st_mtime_ns, _part_name(name, file))
