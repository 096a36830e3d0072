# SPDX-License-Identifier: Apache-2.0
"""YAML in: one safe loader that knows the line of every key and refuses what hides mistakes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from simsparse.errors import SpecError
from simsparse.text import has_controls, printable

MAX_BYTES = 4 << 20
RESOLVED_BYTES = 16 * MAX_BYTES
"""Bytes of a spec as a sweep writes it again, each value on a line of its own."""
PARTS_USED = "parts_used"
"""The key under which a sweep lists every number of its systems, behind all else."""
MAX_DEPTH = 64
MAX_NODES = 100_000

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A parsed file: plain data, and the line on which every key or item stands."""

    file: str
    data: Any
    lines: Mapping[KeyPath, int]

    def line_of(self, path: KeyPath) -> int | None:
        """Line of the deepest known prefix of ``path``."""
        for length in range(len(path), -1, -1):
            if (line := self.lines.get(tuple(path[:length]))) is not None:
                return line
        return None

    def error(self, path: KeyPath, message: str) -> SpecError:
        """A SpecError that points at ``path``."""
        return SpecError(message, file=self.file, line=self.line_of(path), key=dotted(path))


def dotted(path: KeyPath) -> str:
    """``axes.weight_sparsity[1]`` for ("axes", "weight_sparsity", 1)."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe types, without the 1.1 surprises that bite in specs: sexagesimal 2:4, dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag.rsplit(":", 1)[-1] in ("null", "bool", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def _scalar(node: yaml.ScalarNode) -> Any:
    if node.style in ("'", '"', "|", ">"):
        return node.value
    text = node.value
    kind = node.tag.rsplit(":", 1)[-1]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("true", "yes", "on")
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _build(node: yaml.Node, path: KeyPath, file: str, lines: dict[KeyPath, int]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        _check_text(node, path, file)
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, i), file, lines) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        raise SpecError("not a mapping, list or value", file=file, line=lines[path])
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise SpecError("a key must be a word", file=file, line=line, key=dotted(path))
        _check_text(key_node, path, file)
        key = str(key_node.value)
        if key in result:
            raise SpecError(f"{key[:60]!r} stands twice; first on line {lines[*path, key]}",
                            file=file, line=line, key=dotted((*path, key)))  # fmt: skip
        lines[*path, key] = line
        result[key] = _build(value_node, (*path, key), file, lines)
    return result


def _check_text(node: yaml.ScalarNode, path: KeyPath, file: str) -> None:
    """Raises SpecError on control characters, which YAML writes as escapes and no page or figure can hold."""
    if has_controls(node.value):
        raise SpecError(f"'{printable(node.value)[:60]}' holds a control character; expected text",
                        file=file, line=node.start_mark.line + 1, key=dotted(path))  # fmt: skip


def _line(event: yaml.Event) -> int | None:
    return event.start_mark.line + 1 if event.start_mark else None


def _check_events(text: str, file: str) -> None:
    """Refuse aliases, great depth and too many values before anything recursive sees the text."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise SpecError("aliases (*name) are not allowed", file=file, line=_line(event))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise SpecError(f"nested deeper than {MAX_DEPTH} levels", file=file, line=_line(event))
        nodes += isinstance(event, yaml.NodeEvent)
        if nodes > MAX_NODES:
            raise SpecError(f"holds more than {MAX_NODES} keys and values", file=file, line=_line(event))


def parse_yaml(text: str, file: str = "<text>") -> Document:
    """Parse YAML text. Raises SpecError on a syntax error, a duplicate key, an alias, great depth or control
    characters."""
    lines: dict[KeyPath, int] = {}
    try:
        _check_events(text, file)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise SpecError(f"not YAML: {error.problem or error.context}", file=file, line=line) from error
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError(f"not YAML: {error}", file=file) from error
    if node is None:
        raise SpecError("the file is empty; expected a mapping", file=file, line=1)
    return Document(file, _build(node, (), file, lines), lines)


def read_yaml(path: Path) -> Document:
    """Parse a file; equal content gives the same Document.

    Raises SpecError when it can't be read, and beyond 4 MiB, 100,000 keys and values or 64 levels.
    """
    return _read(path, MAX_BYTES, None)


def read_resolved(path: Path) -> Document:
    """Parse what a sweep wrote of itself, without ``PARTS_USED``, which may be of any size. Raises SpecError."""
    return _read(path, RESOLVED_BYTES, f"\n{PARTS_USED}:".encode())


def read_parts_used(path: Path) -> Document:
    """Parse the numbers of systems that a sweep wrote under ``PARTS_USED``.

    Raises SpecError when it can't be read, and beyond 4 MiB.
    """
    return _read(path, MAX_BYTES, None, f"\n{PARTS_USED}:".encode())


def _read(path: Path, most: int, end: bytes | None, start: bytes | None = None) -> Document:
    """Parse a file up to ``end``, which is to come within ``most`` bytes, or from behind ``start`` on."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if end is not None:
            content = content.partition(end)[0]
        if start is not None:
            content = content.partition(start)[2]
        if len(content) > most:
            raise SpecError(f"is too large; a spec may have at most {most} bytes", file=str(path))
        return _parsed(str(path), content)
    except OSError as error:
        raise SpecError(f"can't be read: {error.strerror}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"is not UTF-8 text: {error.reason}", file=str(path)) from error
    except ValueError as error:  # a NUL in the name
        raise SpecError(f"can't be read: {error}", file=str(path)) from error


@lru_cache(maxsize=1024)
def _parsed(file: str, content: bytes) -> Document:
    return parse_yaml(content.decode("utf-8"), file)
