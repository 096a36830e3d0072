# SPDX-License-Identifier: Apache-2.0
"""A sweep's store filled by hand, for tests of reports."""

from __future__ import annotations

import itertools
import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

from simsparse.core import OpResult, Span
from simsparse.store import STORE_NAME

SPARSITIES = {"dense": 1.0, "2:4": 0.6, "1:8": 0.3}
SETUPS = {"gpu": "systems/h100-pcie5", "a longer name of a bank-level PIM": "systems/bank-pim"}
BANDWIDTHS = ("2 TB/s", "4 TB/s")
SPEC = """
name: tiny
description: Two workloads on two setups.
axes:
  workload: [{label: Llama, workload.trace: a}, {label: Mixtral, workload.trace: b}]
  setup:
    - {label: gpu, system: systems/h100-pcie5}
    - {label: a longer name of a bank-level PIM, system: systems/bank-pim}
  weight_sparsity: [dense, "2:4", "1:8"]
  override.gpu0.memory.bandwidth: [2 TB/s, 4 TB/s]
"""
OPS = [
    OpResult("layers.0.q_proj", "linear", "", "layers.0.q_proj", "gpu0", "dense", 0.0, 2e-5, 1e-3, "memory", 10**9,
             10**8, "h100"),
    OpResult("layers.0.attention", "attention", "", "layers.0.attn", "gpu0", "dense", 2e-5, 1e-5, 1e-3, "memory",
             10**7, 10**7, "h100"),
    OpResult("layers.0.norm", "elementwise", "rmsnorm", "layers.0", "gpu0", "dense", 3e-5, 2e-6, 1e-5, "launch", 10**4,
             10**5, None),
]  # fmt: skip
SPANS = [
    Span(0, 20 * 10**9, "gpu0", "compute", "q_proj", "linear"),
    Span(20 * 10**9, 30 * 10**9, "gpu0", "compute", "attention", "attention"),
    Span(5 * 10**9, 29 * 10**9, "gpu0", "h2d", "weights", "copy", 1 << 20),
]


def columns(rows: list[Any]) -> bytes:
    """Rows as the sweep's store keeps them."""
    names = rows[0]._fields
    return zlib.compress(json.dumps({name: [getattr(row, name) for row in rows] for name in names}).encode())


def summary(latency_s: float, unvalidated: list[str]) -> dict[str, Any]:
    """A Result's summary with what a report reads."""
    return {
        "trace": "t", "latency_s": latency_s, "energy_j": 200 * latency_s**0.8, "area_mm2": 1e3 * latency_s + 400,
        "bound": "memory", "seconds_by_bound": {"memory": 0.8 * latency_s, "launch": 0.2 * latency_s},
        "energy_by_component": {"gpu0.hbm.read_byte": 3.0, "gpu0.static": 1.0, "host.static": 0.5},
        "assumed": ["gpu0.energy.static = 90 W"], "unvalidated": unvalidated, "overrides": {},
    }  # fmt: skip


def fill(folder: Path) -> Path:
    """A sweep of 24 points in the tables that the sweep documents: one failed, one setup unvalidated."""
    grid = itertools.product((("Llama", 5e-3), ("Mixtral", 2e-2)), SETUPS.items(), SPARSITIES.items(), BANDWIDTHS)
    with closing(sqlite3.connect(folder / STORE_NAME)) as store, store:
        store.execute("CREATE TABLE points (key TEXT PRIMARY KEY, result TEXT, error TEXT, ops BLOB, timeline BLOB)")
        store.execute("CREATE TABLE rows (idx INTEGER PRIMARY KEY, key TEXT NOT NULL, axes TEXT NOT NULL)")
        for index, ((workload, base), (setup, system), (sparsity, factor), bandwidth) in enumerate(grid):
            axes = {
                "workload": workload,
                "setup": setup,
                "workload.trace": "t.trace",
                "system": system,
                "policy": "resident",
                "weight_sparsity": sparsity,
                "override.gpu0.memory.bandwidth": bandwidth,
            }
            result = summary(base * factor * 4 / float(bandwidth[0]), [] if setup == "gpu" else ["bank PIM"])
            kept = (columns(OPS), columns(SPANS)) if setup == "gpu" else (None, None)
            outcome = (json.dumps(result), None, *kept) if index != 4 else (None, "MappingError: no kernel", None, None)
            store.execute("INSERT INTO rows VALUES (?, ?, ?)", (index, f"key{index}", json.dumps(axes)))
            store.execute("INSERT INTO points VALUES (?, ?, ?, ?, ?)", (f"key{index}", *outcome))
    (folder / "resolved.yaml").write_text(SPEC)
    return folder
