# SPDX-License-Identifier: Apache-2.0
"""One name for one thing: no class is defined twice, and no type alias has a class's name or two meanings."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import simsparse

PACKAGE = Path(simsparse.__file__).parent


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def class_places() -> dict[str, list[str]]:
    """File and line of each definition of a class, nested ones too, by name."""
    places: dict[str, list[str]] = defaultdict(list)
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{file}:{node.lineno}")
    return places


def alias_meanings() -> dict[str, dict[str, str]]:
    """What each module-level name in CamelCase stands for: files by meaning, by name."""
    meanings: dict[str, dict[str, str]] = defaultdict(dict)
    for file, tree in trees():
        for node in tree.body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id[0].isupper() and not target.id.isupper():
                        meanings[target.id][ast.unparse(node.value)] = file
    return meanings


def test_no_class_name_is_defined_twice() -> None:
    assert {name: places for name, places in class_places().items() if len(places) > 1} == {}


def test_no_type_alias_has_two_meanings_or_the_name_of_a_class() -> None:
    classes = class_places()
    twice = {
        name: [*files.values(), *classes.get(name, [])]
        for name, files in alias_meanings().items() if len(files) > 1 or name in classes
    }  # fmt: skip
    assert twice == {}
