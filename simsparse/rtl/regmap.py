# SPDX-License-Identifier: Apache-2.0
"""The registers of nm_gemm_top and nm_gemm_axi, from which their header, their addresses, the C header and the page of
the documentation are made.

``python -m simsparse.rtl.regmap`` writes all of them anew.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from simsparse.paths import data_root

MARK = "made from simsparse/rtl/regmap.py"
IDENTITY, VERSION = 0x4E4D4754, 2 << 16
"""What ID and VERSION read: the letters NMGT, and major and minor version."""


@dataclass(frozen=True)
class BitField:
    """Bits ``low`` to ``low + width - 1`` of a register."""

    name: str
    low: int
    width: int
    text: str

    @property
    def mask(self) -> int:
        """The bits of the register."""
        return ((1 << self.width) - 1) << self.low


@dataclass(frozen=True)
class RegisterSpec:
    """A register: ``access`` r, w or rw, bits that hold what is written, what it is for and its fields."""

    name: str
    access: str
    mask: int
    text: str
    fields: tuple[BitField, ...] = ()


def _bits(*rows: tuple[str, int, str]) -> tuple[BitField, ...]:
    return tuple(BitField(name, low, 1, text) for name, low, text in rows)


_SIZE = 0xFFFF
REGISTERS: tuple[RegisterSpec, ...] = (
    RegisterSpec("CONTROL", "w", 0, "what to do", _bits(
        ("START", 0, "start with the sizes as they are now"), ("ABORT", 1, "stop; START of the same write is ignored"),
    )),
    RegisterSpec("STATUS", "r", 0, "what goes on", _bits(
        ("BUSY", 0, "a GEMM runs"), ("DONE", 1, "the last start ran to its end"),
        ("ERROR", 2, "any bit of ERRORS is set"),
        ("ABORTED", 3, "the last start was aborted"), ("TIMED_OUT", 4, "bit TIMEOUT of ERRORS is set"),
        ("LACKS_WEIGHT", 8, "now: a weight word is missing"),
        ("LACKS_ACTIVATION", 9, "now: an activation beat is missing"),
        ("RESULT_WAITS", 10, "now: a result is not taken"),
    )),
    RegisterSpec("TOKENS", "rw", _SIZE, "tokens, 1 to MaxTokens"),
    RegisterSpec("K_FOLDS", "rw", _SIZE, "folds of a tile, 1 to 65535; not used with SKIP"),
    RegisterSpec("N_TILES", "rw", _SIZE, "tiles, 1 to 65535; with SKIP those that are sent"),
    RegisterSpec("MODE", "rw", 0b111, "how it runs", _bits(
        ("DENSE", 0, "dense weights: the first N activations of a group meet the N weights, indexes are ignored"),
        ("SERIAL", 1, "no fold's weights are taken before the results of the one before it left"),
        ("SKIP", 2, "a tile has the folds that are sent for it; tlast of weights ends a tile"),
    )),
    RegisterSpec("CYCLES", "r", 0, "cycles from the one after the start to the last result or the abort"),
    RegisterSpec("ERRORS", "rw", 0, "what went wrong since it was written; any write clears all", _bits(
        ("SIZES", 0, "start with sizes out of range, not done"),
        ("WEIGHT_TLAST", 1, "tlast of weights elsewhere than the sizes say; the sizes hold"),
        ("ACTIVATION_TLAST", 2, "tlast of activations elsewhere than the sizes say; the sizes hold"),
        ("METADATA", 3, "indexes that do not ascend; used as they are"),
        ("BUSY_START", 4, "start while busy, not done"),
        ("TIMEOUT", 5, "nothing moved for TIMEOUT cycles while busy; the GEMM goes on"),
    )),
    RegisterSpec("SHAPE", "r", 0, "what the engine was built for", (
        BitField("ROWS", 0, 8, "array rows"), BitField("COLS", 8, 8, "array columns"),
        BitField("N", 16, 8, "multipliers of a PE"), BitField("M", 24, 8, "activations of a group"),
    )),
    RegisterSpec("TIMEOUT", "rw", 0xFFFFFFFF, "cycles of a standstill that is told, once each; 0 (reset): never"),
    RegisterSpec("KEPT", "rw", 0xFF, "weights of a group that count when not dense, 1 to N; N after reset"),
    RegisterSpec("INTERRUPT", "rw", 0b11, "when the interrupt is high", _bits(
        ("DONE", 0, "while DONE is"), ("ERROR", 1, "while ERROR is"),
    )),
    RegisterSpec("ID", "r", 0, f"0x{IDENTITY:08x}, the letters NMGT"),
    RegisterSpec("VERSION", "r", 0, "version of these registers", (
        BitField("MINOR", 0, 16, "grows with what is added"), BitField("MAJOR", 16, 16, "grows with what changes"),
    )),
    RegisterSpec("OUTPUT", "rw", 0x3FF, "what nm_gemm_axi makes of sums", (
        BitField("ZERO_POINT", 0, 8, "signed zero point"), BitField("RELU", 8, 1, "nothing below the zero point"),
        BitField("REQUANTISE", 9, 1, "bias, scale and 8 bits a column; else the sums"),
    )),
)  # fmt: skip
"""By word address."""


def sv_comment() -> str:
    """The table in the header of nm_gemm_top.sv."""
    lines = [f"// Registers by word address ({MARK}); sizes take the low 16 bits of what is written:"]
    for address, register in enumerate(REGISTERS):
        fields = "; ".join(
            f"bit {field.low} {field.name}: {field.text}" if field.width == 1
            else f"bits {field.low} to {field.low + field.width - 1} {field.name}: {field.text}"
            for field in register.fields
        )  # fmt: skip
        lead = f"//  {address:2} {register.name:10} {register.access:2}  "
        text = register.text + (f". {fields}" if fields else "")
        lines += textwrap.wrap(text, 120, initial_indent=lead, subsequent_indent="//" + " " * (len(lead) - 2))
    return "\n".join([*lines, "// (end of registers)"])


def sv_addresses() -> str:
    """Localparams of nm_gemm_top.sv."""
    names = [f"Reg{register.name.title().replace('_', '')}" for register in REGISTERS]
    rows = [f"  localparam logic [3:0] {name} = 4'd{address};" for address, name in enumerate(names)]
    identity = [
        f"  localparam logic [31:0] Identity = 32'h{IDENTITY:08x};",
        f"  localparam logic [31:0] Version = 32'h{VERSION:08x};"
    ]  # fmt: skip
    return "\n".join([f"  // Addresses ({MARK}).", *rows, *identity, "  // (end of addresses)"])


def c_header() -> str:
    """rtl/driver/nm_gemm_regs.h"""
    lines = [
        "/* SPDX-License-Identifier: Apache-2.0 */", f"/* Registers of nm_gemm_axi, {MARK}. */",
        "#ifndef NM_GEMM_REGS_H", "#define NM_GEMM_REGS_H", "",
    ]  # fmt: skip
    for address, register in enumerate(REGISTERS):
        lines.append(f"/* {register.text} */")
        lines.append(f"#define NM_GEMM_{register.name} 0x{4 * address:02x}u")
        for field in register.fields:
            name = f"NM_GEMM_{register.name}_{field.name}"
            lines.append(f"#define {name} 0x{field.mask:08x}u /* {field.text} */")
            if field.width > 1:
                lines.append(f"#define {name}_SHIFT {field.low}")
    lines += [
        "",
        f"#define NM_GEMM_IDENTITY 0x{IDENTITY:08x}u",
        f"#define NM_GEMM_MAJOR {VERSION >> 16}u",
        "",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def page() -> str:
    """docs/reference/rtl-registers.md"""
    lines = [
        "# Registers of nm_gemm_top and nm_gemm_axi", "",
        "Byte addresses are those of `nm_gemm_axi`, word addresses those of `nm_gemm_top`. This page, the header of",
        "the RTL, its addresses and `rtl/driver/nm_gemm_regs.h` are all made from `simsparse/rtl/regmap.py`.", "",
        "| byte | word | register | access | what for |", "| --- | --- | --- | --- | --- |",
        *(f"| 0x{4 * place:02x} | {place} | `{each.name}` | {each.access} | {each.text} |"
          for place, each in enumerate(REGISTERS)),
    ]  # fmt: skip
    for register in REGISTERS:
        if register.fields:
            lines += ["", f"## {register.name}", "", "| bits | field | meaning |", "| --- | --- | --- |"]
            for field in register.fields:
                last = field.low + field.width - 1
                bits = f"{field.low}" if field.width == 1 else f"{last}:{field.low}"
                lines.append(f"| {bits} | `{field.name}` | {field.text} |")
    return "\n".join([*lines, ""])


def source(text: str) -> str:
    """nm_gemm_top.sv with its table and addresses made anew."""
    for made, start, end in ((sv_comment(), "// Registers by word address", "// (end of registers)"),
                             (sv_addresses(), "  // Addresses (", "  // (end of addresses)")):  # fmt: skip
        pattern = re.escape(start) + r".*?" + re.escape(end)
        text = re.sub(pattern, lambda _, made=made: made, text, count=1, flags=re.DOTALL)  # type: ignore[misc]
    return text


def files(root: Path) -> dict[Path, str]:
    """Every file that is made from REGISTERS, and what it must hold."""
    top = root / "rtl" / "nm_gemm_top.sv"
    return {
        top: source(top.read_text(encoding="utf-8")), root / "rtl" / "driver" / "nm_gemm_regs.h": c_header(),
        root / "docs" / "reference" / "rtl-registers.md": page(),
    }  # fmt: skip


if __name__ == "__main__":
    for file, text in files(data_root()).items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
