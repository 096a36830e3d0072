# SPDX-License-Identifier: Apache-2.0
"""The catalogue of parts and systems: what there is, what each number rests on, what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simsparse.config.engine import engine_file, engine_names, load_engine
from simsparse.config.hardware import load_hardware, load_system
from simsparse.config.parts.gpu_kernels import libraries, library_file, read_library
from simsparse.config.paths import find_part, own_part_names, part_names
from simsparse.config.quantity import Basis, Frozen, Part, Quantity, shown
from simsparse.config.silicon import silicon_file, silicon_table
from simsparse.config.yaml import Document, KeyPath, read_yaml
from simsparse.errors import SpecError, nearest
from simsparse.paths import data_root, is_file


@dataclass(frozen=True, slots=True)
class Entry:
    """A part or system: its kind is its folder, ``bases`` counts its own numbers by basis."""

    name: str
    kind: str
    description: str
    bases: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Value:
    """A number of a part: ``text`` as the file says it, ``si`` in ``unit``, and whence.

    ``path`` is what an override takes; ``source`` is the citation, None for a bare assumption.
    """

    path: str
    text: str
    si: float
    unit: str
    basis: str
    source: str | None
    note: str


def listing(kind: str | None = None) -> list[Entry]:
    """All parts and systems, or those of one kind, in order of name, the user's own last. Raises SpecError."""
    names = [*part_names(), *own_part_names()]
    kinds = {_kind(name) for name in names}
    if kind is not None and kind not in kinds:
        raise SpecError(f"{shown(kind)} is not a kind of part; {nearest(kind, kinds)}")
    return [_entry(name) for name in names if kind in (None, _kind(name))]


def values(name: str) -> list[Value]:
    """Every number of a part, or of all parts of a system. Raises SpecError."""
    cited = sources()
    system = load_system(name)
    alone = not _is_system(read_yaml(find_part(name)))
    return [
        _value(path if alone else f"{owner}.{path}", quantity, cited)
        for owner, part in system.parts().items()
        for path, quantity in part.quantities()
    ]


def sources() -> dict[str, str]:
    """Citations by key. Raises SpecError when the file is not a mapping of keys to text."""
    return _citations(_sources_document())


def _citations(document: Document) -> dict[str, str]:
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping of keys to citations")
    for key, text in document.data.items():
        if not isinstance(text, str) or not text.strip():
            raise document.error((key,), f"{shown(text)} is not a citation")
    return document.data


def check(names: Sequence[str] | None = None) -> list[SpecError]:
    """What is wrong with the parts and systems called ``names``, or with all of them.

    Each loads; every source that a number names has a citation; and, when all are checked, every
    citation is used.
    """
    try:
        cited = sources()
    except SpecError as error:
        return [error]
    faults: list[SpecError] = []
    used: set[str] = set()
    for name in [*part_names(), *own_part_names()] if names is None else names:
        try:
            faults += _check_part(name, cited, used)
        except SpecError as error:
            faults.append(error)
    if names is None:
        faults += [*_check_libraries(cited, used), *_check_engines(cited, used), *_check_silicon(cited, used)]
        document = _sources_document()
        faults += [document.error((key,), "no part uses this source") for key in cited if key not in used]
    return faults


def _check_part(name: str, cited: Mapping[str, str], used: set[str]) -> Iterator[SpecError]:
    document = read_yaml(find_part(name))
    cited = {**cited, **_own_sources(Path(document.file))}
    if _is_system(document):
        load_system(name)
        return
    yield from _check_numbers(document, load_hardware(name), cited, used)


def _check_libraries(cited: Mapping[str, str], used: set[str]) -> Iterator[SpecError]:
    """Faults of kernel libraries, those that no part names included."""
    for name, architecture in libraries():
        try:
            library = read_library(name, architecture)
        except SpecError as error:
            yield error
            continue
        yield from _check_numbers(read_yaml(library_file(name, architecture)), library, cited, used)


def _check_engines(cited: Mapping[str, str], used: set[str]) -> Iterator[SpecError]:
    """Faults of serving engines."""
    for name in engine_names():
        try:
            engine = load_engine(name)
        except SpecError as error:
            yield error
            continue
        yield from _check_numbers(read_yaml(engine_file(name)), engine, cited, used)


def _check_silicon(cited: Mapping[str, str], used: set[str]) -> Iterator[SpecError]:
    """Faults of the components of chips, where there are any."""
    if not is_file(silicon_file()):
        return
    try:
        table = silicon_table()
    except SpecError as error:
        yield error
        return
    yield from _check_numbers(read_yaml(silicon_file()), table, cited, used)


def _check_numbers(document: Document, part: Frozen, cited: Mapping[str, str], used: set[str]) -> Iterator[SpecError]:
    for path, quantity in part.quantities():
        where: KeyPath = (*path.split("."), "source")
        if quantity.basis is Basis.OVERRIDE:
            yield document.error((*where[:-1], "basis"), "override is for values given at run time")
        if quantity.source is None:
            continue
        used.add(quantity.source)
        if quantity.source not in cited:
            yield document.error(where, f"{quantity.source!r} is no source; {nearest(quantity.source, cited)}")


def _own_sources(part: Path) -> dict[str, str]:
    """Citations of a user's own folder: sources.yaml beside the part, or one folder up."""
    for folder in (part.parent, part.parent.parent):
        if is_file(folder / "sources.yaml"):
            return _citations(read_yaml(folder / "sources.yaml"))
    return {}


def _is_system(document: Document) -> bool:
    return isinstance(document.data, dict) and document.data.get("kind") == "system"


def _entry(name: str) -> Entry:
    system = load_system(name)
    own: list[Part] = [] if _is_system(read_yaml(find_part(name))) else list(system.devices.values())
    bases = Counter(str(quantity.basis) for part in own for _, quantity in part.quantities())
    return Entry(name, _kind(name), system.description, dict(sorted(bases.items())))


def _value(path: str, quantity: Quantity, cited: Mapping[str, str]) -> Value:
    source = quantity.source
    citation = None if source is None else f"{source}: {cited[source]}" if source in cited else source
    return Value(path, quantity.text, quantity.si, quantity.unit, str(quantity.basis), citation, quantity.note)


def _kind(name: str) -> str:
    return name.split("/")[-2]


def _sources_document() -> Document:
    return read_yaml(data_root() / "hw_models" / "sources.yaml")
