# SPDX-License-Identifier: Apache-2.0
"""Parts that extend another: a new card says what differs, and takes the rest from a card that is described."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simsparse.config.paths import find_part
from simsparse.config.quantity import Basis
from simsparse.config.remember import read_noted
from simsparse.config.yaml import Document
from simsparse.errors import SpecError

KEY = "extends"
MAX_STEPS = 8


def bases(path: Path) -> Iterator[Document]:
    """Documents of a part and those that it extends, nearest first. Raises SpecError where they go round or too far."""
    seen: list[Path] = []
    while True:
        seen.append(path)
        document = read_noted(path)
        yield document
        name = document.data.get(KEY) if isinstance(document.data, dict) else None
        if name is None:
            return
        path = _base(document, name)
        if path in seen or len(seen) >= MAX_STEPS:
            raise document.error((KEY,), f"{name!r} extends, by way of others, this file or more than {MAX_STEPS}")


def read_part(path: Path) -> Document:
    """The document of a part, its own values over those of the parts that it extends.

    A value that was measured on the other part is assumed here, and its note says of which part it is.
    """
    first, *others = bases(path)
    if not others:
        return first
    merged: Any = {}
    for document in reversed(others):
        merged = _assumed(_over(merged, document.data), first.data[KEY])
    own = {key: value for key, value in first.data.items() if key != KEY}
    merged.pop(KEY, None)
    return Document(first.file, _over(merged, own), first.lines)


def _base(document: Document, name: Any) -> Path:
    if not isinstance(name, str):
        raise document.error((KEY,), f"{name!r} is not the name of a part")
    try:
        return find_part(name, Path(document.file).parent)
    except SpecError as error:
        raise document.error((KEY,), error.message) from None


def _over(below: Any, above: Any) -> Any:
    """Mappings joined key by key; a value with its unit and source replaces the other as a whole."""
    if not _is_section(below) or not _is_section(above):
        return above
    return {**below, **{key: _over(below.get(key), value) for key, value in above.items()}}


def _is_section(node: Any) -> bool:
    return isinstance(node, Mapping) and "value" not in node


def _assumed(node: Any, name: str) -> Any:
    if not isinstance(node, Mapping):
        return node
    if "value" in node:
        measured = node.get("basis") == Basis.MEASURED
        return {**node, "basis": str(Basis.ASSUMED), "note": f"as measured on {name}"} if measured else node
    return {key: _assumed(value, name) for key, value in node.items()}
