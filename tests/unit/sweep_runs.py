# SPDX-License-Identifier: Apache-2.0
"""Sweeps whose simulation is a closed form, for tests that read what was run."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from simsparse.config.hardware import System
from simsparse.core import ActionCounts, Keep, OpResult, Result, Span, Timeline, Trace, TraceBuilder, ops
from simsparse.errors import SimulationError

BASE = "name: test\nworkload: {trace: t.trace}\nsystem: cpu/h100-host\nlevel: 0\n"
GRID = BASE + "axes:\n  weight_sparsity: [dense, 2:4, 1:4]\n  seed: [0, 1]\n"


def save_trace(folder: Path) -> None:
    """Write ``t.trace``: four linear layers."""
    builder = TraceBuilder("t")
    for i in range(3):
        builder.add(ops.linear(8, 64, 64 << i, name=f"linear{i}", module=f"layers.{i}"))
    builder.add(ops.linear(8, 100, 64, name="lm_head", module="lm_head")).build().save(folder / "t.trace")


def in_closed_form(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Replace the simulation by a closed form and list what is run: (sparsity, policy, seed, level)."""
    seen: list[tuple[Any, ...]] = []

    def fake(trace: Trace, system: System, policy: str, seed: int, level: int, **usual: Any) -> Result:
        assert usual.pop("keep") in list(Keep)
        assert usual == {"stack": "fused+graph", "steps": 1, "routing": "", "parallel": ""}
        sparsity = str(trace.ops[0].weight_sparsity)
        seen.append((sparsity, policy, seed, level))
        if seed == 13:
            raise SimulationError("memory full", key="gpu0")
        if seed == 14:
            raise ZeroDivisionError("a slip")
        seconds = 1e-9 * trace.weight_bytes * (1 + seed)
        if system.overrides:
            bandwidth = dict(system.devices["cpu0"].quantities())["memory.bandwidth"].si
            seconds *= 1e11 / bandwidth
        watts = 2.0 if system.overrides else 1.0
        row = OpResult("a", "linear", "", "m", "gpu0", sparsity, 0.0, seconds, watts * seconds, "memory", 1, 2)
        timeline = Timeline.of([Span(0, 5, "gpu0", "compute", "a", "linear", 7)])
        return Result(trace.name, system.name, policy, seed, level, seconds, watts * seconds, (row,),
                      {"gpu0.static": watts * seconds}, ActionCounts(), timeline, seconds_by_bound={"memory": seconds},
                      overrides=dict(system.overrides))  # fmt: skip

    monkeypatch.setattr(import_module("simsparse._simulate"), "simulate", fake)
    return seen
