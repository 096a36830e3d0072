# SPDX-License-Identifier: Apache-2.0
"""Timelines: what ran where and when, as the engine's observers saw it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from simsparse.units import fs_to_seconds


class Span(NamedTuple):
    """One stretch of work on one lane of one device, in engine femtoseconds.

    ``lane`` is a stream, copy engine or link; ``kind`` an op kind, ``copy`` or ``wait``.
    """

    start_fs: int
    end_fs: int
    device: str
    lane: str
    name: str
    kind: str
    bytes: int = 0


@dataclass(frozen=True)
class Timeline:
    """Spans in order of start, and the end of the simulation."""

    spans: Sequence[Span]
    end_fs: int

    @classmethod
    def of(cls, spans: Iterable[Span], end_fs: int | None = None) -> Timeline:
        ordered = tuple(sorted(spans))
        return cls(ordered, max((s.end_fs for s in ordered), default=0) if end_fs is None else end_fs)

    @property
    def seconds(self) -> float:
        return fs_to_seconds(self.end_fs)

    def busy_s(self, device: str, lane: str | None = None) -> float:
        """Seconds in which at least one span of ``device`` (and ``lane``) was open."""
        busy = last = 0
        for span in self.spans:
            if span.device != device or (lane is not None and span.lane != lane):
                continue
            busy += max(0, span.end_fs - max(last, span.start_fs))
            last = max(last, span.end_fs)
        return fs_to_seconds(busy)

    def to_perfetto(self, path: str | Path) -> Path:
        """Write Chrome trace-event JSON, which ui.perfetto.dev opens; times in microseconds."""
        lanes = {lane: i for i, lane in enumerate(sorted({(s.device, s.lane) for s in self.spans}), start=1)}
        devices = {device: i for i, device in enumerate(sorted({s.device for s in self.spans}), start=1)}
        events: list[dict[str, object]] = [
            {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": device}} for device, pid in devices.items()
        ]
        events += [
            {"ph": "M", "name": "thread_name", "pid": devices[device], "tid": tid, "args": {"name": lane}}
            for (device, lane), tid in lanes.items()
        ]
        events += [
            {"ph": "X", "name": s.name, "cat": s.kind, "pid": devices[s.device], "tid": lanes[s.device, s.lane],
             "ts": s.start_fs / 1e9, "dur": (s.end_fs - s.start_fs) / 1e9, "args": {"bytes": s.bytes}}
            for s in self.spans
        ]  # fmt: skip
        target = Path(path)
        target.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}), encoding="utf-8")
        return target
