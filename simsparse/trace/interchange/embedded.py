# SPDX-License-Identifier: Apache-2.0
"""Whole ops as JSON text, for formats with room for it: what is written so is read back exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from simsparse.core import Op, Trace
from simsparse.errors import TraceError
from simsparse.trace.file import MAX_OPS, parse_json
from simsparse.trace.record import MAX_DEPS, MAX_IDS, OpRecord, body_of, checked, ids_in, op_from, op_record

MARK = "simsparse"


def op_texts(trace: Trace) -> list[str]:
    """Each op as a line of JSON. Raises TraceError on an op that a trace file can't hold either."""
    index = {op.name: i for i, op in enumerate(trace.ops)}
    texts = []
    for i, op in enumerate(trace.ops):
        checked(op)
        record = {"body": body_of(op), **op_record(op, 0, [index[dep] - i for dep in op.deps])}
        texts.append(json.dumps(record, separators=(",", ":"), allow_nan=False))
    return texts


class OpReader:
    """Reads ops written by ``op_texts``, one after another, with the limits of a trace file."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self._names: list[str] = []
        self._bodies: dict[str, OpRecord] = {}
        self._edges = self._ids = 0

    def add(self, text: str, place: str) -> None:
        """Raises TraceError naming ``place``."""
        record = parse_json(text)
        if not isinstance(record, dict) or not isinstance(record.get("body"), dict):
            raise TraceError("is not an op", key=place)
        self._edges += len(record["deps"]) if isinstance(record.get("deps"), list) else 0
        self._ids += ids_in(record)
        if self._edges > MAX_DEPS or self._ids > MAX_IDS or len(self.ops) >= MAX_OPS:
            raise TraceError("too many ops, dependencies or expert ids", key=place)
        op = op_from({key: value for key, value in record.items() if key != "body"}, [self._body(record["body"])],
                     self._names)  # fmt: skip
        self.ops.append(op)
        self._names.append(op.name)

    def _body(self, body: Mapping[str, Any]) -> OpRecord:
        key = json.dumps(body, sort_keys=True)
        if key not in self._bodies:
            self._bodies[key] = OpRecord.parse(body)
        return self._bodies[key]

    def trace(self, name: str, meta: Mapping[str, Any]) -> Trace:
        """The trace of what was read. Raises TraceError when a name stands twice."""
        return Trace(name, tuple(self.ops), dict(meta))


def header_text(trace: Trace) -> str:
    """Name and meta of a trace as JSON."""
    return json.dumps({"name": trace.name, "meta": dict(trace.meta)}, separators=(",", ":"), allow_nan=False)


def header_of(text: str) -> tuple[str, dict[str, Any]]:
    """Name and meta from ``header_text``. Raises TraceError."""
    header = parse_json(text)
    if not isinstance(header, dict) or not isinstance(header.get("name"), str) or not isinstance(
        header.get("meta"), dict
    ):  # fmt: skip
        raise TraceError("is not the header of a trace", key=MARK)
    return header["name"], header["meta"]
