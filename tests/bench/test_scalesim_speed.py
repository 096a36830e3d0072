# SPDX-License-Identifier: Apache-2.0
"""SCALE-Sim 3.0.0 and ours on the same layers in one run.

Makes an environment for SCALE-Sim in a temporary folder (PyPI, numpy 1); SCALESIM_PYTHON names the interpreter of one
that exists.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simsparse.dataflow import DATAFLOWS, Buffers, Gemms, PeArray
from simsparse.dataflow.folds.dma import Interface
from simsparse.dataflow.folds.schedule import FoldGemm, Scratchpad, schedule
from simsparse.validate.reference.scalesim_scratchpad import ScaleSimSetup, scalesim_run

pytestmark = pytest.mark.bench
ROOT = Path(__file__).parents[2]
LAYERS = ((256, 256, 256), (196, 128, 256), (49, 512, 256))
"""M, N, K: a square product and two 1 x 1 convolutions of ResNet-18's sizes."""
SIDE, KIB, WORDS = 32, 32, 16

RESNET18 = """
import pathlib, re, time
from simsparse.dataflow import Buffers, PeArray
from simsparse.dataflow.folds.dma import Interface
from simsparse.dataflow.folds.schedule import FoldGemm, Scratchpad, schedule
from simsparse.validate.cases.scalesim import RESNET18
pad = Scratchpad(Buffers(512 << 10, 512 << 10, 512 << 10), Interface(shared=256.0))
schedule("ws", FoldGemm.dense(8, 8, 8, 8), PeArray(32, 32), pad)
start = time.process_time()
walks = [schedule("ws", FoldGemm.dense(*layer, 8), PeArray(32, 32), pad, "weights") for layer in RESNET18]
spent = time.process_time() - start
print(spent, re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""
"""The peak is VmHWM: a process begins with ru_maxrss at that of the one which started it."""


def interpreter(folder: Path) -> str:
    """A Python that has SCALE-Sim."""
    if found := os.environ.get("SCALESIM_PYTHON"):
        return found
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "scalesim==3.0.0", "numpy<2"], check=True)
    return python


def theirs(python: str, folder: Path) -> list[dict[str, str]]:
    """SCALE-Sim's rows for the layers; ``seconds`` of processor time, without start and imports."""
    kib, words = ({f"{name}_{what}": size for name in ("input", "weight", "output")}
                  for what, size in (("kib", KIB), ("words", WORDS)))  # fmt: skip
    rows = [
        {"dataflow": "ws", "rows": SIDE, "cols": SIDE, "m": m, "n": n, "k": k, **kib, **words} for m, n, k in LAYERS
    ]
    with (folder / "layers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    script = str(ROOT / "tests" / "validation" / "scalesim_runs.py")
    subprocess.run([python, script, "out.csv", "--layers", "layers.csv"], cwd=folder, check=True)
    return list(csv.DictReader((folder / "out.csv").read_text().splitlines()))


def seconds(call: Callable[[], object], times: int) -> float:
    """Processor time of a call: the best of three rounds of ``times``; a call before warms up."""
    call()
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for _ in range(times):
            call()
        best = min(best, (time.process_time() - start) / times)
    return best


def test_against_scale_sim(tmp_path: Path) -> None:
    rows = theirs(interpreter(tmp_path / "venv"), tmp_path)
    spent = sum(float(row["seconds"]) for row in rows)
    array, ws = PeArray(SIDE, SIDE), DATAFLOWS.get("ws")
    gemms = Gemms.of(*np.array(LAYERS).T)
    closed = ws.cycles(gemms, array)
    assert [int(row["cycles"]) - int(row["stalls"]) for row in rows] == (closed - 1).tolist()
    size = KIB << 10
    pad = Scratchpad(Buffers(size, size, size), Interface(None, 8.0 * WORDS, 8.0 * WORDS, 8.0 * WORDS), prefill=True)
    setups = [ScaleSimSetup("ws", SIDE, SIDE, *layer, (size,) * 3, (WORDS,) * 3) for layer in LAYERS]
    assert [scalesim_run(setup).stalls for setup in setups] == [int(row["stalls"]) for row in rows]
    formula = seconds(lambda: ws.cycles(gemms, array), 200)
    core = seconds(lambda: [schedule("ws", FoldGemm.dense(*layer, 8), array, pad, "weights") for layer in LAYERS], 5)
    same = seconds(lambda: [scalesim_run(setup) for setup in setups], 2)
    print(f"\nSCALE-Sim {spent:.2f} s for {sum(int(row['cycles']) for row in rows)} cycles; closed form "
          f"{1e6 * formula:.0f} us ({spent / formula:,.0f}x); schedule {1e3 * core:.2f} ms ({spent / core:,.0f}x); "
          f"its mechanism, equal stalls {1e3 * same:.1f} ms ({spent / same:,.0f}x)")  # fmt: skip
    assert spent / formula > 10_000
    assert spent / core > 100
    assert spent / same > 100


def test_resnet18_stays_small() -> None:
    """All 20 layers on 32 x 32 with fold tables and traffic; SCALE-Sim took 313 CPU seconds and 6.3 GB."""
    done = subprocess.run([sys.executable, "-c", RESNET18], capture_output=True, text=True, check=True, cwd=ROOT)
    spent, kib = (float(word) for word in done.stdout.split())
    print(f"\nResNet-18's layers in {spent:.2f} s and {kib / 1024:.0f} MiB")
    assert kib / 1024 < 500
    assert spent < 3.13
