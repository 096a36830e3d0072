# SPDX-License-Identifier: Apache-2.0
"""The YAML loader keeps line numbers and refuses what hides mistakes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from simsparse.config.yaml import MAX_BYTES, MAX_DEPTH, dotted, parse_yaml, read_yaml
from simsparse.errors import SpecError


def fault(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, "x.yaml")
    return str(caught.value)


def test_scalars_are_what_specs_mean_by_them() -> None:
    numbers, words = (
        "i: 12, f: 1.5, e: 2e3, n: null, t: true",
        "date: 2020-01-01, hex: 0x10, low: 1_000, nan: nan, q: '7'",
    )
    assert parse_yaml(f"{{{numbers}, ratio: 2:4, {words}}}").data == {
        "i": 12, "f": 1.5, "e": 2000.0, "n": None, "t": True, "ratio": "2:4", "date": "2020-01-01", "hex": "0x10",
        "low": "1_000", "nan": "nan", "q": "7",
    }  # fmt: skip


def test_an_integer_of_any_length_does_no_harm() -> None:
    assert parse_yaml("a: " + "9" * 100_000).data == {"a": float("inf")}


def test_every_key_and_item_knows_its_line() -> None:
    document = parse_yaml("a:\n  b: 1\nlist:\n  - x\n  - y: 2\n")
    assert [document.line_of(path) for path in (("a", "b"), ("list", 1), ("list", 1, "y"))] == [2, 5, 5]
    assert document.line_of(("a", "unknown", "deeper")) == 1
    assert str(document.error(("list", 1, "y"), "wrong")) == "<text>:5: list[1].y: wrong"


def test_paths_read_as_in_the_file() -> None:
    assert dotted(("axes", "weight_sparsity", 1)) == "axes.weight_sparsity[1]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "x.yaml:4: b.c: 'c' stands twice; first on line 3"),
        ("a: &x 1\nb: *x\n", "x.yaml:2: aliases (*name) are not allowed"),
        ("a: [1\nb: 2", "x.yaml:2: not YAML: did not find expected ',' or ']'"),
        ("? [1, 2]\n: 3", "x.yaml:1: a key must be a word"),
        ("a: 1\n---\nb: 2", "x.yaml:2: not YAML: but found another document"),
        ("", "x.yaml:1: the file is empty; expected a mapping"),
        ("# only a comment", "x.yaml:1: the file is empty; expected a mapping"),
        ("[" * 100_000, "x.yaml:1: nested deeper than 64 levels"),
        ("{a: " * 100_000, "x.yaml:1: nested deeper than 64 levels"),
        ("- " * 100_000, "x.yaml:1: nested deeper than 64 levels"),
        ("a: [" + "0," * 200_000 + "]", "x.yaml:1: holds more than 100000 keys and values"),
        ('a: "x\\0"', "x.yaml:1: a: 'x\\x00' holds a control character; expected text"),
        ('"\\e": 1', "x.yaml:1: '\\x1b' holds a control character; expected text"),
    ],
)
def test_refusals_name_file_and_line(text: str, expected: str) -> None:
    assert fault(text) == expected


@pytest.mark.parametrize("text", ["\x00", "a: \x07", "\ud800", "%YAML 9.9", "\t- a", "a: b: c", "'open", "!<"])
def test_junk_is_no_yaml(text: str) -> None:
    assert fault(text).startswith("x.yaml")


def test_the_depth_allowed_is_the_depth_stated() -> None:
    assert parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH).data
    assert "deeper" in fault("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_python_tags_build_nothing() -> None:
    assert parse_yaml("a: !!python/object/apply:os.system [echo]").data == {"a": ["echo"]}


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    binary, large = tmp_path / "binary.yaml", tmp_path / "large.yaml"
    binary.write_bytes(bytes(range(256)))
    with large.open("wb") as file:
        os.truncate(file.fileno(), MAX_BYTES + 1)
    for path, words in (
        (binary, "is not UTF-8"),
        (large, "may have at most"),
        (tmp_path / "none.yaml", "can't be read"),
    ):
        with pytest.raises(SpecError, match=words) as caught:
            read_yaml(path)
        assert caught.value.file == str(path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1")
    os.utime(path, ns=(0, 0))
    assert read_yaml(path).data == {"a": 1}
    path.write_text("a: 2")
    assert read_yaml(path).data == {"a": 2}
