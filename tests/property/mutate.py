# SPDX-License-Identifier: Apache-2.0
"""Mutations of text and bytes, drawn by hypothesis, for the fuzzing tests."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

NASTY = [
    "", "null", "~", "-1", "0", "1e999", "-1e999", "nan", ".inf", "9" * 400, "1e400 TB/s", "[]", "{}", "[[[[", "{{{{",
    "true", "'", '"', "&a", "*a", "!!python/object:os.system", "<<: *a", "\t", "\x00", "\ufeff", "\u202e", "é", "🙂",
    ":", ": :", "- -", "---", "...", "%YAML 9.9", "2:3:4", "0:0", "999999999:1", "dense", "../../etc/passwd",
    "/dev/null", "systems/none", "gpu/h100-sxm5-80gb", "a" * 5000, "1" * 30, "0x10", "1_000", "2020-01-01", "? x",
    "| ", "> ",
]  # fmt: skip

Mutation = Callable[[bytes], bytes]


@st.composite
def mutations(draw: st.DrawFn) -> Mutation:
    """One edit of some bytes: cut, repeat, overwrite, insert, swap lines, truncate."""
    kind = draw(st.sampled_from(["cut", "repeat", "value", "insert", "swap", "truncate", "bytes"]))
    at, length = draw(st.floats(0, 1)), draw(st.integers(1, 60))
    text = draw(st.sampled_from(NASTY)).encode()
    raw = draw(st.binary(min_size=1, max_size=8))

    def edit(data: bytes) -> bytes:
        start = int(at * len(data))
        stop = min(len(data), start + length)
        if kind == "cut":
            return data[:start] + data[stop:]
        if kind == "repeat":
            return data[:stop] + data[start:stop] * 3 + data[stop:]
        if kind == "truncate":
            return data[:start]
        if kind == "insert":
            return data[:start] + text + data[start:]
        if kind == "bytes":
            return data[:start] + raw + data[start + len(raw) :]
        lines = data.split(b"\n")
        line = int(at * (len(lines) - 1))
        if kind == "swap":
            lines[line], lines[-line - 1] = lines[-line - 1], lines[line]
        else:
            lines[line] = lines[line].split(b":")[0] + b": " + text
        return b"\n".join(lines)

    return edit


def mutated(data: bytes, edits: list[Mutation]) -> bytes:
    """``data`` after all ``edits``."""
    for edit in edits:
        data = edit(data)
    return data
