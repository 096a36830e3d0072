# SPDX-License-Identifier: Apache-2.0
"""Proofs: cells lose, double and swap nothing; what is encoded or pruned comes back; each proof sees a fault."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from simsparse.rtl.toolchain import sources

HARNESSES = Path(__file__).parent / "formal"
PREPARE = "proc; flatten; opt; memory_nordff; memory_map; opt; async2sync; chformal -lower; dffunmap; opt -full"
LEAST_PROVEN = "Induction step proven: SUCCESS!"
BOUND_REACHED = "-> proved base case for {steps} steps: SUCCESS!"


@dataclass(frozen=True)
class Proof:
    """Assertions of ``top``, over all time by induction, or over the first ``steps`` cycles after reset."""

    top: str
    modules: tuple[str, ...]
    parameters: tuple[tuple[str, int], ...]
    steps: int | None = None
    macro: str = "PROVE_ORDER"

    def said(self, folder: Path, fault: tuple[str, str, str] | None = None) -> str:
        """Output of the solver, the sources copied to ``folder`` with ``fault`` (module, text, other text) planted."""
        names = []
        for module in self.modules:
            harness = HARNESSES / f"{module}.sv"
            found = harness if harness.is_file() else next(sources().rglob(f"{module}.sv"))
            text = found.read_text(encoding="utf-8")
            if fault is not None and fault[0] == module:
                assert text.count(fault[1]) == 1, fault
                text = text.replace(fault[1], fault[2])
            (folder / f"{module}.sv").write_text(text, encoding="utf-8")
            names.append(f"{module}.sv")
        settings = " ".join(f"-chparam {name} {value}" for name, value in self.parameters)
        how = "-tempinduct -maxsteps 12" if self.steps is None else f"-tempinduct-baseonly -maxsteps {self.steps}"
        define = "" if (HARNESSES / f"{self.top}.sv").is_file() else f"-D {self.macro}"
        script = (
            f"read_verilog -sv -formal {define} {' '.join(names)}; hierarchy -check -top {self.top} {settings}; "
            f"{PREPARE}; sat -tempinduct {how} -verify -prove-asserts -set-assumes"
        )
        code = f"from pyosys import libyosys as ys; ys.run_pass({script!r}, ys.Design())"
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    @property
    def proven(self) -> str:
        """What the solver says last when the proof holds."""
        return LEAST_PROVEN if self.steps is None else BOUND_REACHED.format(steps=self.steps)


def fifo(depth: int) -> Proof:
    return Proof("stream_fifo", ("stream_fifo",), (("Width", 5), ("Depth", depth)))


def prune(n: int, m: int) -> Proof:
    modules = ("decompress_prune", "nm_prune", "nm_decompress", "stream_register")
    return Proof("decompress_prune", modules, (("N", n), ("M", m), ("DataWidth", 4)), steps=m + 4)


REGISTER = Proof("stream_register", ("stream_register",), (("Width", 4),))
SKID = Proof("skid_buffer", ("skid_buffer",), (("Width", 4),))
ENCODE = Proof(
    "decompress_encode24", ("decompress_encode24", "nm_encode24", "nm_decompress", "stream_register"),
    (("DataWidth", 8),),
)  # fmt: skip
RULES = {
    name: Proof("stream_rules", ("stream_rules", "nm_stream_assert", name), (("Kind", kind),))
    for kind, name in enumerate(("skid_buffer", "stream_register"))
}
"""The bindable assertions on both ends of a cell."""
CANCELS = Proof("fp32_add", ("fp32_add",), (), macro="PROVE_CANCELLATION")
ARRAY_WS = Proof("array_order_ws", ("array_order_ws", "nm_systolic_array"), (), steps=11)
ARRAY_OS = Proof("array_order_os", ("array_order_os", "nm_systolic_array"), (), steps=11)
PROOFS = {
    "stream_register": REGISTER, "skid_buffer": SKID, **{f"stream_fifo-{depth}": fifo(depth) for depth in range(1, 6)},
    "rules-skid": RULES["skid_buffer"], "rules-register": RULES["stream_register"],
    "encode24": ENCODE, "prune-2-4": prune(2, 4), "prune-4-8": prune(4, 8), "prune-2-8": prune(2, 8),
    "fp32-add": CANCELS, "array-ws": ARRAY_WS, "array-os": ARRAY_OS,
}  # fmt: skip
FAULTS = {
    "register takes when full": (REGISTER, ("stream_register", "~valid_q | ready_i;", "1'b1;")),
    "register keeps a beat": (REGISTER, ("stream_register", "valid_q <= valid_i;", "valid_q <= valid_q | valid_i;")),
    "register changes what waits": (
        RULES["stream_register"], ("stream_register", "if (valid_i && ready_o) data_q", "if (valid_i) data_q"),
    ),
    "skid changes what waits": (RULES["skid_buffer"], ("skid_buffer", "if (!held) data_q", "data_q")),
    "skid loses the spare": (SKID, ("skid_buffer", "held & (spare_valid_q | take);", "held & spare_valid_q;")),
    "skid gives the new beat first": (SKID, ("skid_buffer", "spare_valid_q ? spare_q : data_i", "data_i")),
    "skid doubles the spare": (SKID, ("skid_buffer", "held & (spare_valid_q | take);", "spare_valid_q | held & take;")),
    "fifo takes when full": (fifo(4), ("stream_fifo", "count_q != CountWidth'(Depth)", "1'b1")),
    "fifo wraps late": (fifo(3), ("stream_fifo", "read_q == Last ? '0 : read_q + 1'b1", "read_q + 1'b1")),
    "fifo gives when empty": (fifo(4), ("stream_fifo", "count_q != '0", "1'b1")),
    "fifo overwrites": (fifo(4), ("stream_fifo", "if (take) memory", "if (valid_i) memory")),
    "encoder's second index": (ENCODE, ("nm_encode24", "| mask[3]};", "};")),
    "encoder's error": (ENCODE, ("nm_encode24", "& (mask[0] | mask[1]))", "& mask[0])")),
    "decompressor's order": (ENCODE, ("nm_decompress", "index <= previous", "index < previous + 2'd2")),
    "pruner forgets an index": (prune(4, 8), ("nm_prune", "CountWidth'(j) >= victim", "CountWidth'(j) > victim")),
    "pruner keeps zeros": (prune(4, 8), ("nm_prune", "magnitude(value_i) > least", "magnitude(value_i) < least")),
    "adder's guard bits are not zero": (CANCELS, ("fp32_add", "big[22:0], 3'd0", "big[22:0], 3'd1")),
    "array takes tokens without weights": (ARRAY_WS, ("nm_systolic_array", "(~first_q | full)", "1'b1")),
    "array moves on over a result": (ARRAY_WS, ("nm_systolic_array", "step = ~valid_o | ready_i", "step = 1'b1")),
    "array loads over weights in use": (ARRAY_WS, ("nm_systolic_array", "(first_q & valid_i));", "valid_i);")),
    "array's weights are not skewed": (
        ARRAY_WS, ("nm_systolic_array", "= selects[c*Rows+:Rows]", "= selects[0+:Rows]"),
    ),
    "array keeps old weights": (ARRAY_WS, ("nm_systolic_array", "marked ? next_q : word_q", "word_q")),
    "array takes a weight alone": (ARRAY_OS, ("nm_systolic_array", "ready_o = open & valid_i;", "ready_o = open;")),
    "array ends sums too soon": (ARRAY_OS, ("nm_systolic_array", "CountWidth'(Rows - 1);", "'0;")),
    "array goes on summing": (ARRAY_OS, ("nm_systolic_array", "<= late_marked ? '0 : total;", "<= total;")),
    "decompressor drops a value": (prune(2, 4), ("nm_decompress", "j = 0; j < N; j++", "j = 1; j < N; j++")),
}  # fmt: skip


@pytest.mark.parametrize("proof", PROOFS.values(), ids=PROOFS)
def test_proof_holds(proof: Proof, tmp_path: Path) -> None:
    said = proof.said(tmp_path)
    assert proof.proven in said, said[-2000:]


@pytest.mark.parametrize(("proof", "fault"), FAULTS.values(), ids=FAULTS)
def test_proof_sees_the_fault(proof: Proof, fault: tuple[str, str, str], tmp_path: Path) -> None:
    said = proof.said(tmp_path, fault)
    assert proof.proven not in said
    assert "SAT proof finished - model found: FAIL!" in said or "proof did fail" in said, said[-2000:]
