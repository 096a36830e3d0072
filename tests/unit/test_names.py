# SPDX-License-Identifier: Apache-2.0
"""One name for one thing: no class is defined twice, and no type alias has a class's name or two meanings."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

import simsparse

PACKAGE = Path(simsparse.__file__).parent


CLASS = re.compile(r"^\s*class (\w+)[(:\[]", re.MULTILINE)
ALIAS = re.compile(r"^[A-Z]\w*[a-z]\w* = ", re.MULTILINE)


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """Text of each file of the package."""
    return {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.fixture(scope="module")
def classes(sources: dict[str, str]) -> dict[str, list[str]]:
    """File and line of each definition of a class, nested ones too, by name."""
    places: dict[str, list[str]] = defaultdict(list)
    for file, text in sources.items():
        for found in CLASS.finditer(text):
            places[found[1]].append(f"{file}:{text.count(chr(10), 0, found.start(1)) + 1}")
    return places


def alias_meanings(sources: dict[str, str]) -> dict[str, dict[str, str]]:
    """What each module-level name in CamelCase stands for: files by meaning, by name."""
    meanings: dict[str, dict[str, str]] = defaultdict(dict)
    for file, text in sources.items():
        if not ALIAS.search(text):
            continue
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id[0].isupper() and not target.id.isupper():
                        meanings[target.id][ast.unparse(node.value)] = file
    return meanings


def test_no_class_name_is_defined_twice(classes: dict[str, list[str]]) -> None:
    assert {name: places for name, places in classes.items() if len(places) > 1} == {}


def test_no_type_alias_has_two_meanings_or_the_name_of_a_class(
    sources: dict[str, str], classes: dict[str, list[str]]
) -> None:
    twice = {
        name: [*files.values(), *classes.get(name, [])]
        for name, files in alias_meanings(sources).items() if len(files) > 1 or name in classes
    }  # fmt: skip
    assert twice == {}
