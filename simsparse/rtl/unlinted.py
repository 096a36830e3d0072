# SPDX-License-Identifier: Apache-2.0
"""Text that silences Verilator's lint in SystemVerilog that no one wrote: mutants and netlists."""

from __future__ import annotations

NAMES = (
    "WIDTHTRUNC", "WIDTHEXPAND", "WIDTHCONCAT", "UNUSEDSIGNAL", "UNUSEDPARAM", "UNUSEDGENVAR", "UNDRIVEN", "UNSIGNED",
    "CMPCONST", "SELRANGE", "UNOPTFLAT", "LATCH", "ASCRANGE", "MULTIDRIVEN", "PINMISSING", "ALWCOMBORDER",
    "CASEINCOMPLETE", "CASEOVERLAP", "PINCONNECTEMPTY", "BLKSEQ", "SYNCASYNCNET", "DECLFILENAME", "IMPLICIT",
)  # fmt: skip
LINT_OFF = "".join(f"/* verilator lint_off {name} */" for name in NAMES)
