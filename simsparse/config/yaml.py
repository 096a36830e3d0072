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

MAX_BYTES = 4 << 20
MAX_DEPTH = 64

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
        key = str(key_node.value)
        if key in result:
            raise SpecError(f"{key[:60]!r} stands twice; first on line {lines[*path, key]}",
                            file=file, line=line, key=dotted((*path, key)))  # fmt: skip
        lines[*path, key] = line
        result[key] = _build(value_node, (*path, key), file, lines)
    return result


def _line(event: yaml.Event) -> int | None:
    return event.start_mark.line + 1 if event.start_mark else None


def _check_events(text: str, file: str) -> None:
    """Refuse aliases and great depth before anything recursive sees the text."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise SpecError("aliases (*name) are not allowed", file=file, line=_line(event))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise SpecError(f"nested deeper than {MAX_DEPTH} levels", file=file, line=_line(event))


def parse_yaml(text: str, file: str = "<text>") -> Document:
    """Parse YAML text. Raises SpecError on a syntax error, a duplicate key, an alias or great depth."""
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
    """Parse a file; equal content gives the same Document. Raises SpecError when it can't be read."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SpecError(f"is too large; a spec may have at most {MAX_BYTES} bytes", file=str(path))
        return _parsed(str(path), content)
    except OSError as error:
        raise SpecError(f"can't be read: {error.strerror}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"is not UTF-8 text: {error.reason}", file=str(path)) from error


@lru_cache(maxsize=1024)
def _parsed(file: str, content: bytes) -> Document:
    return parse_yaml(content.decode("utf-8"), file)
