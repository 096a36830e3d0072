# SPDX-License-Identifier: Apache-2.0
"""Trace files: what is written is read back; what is damaged is refused with file and line."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simsparse.core import Op, OpKind, Trace, TraceBuilder, ops
from simsparse.errors import TraceError
from simsparse.trace import file as trace_file
from simsparse.trace import load_trace, save_trace
from simsparse.trace.expert_ids import packed_ids, unpacked_ids


def small_trace() -> Trace:
    layer = ops.linear(4, 16, 8, weight_sparsity="unstructured:0.123456789012", name="layers.0.q", module="layers.0")
    experts = ops.moe_ffn(2, 8, 16, 4, routing=[[0, 1], [3, 1]], name="experts")
    return TraceBuilder("small", seed=3).add(layer).add(layer).add(experts).build()


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rewrite(path: Path, lines: list[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_trace_is_read_back_exactly(tmp_path: Path) -> None:
    path = save_trace(small_trace(), tmp_path / "a.trace")
    assert load_trace(path) == small_trace()


def test_version_1_with_arrays_of_ids_is_read_still(tmp_path: Path) -> None:
    path = save_trace(small_trace(), tmp_path / "a.trace")
    lines = lines_of(path)
    assert (lines[HEADER]["version"], lines[MOE]["routing"]["ids"]) == (3, "0131")
    lines[HEADER]["version"] = 1
    lines[MOE]["routing"]["ids"] = [[0, 1], [3, 1]]
    rewrite(path, lines)
    assert load_trace(path) == small_trace()


@pytest.mark.parametrize(
    ("rows", "experts", "text"),
    [([[0, 15], [9, 1]], 16, "0f91"), ([[0, 16]], 17, "0010"), ([[255]], 256, "ff"), ([[256]], 257, "0100"),
     ([[65535, 1]], 65536, "ffff0001"), ([[65536]], 65537, "00010000"), ([[0], [0]], 1, "00")],
)  # fmt: skip
def test_expert_ids_take_as_many_digits_as_the_experts_need(rows: list[list[int]], experts: int, text: str) -> None:
    assert packed_ids(rows, experts) == text
    assert unpacked_ids(text, experts, len(rows[0])) == tuple(map(tuple, rows))


def test_ids_are_counted_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_trace(small_trace(), tmp_path / "a.trace")
    monkeypatch.setattr(trace_file, "MAX_IDS", 3)
    monkeypatch.setattr("simsparse.trace.record.unpacked_ids", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(TraceError, match=r"a\.trace:6: routing\.ids: more than 3 expert ids"):
        load_trace(path)


def test_equal_bodies_are_stored_once(tmp_path: Path) -> None:
    header = lines_of(save_trace(small_trace(), tmp_path / "a.trace"))[0]
    assert (header["bodies"], header["ops"]) == (2, 3)


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    zipped = save_trace(small_trace(), tmp_path / "a.trace.gz")
    assert zipped.read_bytes()[:2] == b"\x1f\x8b"
    renamed = zipped.rename(tmp_path / "a.trace")
    assert load_trace(renamed) == small_trace()


def test_large_traces_are_gzipped_and_equal_traces_give_equal_bytes(tmp_path: Path) -> None:
    builder = TraceBuilder("large")
    for i in range(2000):
        builder.add(ops.linear(1, 8, 8, name=f"op{i}"))
    first, second = (save_trace(builder.build(), tmp_path / f"{i}.trace").read_bytes() for i in range(2))
    assert first[:2] == b"\x1f\x8b"
    assert first == second


def test_reading_needs_neither_torch_nor_numba(tmp_path: Path) -> None:
    path = save_trace(small_trace(), tmp_path / "a.trace")
    code = (
        "import sys; from simsparse.trace import load_trace; load_trace(sys.argv[1]); "
        "print(sorted({'torch', 'numba', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_device_is_not_replaced_by_a_trace(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TraceError, match="pipe: can't be written: is no plain file"):
        TraceBuilder("t").add(ops.linear(1, 8, 8)).build().save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = save_trace(small_trace(), tmp_path / "a.trace")
    before = target.read_bytes()

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(TraceError, match="No space left"):
        save_trace(small_trace(), target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.trace"]


def test_a_missing_folder_and_a_missing_file_are_trace_errors(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="can't be written"):
        save_trace(small_trace(), tmp_path / "no" / "a.trace")
    with pytest.raises(TraceError, match="can't be read"):
        load_trace(tmp_path / "none.trace")
    with pytest.raises(TraceError, match="can't be read"):
        load_trace(tmp_path)


@pytest.mark.parametrize(
    "op",
    [
        ops.linear(1, 8, 8, stats={"x": float("nan")}),
        ops.linear(1, 8, 8, stats={"x": object()}),
        ops.linear(1, 8, 8, module="a\x1b[31m"),
        Op(OpKind.LINEAR, "zero", {"m": 0, "n": 1, "k": 1}),
        Op(OpKind.LINEAR, "huge", {"m": 2**61, "n": 2**61, "k": 1}),
    ],
)
def test_what_a_file_cannot_hold_is_refused_on_writing(tmp_path: Path, op: Op) -> None:
    with pytest.raises(TraceError):
        save_trace(Trace("t", (op,)), tmp_path / "a.trace")
    assert not list(tmp_path.iterdir())


HEADER, BODY, OP, MOE = 0, 1, 3, 5


@pytest.mark.parametrize(
    ("line", "change", "says"),
    [
        (HEADER, {"format": "other"}, "1: not a trace file"),
        (HEADER, {"version": 4}, "1: version: 4 is not a version that is read; allowed: 1, 2, 3"),
        (HEADER, {"version": True}, "1: version"),
        (HEADER, {"ops": 10**12}, "1: ops: 1000000000000 is not a whole number from 0 to 2000000"),
        (HEADER, {"ops": -1}, "1: ops"),
        (HEADER, {"bodies": 4}, "1: bodies"),
        (HEADER, {"name": ""}, "1: name"),
        (HEADER, {"meta": []}, "1: meta"),
        (HEADER, {"extra": 1}, "1: 'extra' is missing or unknown"),
        (BODY, {"kind": "linaer"}, "2: kind: 'linaer' is not a kind; did you mean linear"),
        (BODY, {"dtype": "fp15"}, "2: dtype"),
        (BODY, {"dims": {"m": 1, "n": 1}}, "2: .*dims"),
        (BODY, {"dims": {"m": 0, "n": 1, "k": 1}}, "2: dims.m: is 0"),
        (BODY, {"dims": {"m": 1.5, "n": 1, "k": 1}}, "2: .*whole number"),
        (BODY, {"dims": {"m": 2**61, "n": 2**61, "k": 8}}, "2: dims: .*64 bits"),
        (BODY, {"weight_sparsity": "5:4"}, "2: sparsity: '5:4' is not a sparsity"),
        (BODY, {"wieght_dtype": "fp8"}, "2: 'wieght_dtype' is not known here; did you mean weight_dtype"),
        (BODY, {"stats": 1}, "2: stats: is not an object"),
        (OP, {"op": 2}, "4: op: 2 is not a whole number from 0 to 1"),
        (OP, {"deps": [-1]}, "4: deps: -1"),
        (OP, {"deps": [0]}, "4: deps"),
        (OP, {"name": "a\nb"}, "4: name"),
        (OP, {"name": None}, "4: name"),
        (OP, {"module": 3}, "4: module"),
        (OP, {"op": 1}, "4: routing: a moe_ffn op needs routing"),
        (OP + 1, {"name": "layers.0.q"}, "5: name: op name 'layers.0.q' is used twice"),
        (MOE, {"routing": {"counts": [1, 1, 1], "origin": "x"}}, "6: routing.counts"),
        (MOE, {"routing": {"counts": [2, 1, 1, 0], "origin": "x", "ids": [[0, 1], [3, 1]]}}, "6: routing.counts"),
        (MOE, {"routing": {"counts": [1, 2, 0, 1], "origin": "x", "ids": [[0, 1]]}}, "6: routing.ids"),
        (MOE, {"routing": {"counts": [-1, 2, 2, 1], "origin": "x"}}, "6: routing: -1"),
        (
            MOE,
            {"routing": {"counts": [1, 2, 0, 1], "origin": "x", "ids": "013"}},
            "6: routing.ids: 3 digits are no rows",
        ),
        (MOE, {"routing": {"counts": [1, 2, 0, 1], "origin": "x", "ids": "01"}}, "6: routing.ids: is not 2 rows of 2"),
        (MOE, {"routing": {"counts": [1, 2, 0, 1], "origin": "x", "ids": "01g1"}}, "6: routing.ids: .*no digit"),
        (MOE, {"routing": {"counts": [1, 2, 0, 1], "origin": "x", "ids": "01B1"}}, "6: routing.ids: .*no digit"),
        (MOE, {"routing": {"counts": [1, 2, 0, 1], "origin": "x", "ids": "0 1é"}}, "6: routing.ids: .*no digit"),
        (MOE, {"routing": {"counts": [1, 2, 0, 1], "origin": "x", "ids": "0191"}}, "6: routing.counts: ids and counts"),
        (MOE, {"routing": {"counts": [1, 2, 0, 1], "origin": "x", "ids": 7}}, "6: routing.ids: is not an array"),
        (OP, {"routing": {"counts": [1, 2, 0, 1], "origin": "x"}}, "4: routing: linear has none"),
        (MOE, {"routing": {"counts": [1, 2, 0, 1]}}, "6: origin: is missing"),
    ],
)
def test_a_wrong_value_is_refused_by_file_and_line(
    tmp_path: Path, line: int, change: dict[str, Any], says: str
) -> None:
    path = save_trace(small_trace(), tmp_path / "a.trace")
    lines = lines_of(path)
    lines[line].update(change)
    rewrite(path, lines)
    with pytest.raises(TraceError, match=rf"a\.trace:{says}"):
        load_trace(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "1: the file ends here"),
        (b"\x80\x04\x95pickle\n", "1: is not a line of a trace file"),
        (b"[1]\n", "1: is not a JSON object"),
        (b"[" * 100_000 + b"\n", "1: nested too deeply"),
        (b'{"format":NaN}\n', "1: .*NaN is not a number"),
        (b'{"format":1e999}\n', "1: .*too large"),
        (b'{"format":' + b"9" * 5000 + b"}\n", "1: is not a line"),
        (b'{"format":1,"format":1}\n', "1: .*a key stands twice"),
        (b'{"a":"' + b"x" * (17 * 1024**2) + b'"}\n', "1: the line is longer than"),
    ],
)
def test_text_that_is_no_trace_is_refused(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "a.trace"
    path.write_bytes(text)
    with pytest.raises(TraceError, match=rf"a\.trace:{says}"):
        load_trace(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    plain = save_trace(small_trace(), tmp_path / "a.trace").read_bytes()
    zipped = gzip.compress(plain, mtime=0)
    cut = tmp_path / "cut.trace"
    for whole in (plain, zipped):
        for length in range(0, len(whole), 7):
            cut.write_bytes(whole[:length])
            with pytest.raises(TraceError, match=r"cut\.trace"):
                load_trace(cut)


def test_surplus_lines_and_bytes_are_refused(tmp_path: Path) -> None:
    path = save_trace(small_trace(), tmp_path / "a.trace")
    whole = path.read_bytes()
    path.write_bytes(whole + b"{}\n")
    with pytest.raises(TraceError, match=r"a\.trace:7: more lines"):
        load_trace(path)
    path.write_bytes(gzip.compress(whole) + b"tail")
    with pytest.raises(TraceError, match="can't be read"):
        load_trace(path)


def test_a_decompression_bomb_stops_at_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.trace"
    path.write_bytes(gzip.compress(b"0" * (40 * 1024**2)))
    with pytest.raises(TraceError, match=r"bomb\.trace:1: the line is longer"):
        load_trace(path)
    monkeypatch.setattr(trace_file, "MAX_TEXT_BYTES", 100)
    save_path = tmp_path / "a.trace"
    save_path.write_text("x" * 101 + "\n")
    with pytest.raises(TraceError, match="the text is longer than 100 bytes"):
        load_trace(save_path)
