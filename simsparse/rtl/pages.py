# SPDX-License-Identifier: Apache-2.0
"""A page of documentation per module of rtl/, made from its source, its cycle core and the reports.

``python -m simsparse.rtl.pages`` writes docs/reference/rtl/.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints
from simsparse.paths import data_root
from simsparse.rtl.block import BLOCKS, RtlBlock
from simsparse.rtl.compare import predict, random_stream
from simsparse.rtl.toolchain import sources
from simsparse.rtl.vectors import Channel

FOLDER = Path("docs") / "reference" / "rtl"
CYCLES, BEFORE, STEP = 40, 24, 8
"""Cycles that a waveform shows, those before the first result, and from one number to the next."""
SEED, TILES = 3, 40
_PARAMETER = re.compile(r"^ +(parameter|localparam) +(\w+) +(\w+) *= *(.+?),?$", re.MULTILINE)
_PORT = re.compile(r"^ +(input|output) +wire *(?:\[ *(.+?)\])? +(\w+),?$", re.MULTILINE)
_REGISTERS = re.compile(r"\n *Registers by word address.*?\(end of registers\)\n", re.DOTALL)


def page(module: str) -> str:
    """The page of ``module`` but for its waveform, whose place is marked by ``(waveform)``."""
    text = (sources() / f"{module}.sv").read_text(encoding="utf-8")
    head = text[text.index(f"module {module}") : text.index(");", text.index(f"module {module}"))]
    return "\n".join([
        f"# `{module}`", "", *_purpose(text), "", "## Parameters", "", *_parameters(head), "", "## Ports", "",
        *_ports(head), "", "## Timing", "", *_timing(module), "", "## Clock", "", *_clock(module), "",
        "## Verification", "", *_verification(module), "",
    ])  # fmt: skip


def waveform(block: RtlBlock) -> str:
    """Cycles round the first result of a random stream through ``block``: its main streams in and out."""
    stream = random_stream(block, TILES, SEED)
    predicted = predict(block, stream)
    start = max(0, int(predicted.given[0]) - BEFORE)
    cycles = np.arange(start, start + CYCLES)
    valid = _held(stream.offers, predicted.taken, int(cycles[-1]))[cycles]
    rows = {
        "cycle": "".join(f"{cycle:<{STEP}}" for cycle in cycles[::STEP]), "valid in": _marks(valid),
        "taken": _marks(np.isin(cycles, predicted.taken)),
        "ready out": _marks(stream.accepts[cycles % stream.accepts.size]),
        "given": _marks(np.isin(cycles, predicted.given)),
    }  # fmt: skip
    return "\n".join(["```text", *(f"{name:<10}{drawn}".rstrip() for name, drawn in rows.items()), "```"])


def written(module: str) -> str:
    """The whole page of ``module``."""
    known = module in BLOCKS
    return page(module).replace("(waveform)", waveform(BLOCKS.get(module)[0]) if known else "")


def modules() -> list[str]:
    """Every module of rtl/."""
    return sorted(path.stem for path in sources().glob("*.sv"))


def _purpose(text: str) -> list[str]:
    """The comment at the head of a source, its registers left to their own page."""
    lines = []
    for line in text.splitlines()[1:]:
        if not line.startswith("//"):
            break
        lines.append(line.removeprefix("//").removeprefix(" "))
    found = "\n".join(lines)
    if _REGISTERS.search(found):
        found = _REGISTERS.sub("\nRegisters: [all of them](../rtl-registers.md).\n", found)
    return found.strip().replace("*", r"\*").replace("<", r"\<").splitlines()


def _parameters(head: str) -> list[str]:
    rows = [
        f"| `{name}` | {'yes' if kind == 'parameter' else 'derived'} | `{kept}` | `{value.strip()}` |"
        for kind, kept, name, value in _PARAMETER.findall(head)
    ]
    return ["| name | may be set | type | default |", "| --- | --- | --- | --- |", *rows] if rows else ["None."]


def _ports(head: str) -> list[str]:
    rows = []
    for way, bits, name in _PORT.findall(head):
        high = bits.rpartition(":")[0].strip()
        width = high.removesuffix("-1").strip() if high.endswith("-1") else (str(int(high) + 1) if high else "1")
        rows.append(f"| `{name}` | {way} | `{width}` |")
    return ["| name | way | bits |", "| --- | --- | --- |", *rows]


def _timing(module: str) -> list[str]:
    if module not in BLOCKS:
        return ["See the modules inside; the spill registers add a cycle at each stream."]
    block = BLOCKS.get(module)[0]
    if block.combinational:
        return ["Combinational: the result is there in the cycle of its inputs."]
    settings = ", ".join(f"{name}={value}" for name, value in block.parameters.items())
    lines = [_latency(block), "", f"A random stream round its first result, at {settings}:", "", "(waveform)", "",
             "`#` is high. Cycles are the cycle core's, to which the tests hold the RTL, beat by beat."]  # fmt: skip
    return [*lines, *_sides(block)]


def _latency(block: RtlBlock) -> str:
    if type(block).predicted is not RtlBlock.predicted or not block.timing:
        return "The cycle of every beat follows from the cycle core that `rtl/README.md` names."
    stages = len(block.timing)
    return f"A beat passes {stages} {'stage' if stages == 1 else 'stages'}, a cycle each when nothing stalls."


def _sides(block: RtlBlock) -> list[str]:
    def named(channels: tuple[Channel, ...]) -> str:
        return ", ".join(f"`{channel.prefix.rstrip('_')}`" for channel in channels)

    found = [f"{way}: {named(channels)}" for way, channels in (("in", block.side_inputs), ("out", block.side_outputs))
             if channels]  # fmt: skip
    return ["", f"More streams, which are not drawn: {'; '.join(found)}."] if found else []


def _clock(module: str) -> list[str]:
    """Rows of reports/rtl/fmax.md."""
    text = (data_root() / "reports" / "rtl" / "fmax.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith(f"| {module} |")]
    if not rows:
        return [f"Not measured: `simsparse rtl fmax {module}` does it (the extra `fpga`)."]
    head = ["| block | parameters | MHz | luts | registers | multipliers | memories |",
            "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    return ["On an ECP5, wires included:", "", *head, *rows]


def _verification(module: str) -> list[str]:
    """The module's row of rtl/README.md."""
    text = (sources() / "README.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| `{module}` |"))
    _, _, values, cycles, status = (cell.strip() for cell in row.strip("|").split("|"))
    sets = len(BLOCKS.get(module)) if module in BLOCKS else 0
    lines = [f"- Values held to: {values}.", f"- Cycles held to: {cycles}.", f"- Status: {status}."]
    return [*lines, f"- Parameter sets in the tests: {sets}."] if sets else lines


def _held(offers: NDArray[np.bool_], taken: Ints, last: int) -> NDArray[np.bool_]:
    """Whether the source offers a beat, by cycle up to ``last``: it keeps what it offers until that is taken."""
    gone, active, held = set(taken.tolist()), False, np.zeros(last + 1, np.bool_)
    for cycle in range(last + 1):
        active = active or bool(offers[cycle % offers.size])
        held[cycle] = active
        active = active and cycle not in gone
    return held


def _marks(where: NDArray[np.bool_]) -> str:
    return "".join("#" if each else "." for each in where)


def main() -> None:
    """Write every page."""
    folder = data_root() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for module in modules():
        (folder / f"{module}.md").write_text(written(module), encoding="utf-8")


if __name__ == "__main__":
    main()
