# SPDX-License-Identifier: Apache-2.0
"""Predictions for work of the host while copies cross the link, one after another (section ``contention``).

A row states the seconds of the work alone, ``host_s_alone``, as hosts of one kind differ by more than copies cost.
These are multiplied by the simulated ratio of the work beside the copies and alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from simsparse._simulate import simulate
from simsparse.config.hardware import System
from simsparse.core import DType, Op, Trace, TraceBuilder, ops
from simsparse.errors import MappingError
from simsparse.validate.comparison import Prediction
from simsparse.validate.host_rows import host_of, with_threads
from simsparse.validate.measurement import Measurement

SECTION = "contention"
COPIES = 4
"""Copies that are queued, in times the work alone, so that they do not end before it."""
MAX_COPIES = 10_000
GIB = 1 << 30
ON_HOST = {"placement": {"kind": "mapped", "rules": [{"ops": "work", "device": "host"}]}}
_READ = re.compile(r"(read|copy) 1 GiB")
_LINEAR = re.compile(r"linear (\d+)x(\d+) of (\d+) tokens, (\w+)")
_ATTENTION = re.compile(r"decode attention, (\d+) x (\d+) x (\d+) x (\d+), (\w+)")


def predict_contention(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's work of the host beside the copies; in its stead the reason why not."""
    return [_predicted(system, row) for row in rows]


def _predicted(system: System, row: Measurement) -> Prediction | str:
    name, part = host_of(system)
    placed = with_threads(part, row)
    work = _work(row.text("host_task"))
    if isinstance(placed, str) or isinstance(work, str):
        return placed if isinstance(placed, str) else str(work)
    changed = replace(system, devices={**system.devices, name: placed})
    try:
        slower = _seconds(changed, row, work, _copies(row)) / _seconds(changed, row, work, 0)
    except MappingError as error:
        return str(error)
    return Prediction(row, row.number("s"), row.number("host_s_alone") * slower)


def _seconds(system: System, row: Measurement, work: Op, copies: int) -> float:
    result = simulate(_trace(row, work, copies), system, ON_HOST)
    return next(op.latency_s for op in result.ops if op.name == work.name)


def _copies(row: Measurement) -> int:
    """How many copies surely last as long as the work."""
    count = COPIES * row.number("host_s_alone") / row.number("copy_s_alone")
    if not count <= MAX_COPIES:
        raise row.error("copy_s_alone", f"{count:.3g} copies in one run of the host's work; at most {MAX_COPIES}")
    return math.ceil(count)


def _trace(row: Measurement, work: Op, copies: int) -> Trace:
    size, ends = row.whole("copy_bytes"), ("host", "gpu0")
    src, dst = ends if row.text("direction") == "h2d" else ends[::-1]
    builder = TraceBuilder("contention")
    for i in range(copies):
        builder.add(ops.transfer(size, src, dst, name=f"copy{i}"), deps=[])
    return builder.add(work, deps=[]).build()


def _work(task: str) -> Op | str:
    if match := _READ.fullmatch(task):
        return ops.elementwise(GIB, GIB if match[1] == "copy" else 0, dtype="fp32", name="work")
    if match := _LINEAR.fullmatch(task):
        n, k, tokens = map(int, match.groups()[:3])
        return ops.linear(tokens, n, k, DType.parse(match[4]), name="work")
    if match := _ATTENTION.fullmatch(task):
        batch, heads, length, dim = map(int, match.groups()[:4])
        return ops.attention(batch, heads, heads, dim, 1, length, dtype=DType.parse(match[5]), name="work")
    return f"host_task {task:.60}"
