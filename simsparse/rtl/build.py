# SPDX-License-Identifier: Apache-2.0
"""Verilator builds, one folder a parameter set, made once and shared between processes.

Verilator's runtime and what drives the benches are compiled once for all of them, and the header is precompiled:
that is most of the time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from simsparse.errors import SimulationError
from simsparse.paths import data_root
from simsparse.rtl.block import RtlBlock
from simsparse.rtl.toolchain import build_root, check, compiler, environment, include, sources, verilator
from simsparse.rtl.vectors import WORD_BITS, Channel, words

HERE = Path(__file__).parent
BENCH, DRIVER = HERE / "bench.cpp", HERE / "driver.cpp"
RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
COVERED = ("verilated_cov.cpp",)
COVERAGE = "SIMSPARSE_RTL_COVERAGE"
"""Variable with the folder that programs put their coverage into; unset, they are built without."""
LINT = ("-Wall", "--x-assign", "unique", "--x-initial", "unique")


def bench(block: RtlBlock) -> Path:
    """The simulator of ``block``, built unless sources and tools are as they were.

    Raises SimulationError when a tool is missing or the build fails.
    """
    folder = build_root() / "bench" / block.name
    file = folder / "bench.sv"
    with locked(folder):
        file.write_text(wrapper(block) + assertions(block), encoding="utf-8")
        return _built(folder, "bench", [str(file)], [BENCH], ())


def simulator(
    name: str, module: str, parameters: Mapping[str, int], parts: Sequence[Path], flags: Sequence[str]
) -> Path:
    """A program of the C++ ``parts`` and ``module`` at ``parameters``, whose class is V``module``, built as bench() is.

    Raises SimulationError when a tool is missing or the build fails.
    """
    folder = build_root() / "programs" / name
    settings = [f"-G{key}={value}" for key, value in parameters.items()]
    with locked(folder):
        return _built(folder, module, [*settings, str(sources() / f"{module}.sv")], parts, flags)


def _built(folder: Path, module: str, source: list[str], parts: Sequence[Path], flags: Sequence[str]) -> Path:
    """The program in ``folder``, made anew when something that it depends on has changed."""
    check()
    program = folder / "bench"
    known = digest(
        *parts,
        *sorted(HERE.glob("*.h")),
        *sorted(sources().glob("*.sv")),
        *sorted((data_root() / "rtl" / "assert").glob("*.sv")),
    ) + " ".join([*source, *flags])
    known += hashlib.sha256(Path(source[-1]).read_bytes()).hexdigest()
    with unless_made(folder, known) as stale:
        if stale:
            shared = _runtime()
            _run(_verilate(folder, module, source), folder)
            _unit(folder, parts)
            objects = [str(shared / source.with_suffix(".o").name) for source in _runtime_sources()]
            header = ["-include", str(shared / "runtime.h")]
            how = [*_compile(folder, os.environ.get("SIMSPARSE_RTL_OPTIMISE", "-O1")), *flags]
            _run([*how, *header, "unit.cpp", *objects, "-pthread", "-o", str(program)], folder)
    return program


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder``, made when it is not there, against other processes."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def unless_made(folder: Path, known: str) -> Iterator[bool]:
    """Whether ``folder`` must be made anew; when that succeeds, it counts as made from ``known``."""
    stamp = folder / "stamp"
    stale = not (stamp.is_file() and stamp.read_text(encoding="utf-8") == known)
    if stale:
        stamp.unlink(missing_ok=True)
    yield stale
    if stale:
        stamp.write_text(known, encoding="utf-8")


def digest(*paths: Path) -> str:
    """Digest of what a build depends on: files, tools and this module."""
    known = hashlib.sha256(f"{verilator()} {compiler()} {_covered()}".encode())
    for path in (Path(__file__), *paths):
        known.update(path.read_bytes())
    return known.hexdigest()


def _runtime() -> Path:
    """The folder of Verilator's compiled runtime, the benches' driver and the precompiled header."""
    folder = build_root() / "runtime"
    known = digest(include() / "verilated.h", DRIVER, DRIVER.with_suffix(".h"))
    with locked(folder), unless_made(folder, known) as stale:
        if stale:
            (folder / "runtime.h").write_text("#include <verilated.h>\n#include <vector>\n", encoding="utf-8")
            for source in _runtime_sources():
                _run([*_compile(folder), "-c", str(source)], folder)
            if _is_gcc():
                _run([*_compile(folder), "-x", "c++-header", "runtime.h", "-o", "runtime.h.gch"], folder)
    return folder


def _runtime_sources() -> list[Path]:
    return [*(include() / name for name in (*RUNTIME, *(COVERED if _covered() else ()))), DRIVER]


def _covered() -> bool:
    return COVERAGE in os.environ


def _is_gcc() -> bool:
    said = subprocess.run([str(compiler()), "--version"], capture_output=True, text=True, check=False)
    return "Free Software Foundation" in said.stdout


def _compile(folder: Path, optimise: str = "-O1") -> list[str]:
    places = (folder, folder / "obj", HERE, include(), include() / "vltstd")
    where = [f"-I{place}" for place in places]
    off = [f"-DVM_COVERAGE={int(_covered())}"]
    off += [f"-DVM_{feature}=0" for feature in ("SC", "TIMING", "TRACE", "TRACE_FST", "TRACE_VCD")]
    return [str(compiler()), "-std=c++17", optimise, "-w", "-pthread", "-DVERILATOR=1", *off, *where]


def _verilate(folder: Path, module: str, source: list[str]) -> list[str]:
    places = ["--prefix", f"V{module}", "--top-module", module, "--Mdir", str(folder / "obj"), "-y", str(sources())]
    places += ["-y", str(data_root() / "rtl" / "assert")]
    covered = ["--coverage-line", "--coverage-toggle"] if _covered() else []
    return [str(verilator()), "--cc", *LINT, *covered, *places, *source]


def _unit(folder: Path, parts: Sequence[Path]) -> None:
    """One translation unit of what Verilator wrote and ``parts``, so that headers are read once."""
    every = [*sorted((folder / "obj").glob("*.cpp")), *parts]
    (folder / "unit.cpp").write_text("".join(f'#include "{path}"\n' for path in every), encoding="utf-8")


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stdout + done.stderr
        (folder / "log").write_text(" ".join(command) + os.linesep + said, encoding="utf-8")
        lines = [line for line in said.splitlines() if "rror" in line or "arning" in line] or ["no message"]
        raise SimulationError(f"does not build: {lines[0]} (all in {folder / 'log'})", key=folder.name)


def wrapper(block: RtlBlock) -> str:
    """A module ``bench`` with a bit of each handshake signal a stream, and the fields side by side in two vectors."""
    settings = ", ".join(f".{name}({value})" for name, value in block.parameters.items())
    ports_in, wide_in, _ = _ports(block.channels_in, "i", "o", "data_i")
    ports_out, wide_out, spare = _ports(block.channels_out, "o", "i", "data_o")
    rest = "".join(f"  assign data_o[{low}+:{count}] = '0;\n" for low, count in spare if count)
    tied = {port: value or f"unused_{port}" for port, value in block.tied.items()}
    clock = "    .clk_i, .rst_ni,\n" + "".join(f"    .{port}({value}),\n" for port, value in tied.items())
    widths = {"output_o": "[9:0] "}
    rest += "".join(f"  wire {widths.get(port, '')}unused_{port};\n" for port, value in block.tied.items() if not value)
    if block.combinational:
        ports_in, ports_out, clock = _no_handshake(ports_in), _no_handshake(ports_out), ""
        rest += (
            "  assign ready_o = ready_i;\n  assign valid_o = valid_i;\n  wire unused_clock = &{1'b0, clk_i, rst_ni};\n"
        )
    last_in, last_out = len(block.channels_in) - 1, len(block.channels_out) - 1
    return (
        "module bench (\n  input wire clk_i, rst_ni,\n"
        f"  input wire [{last_in}:0] valid_i,\n  output wire [{last_in}:0] ready_o,\n"
        f"  output wire [{last_out}:0] valid_o,\n  input wire [{last_out}:0] ready_i,\n"
        f"  input wire [{wide_in - 1}:0] data_i,\n  output wire [{wide_out - 1}:0] data_o\n);\n"
        f"  wire unused = &{{1'b0, data_i}};\n{rest}"
        f"  {block.module} #({settings}) dut (\n{clock}{ports_in},\n{ports_out}\n  );\nendmodule\n"
    )


def assertions(block: RtlBlock) -> str:
    """Bind statements that put nm_stream_assert on every stream of ``block``; none without a clock."""
    if block.combinational:
        return ""
    streams = [(channel, "i", "o") for channel in block.channels_in] + [
        (channel, "o", "i") for channel in block.channels_out
    ]
    return "".join(
        f"bind {block.module} nm_stream_assert #(.Width({sum(field.width for field in channel.fields)})) "
        f"u_assert_{way}{place} (\n  .clk_i(clk_i), .rst_ni(rst_ni), .valid_i({channel.prefix}valid_{way}), "
        f".ready_i({channel.prefix}ready_{back}),\n"
        f"  .data_i({{{', '.join(f'{field.name}_{way}' for field in channel.fields)}}})\n);\n"
        for place, (channel, way, back) in enumerate(streams)
    )


def _no_handshake(ports: str) -> str:
    return ",\n".join(line for line in ports.split(",\n") if "valid_" not in line and "ready_" not in line)


def _ports(
    channels: tuple[Channel, ...], way: str, back: str, vector: str
) -> tuple[str, int, list[tuple[int, int]]]:  # fmt: skip
    """Connections of ``channels``, bits of ``vector``, and its spare bits as (lowest, count); whole words a channel."""
    lines: list[str] = []
    base, spare = 0, []
    for place, channel in enumerate(channels):
        lines.append(f"    .{channel.prefix}valid_{way}(valid_{way}[{place}])")
        lines.append(f"    .{channel.prefix}ready_{back}(ready_{back}[{place}])")
        low, base = base, base + words(channel.fields) * WORD_BITS
        for field in channel.fields:
            lines.append(f"    .{field.name}_{way}({vector}[{low}+:{field.width}])")
            low += field.width
        spare.append((low, base - low))
    return ",\n".join(lines), base, spare
