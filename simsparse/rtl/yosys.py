# SPDX-License-Identifier: Apache-2.0
"""Yosys, from the wheel pyosys, one process a script: a fault in a script ends that process alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from simsparse.errors import SimulationError


def run(commands: Sequence[str], folder: Path, limit_s: float | None = None) -> str:
    """What Yosys says to ``commands`` in ``folder``.

    Raises SimulationError when pyosys is not installed, a command fails (the message ends with what Yosys said) or all
    of them take longer than ``limit_s``.
    """
    if find_spec("pyosys") is None:
        raise SimulationError("no Yosys; pip install simsparse[rtl]")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.ys").write_text("\n".join(commands) + "\n", encoding="utf-8")
    code = "from pyosys import libyosys as ys; ys.run_pass('script script.ys', ys.Design())"
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired as expired:
        raise SimulationError(f"Yosys took longer than {limit_s} s (script in {folder / 'script.ys'})") from expired
    said = done.stdout + done.stderr
    (folder / "yosys.log").write_text(said, encoding="utf-8")
    if done.returncode:
        faults = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines()[-1:]
        raise SimulationError(f"Yosys: {' '.join(faults)} (all in {folder / 'yosys.log'})")
    return said


def abc(command: str, folder: Path, limit_s: float | None = None) -> str:
    """What the ABC that pyosys brings says to ``command`` in ``folder``.

    Raises SimulationError when pyosys is not installed or ABC takes longer than ``limit_s``.
    """
    spec = find_spec("pyosys")
    if spec is None or spec.origin is None:
        raise SimulationError("no Yosys; pip install simsparse[rtl]")
    program = Path(spec.origin).with_name("yosys-abc")
    try:
        done = subprocess.run(
            [str(program), "-c", command], cwd=folder, capture_output=True, text=True, check=False, timeout=limit_s
        )
    except subprocess.TimeoutExpired as expired:
        raise SimulationError(f"ABC took longer than {limit_s} s: {command}", key=str(folder)) from expired
    return done.stdout + done.stderr


def read(top: str, parameters: dict[str, int], sources: Path) -> list[str]:
    """Commands that read ``top`` and what is inside it, with ``parameters``."""
    settings = " ".join(f"-chparam {name} {value}" for name, value in parameters.items())
    files = " ".join(str(path.resolve()) for path in sorted(sources.glob("*.sv")))
    return [f"read_verilog -sv -defer -D SYNTHESIS {files}", f"hierarchy -check -top {top} {settings}"]
