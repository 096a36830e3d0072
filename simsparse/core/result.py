# SPDX-License-Identifier: Apache-2.0
"""Results: latency, energy and the reasons, with every assumption they rest on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from simsparse.core.counts import ActionCounts
from simsparse.core.timeline import Span, Timeline

if TYPE_CHECKING:
    import pandas as pd

RESULT_SCHEMA = 1
WAITING = "waiting"
"""What bounds the time in which a device stands still while another works."""


class Keep(StrEnum):
    """What a caller wants recorded of a run; each includes those before it."""

    SUMMARY = "summary"
    """Latency, energy, counts, seconds by bound and memory."""
    ROWS = "rows"
    """A row per op too."""
    TIMELINE = "timeline"
    """A span per task too."""


class OpResult(NamedTuple):
    """What one op of the trace took: where it ran, when, what bound it, what it cost."""

    name: str
    kind: str
    label: str
    module: str
    device: str
    weight_sparsity: str
    start_s: float
    latency_s: float
    energy_j: float
    bound: str
    flops: int
    bytes: int
    validated: str | None = None
    weight_format: str = "usual"


class ErrorEstimate(NamedTuple):
    """How far the times of operators may be off, by the errors of the kernel models behind them.

    ``error``: mean absolute relative error of the classes of kernels that ran, weighted by their time; None where no
    measurement checks any of them. Errors of kernels may cancel, and what joins kernels is not in it. ``share``: of
    operator time that it is about; nothing checks the rest.
    """

    error: float | None
    share: float


NO_ESTIMATE = ErrorEstimate(None, 0.0)


_SIZES = {"batch": "batch {}", "seq": "{} tokens", "kv_len": "{} cached tokens"}
SIZES = {"batch": r"batch (\d+)", "tokens": r"(\d+) tokens", "cached tokens": r"(\d+) cached tokens"}
"""Sizes that a workload's text says, by what they count."""


def workload_text(trace: str, meta: Mapping[str, Any]) -> str:
    """``llama2-7b decode, batch 8, 2048 cached tokens`` from what a trace says; else its name."""
    model, phase, pruned = meta.get("model"), meta.get("phase"), meta.get("pruning")
    if not model or not phase:
        return trace
    words = [f"{model} {phase}"]
    if isinstance(pruned, Mapping) and pruned.get("pattern"):
        words = [f"{model} {phase}, {' '.join(str(pruned[key]) for key in ('pattern', 'method') if pruned.get(key))}"]
    words += [text.format(meta[key]) for key, text in _SIZES.items() if meta.get(key)]
    return ", ".join(words)


def workload_sizes(text: str) -> tuple[str, dict[str, int]]:
    """What ``workload_text`` gives, taken apart: the words that are no size, and the sizes by what they count."""
    words, sizes = [], {}
    for word in text.split(", "):
        name, number = next(
            ((name, found[1]) for name, pattern in SIZES.items() if (found := re.fullmatch(pattern, word))), ("", "")
        )
        if name:
            sizes[name] = int(number)
        else:
            words.append(word)
    return ", ".join(words), sizes


class CacheUse(NamedTuple):
    """What a device did with weights that rest in host memory.

    ``hits``: reads of weights that were there, copied ahead or kept; ``misses``: those that waited for a
    copy. ``copied_ahead``: weights that came before they were read, or in vain. ``copied_bytes``: bytes of all copies.
    ``on_host``: reads of experts that the host computed itself, neither hits nor misses.
    """

    hits: int
    misses: int
    copied_ahead: int
    copied_bytes: int
    on_host: int = 0


@dataclass(frozen=True, repr=False)
class Result:
    """The answer of one simulation.

    ``energy_by_component`` maps (component, action) text such as ``gpu0.hbm.read_byte`` or ``gpu0.static`` to
    joules; it sums to ``energy_j``. ``assumed`` lists every value of basis ``assumed`` that the answer used;
    ``notes`` what devices leave out of the costs, in words; ``overrides`` what the user changed;
    ``seconds_by_bound`` the seconds of ``ops`` by what bound them and those in which a device waited for another
    (``waiting``), largest first; ``unvalidated`` the models that nothing checks, ``error_estimate`` the
    measured errors of the others. ``memory`` maps a device and a
    purpose (weights, KV cache, activations, buffers, gradients, optimizer state) to bytes, when most of the
    device's memory was taken. ``power_w`` is what makers or authors state of the devices at work, for comparison
    with ``energy_j / latency_s``. ``stack`` is the software stack that launched the kernels. ``runs_as`` maps a
    device and a weight sparsity to the pattern that the device makes use of, where that is another one. ``clock``
    maps a device whose power limit holds operators down to the rate at which they ran over that under a load
    without pauses, at which ``estimate`` puts them.
    """

    trace: str
    system: str
    policy: str
    seed: int
    level: int
    latency_s: float
    energy_j: float
    ops: Sequence[OpResult]
    energy_by_component: Mapping[str, float]
    counts: ActionCounts
    timeline: Timeline
    assumed: tuple[str, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    unvalidated: tuple[str, ...] = ()
    area_mm2: float | None = None
    seconds_by_bound: Mapping[str, float] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    power_w: float | None = None
    memory: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    cache: Mapping[str, CacheUse] = field(default_factory=dict)
    stack: str = ""
    notes: tuple[str, ...] = ()
    runs_as: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    clock: Mapping[str, float] = field(default_factory=dict)
    error_estimate: ErrorEstimate = NO_ESTIMATE

    @property
    def bound(self) -> str:
        """What bound most of the time but that of waiting for other devices, empty where nothing ran."""
        return next((name for name in self.seconds_by_bound if name != WAITING), "")

    @property
    def workload(self) -> str:
        """What was run, by model, phase and sizes where the trace says them, else by the trace's name."""
        return workload_text(self.trace, self.meta)

    def __repr__(self) -> str:
        return (f"Result(trace={self.trace!r}, system={self.system!r}, policy={self.policy!r}, "
                f"latency_s={self.latency_s:.6g}, energy_j={self.energy_j:.6g}, bound={self.bound!r})")  # fmt: skip

    def table(self) -> pd.DataFrame:
        """One row per op (a pandas DataFrame)."""
        import pandas as pd

        return pd.DataFrame([op._asdict() for op in self.ops])

    def summary(self) -> dict[str, Any]:
        """What a sweep stores of a result: JSON-able, without the per-op rows and the timeline."""
        return {
            "schema": RESULT_SCHEMA, "trace": self.trace, "system": self.system, "policy": self.policy,
            "stack": self.stack, "workload": self.workload,
            "seed": self.seed, "level": self.level, "latency_s": self.latency_s, "energy_j": self.energy_j,
            "area_mm2": self.area_mm2, "power_w": self.power_w, "bound": self.bound,
            "seconds_by_bound": dict(self.seconds_by_bound), "energy_by_component": dict(self.energy_by_component),
            "assumed": list(self.assumed), "overrides": dict(self.overrides), "unvalidated": list(self.unvalidated),
            "notes": list(self.notes), "memory": {device: dict(own) for device, own in self.memory.items()},
            "error_estimate": self.error_estimate._asdict(),
            "cache": {device: use._asdict() for device, use in self.cache.items()},
            "runs_as": {device: dict(own) for device, own in self.runs_as.items()}, "clock": dict(self.clock),
        }  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write the summary, the per-op rows and the timeline's spans as JSON."""
        target = Path(path)
        data = {**self.summary(), "meta": dict(self.meta), "ops": [op._asdict() for op in self.ops],
                "spans": [list(span) for span in self.timeline.spans]}  # fmt: skip
        target.write_text(json.dumps(data, indent=1, default=str), "utf-8")
        return target

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """The result that ``save`` wrote, without its action counts.

        Raises OSError, or ValueError, TypeError or KeyError on a file that is none.
        """
        data = json.loads(Path(path).read_text("utf-8"))
        ops = tuple(OpResult(**{name: row[name] for name in OpResult._fields if name in row}) for row in data["ops"])
        names = ("trace", "system", "policy", "seed", "level", "latency_s", "energy_j")
        details = (
            "overrides",
            "area_mm2",
            "power_w",
            "seconds_by_bound",
            "memory",
            "stack",
            "runs_as",
            "clock",
            "meta",
        )
        fields: dict[str, Any] = {name: data[name] for name in details if name in data}
        fields |= {name: tuple(data.get(name, ())) for name in ("assumed", "unvalidated", "notes")}
        fields["cache"] = {device: CacheUse(**use) for device, use in data.get("cache", {}).items()}
        fields |= {name: data[name] for name in (*names, "energy_by_component")}
        fields |= {"error_estimate": ErrorEstimate(**data["error_estimate"])} if "error_estimate" in data else {}
        spans = Timeline.of(Span(*span) for span in data.get("spans", ()))
        return cls(ops=ops, counts=ActionCounts(), timeline=spans, **fields)

    def _repr_html_(self) -> str:
        """What notebooks show: the answer in a table, and what it rests on."""
        bounds = ", ".join(f"{name} {seconds:.4g} s" for name, seconds in self.seconds_by_bound.items())
        rows = {
            "workload": self.workload, "system": self.system, "policy": self.policy, "stack": self.stack,
            "latency": f"{self.latency_s:.4g} s", "energy": f"{self.energy_j:.4g} J", "seconds by bound": bounds,
            "notes": "; ".join(self.notes), "unvalidated": "; ".join(self.unvalidated),
            "assumed values": str(len(self.assumed)),
        }  # fmt: skip
        return html_table(rows)


def html_table(rows: Mapping[str, str]) -> str:
    """Names beside their texts as HTML, those without a text left out."""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows.items() if text)
    return f"<table>{cells}</table>"
