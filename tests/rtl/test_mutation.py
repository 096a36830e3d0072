# SPDX-License-Identifier: Apache-2.0
"""A fixed sample of planted faults dies, a module without a fault lives, and the rules make what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from simsparse.rtl.toolchain import sources
from tests.rtl.mutants import RULES, Mutant, mutants
from tests.rtl.mutation import unchanged
from tests.rtl.trial import Fate, planted, relevant, trial

SAMPLE = {
    "skid_buffer": "swapped branches", "dot_accumulate": "wrong sign", "nm_encode24": "dropped negation",
}  # fmt: skip
LEAST = 50
SOURCE = """module two (
    input wire a_i
);
  for (genvar j = 0; j < N; j++) begin : gen_lane
    assign x[j*Width+:Width] = a ? $signed(b) : c;
  end
  // a & b
  assign valid_o = p | q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) r <= '0;
    else if (take) r <= s + 1'b1;
  end
endmodule
"""


def found(rule: str, tmp_path: Path) -> set[tuple[str, str]]:
    path = tmp_path / "two.sv"
    path.write_text(SOURCE, encoding="utf-8")
    return {(mutant.before, mutant.after) for mutant in mutants(path) if mutant.rule == rule}


@pytest.mark.parametrize(
    ("rule", "pairs"),
    [
        ("flipped operator", {("|", "&"), ("+", "-"), ("<", "<=")}),
        ("dropped term", {("p |", "nothing"), ("| q", "nothing")}),
        ("condition", {("take", "1'b1"), ("take", "!(take)")}),
        ("swapped branches", {("$signed(b) : c", "c : $signed(b)")}),
        ("swapped lanes", {("j", "(N - 1 - j)")}),
        ("wrong sign", {("$signed(", "$unsigned(")}),
        ("stuck handshake", {("p | q", "1'b1"), ("p | q", "1'b0")}),
        ("wrong reset", {("'0", "'1")}),
        ("lost assignment", {("r <= '0;", ";"), ("r <= s + 1'b1;", ";")}),
    ],
)
def test_rule(rule: str, pairs: set[tuple[str, str]], tmp_path: Path) -> None:
    assert found(rule, tmp_path) == pairs


def test_there_are_enough_faults_of_every_rule() -> None:
    made = [mutant for path in sources().glob("*.sv") for mutant in mutants(path)]
    assert len(made) >= LEAST
    assert {mutant.rule for mutant in made} == set(RULES)
    assert all(mutant.text != (sources() / f"{mutant.module}.sv").read_text(encoding="utf-8") for mutant in made)


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("module", SAMPLE)
def test_a_planted_fault_dies(module: str, tmp_path: Path) -> None:
    fault = next(each for each in mutants(sources() / f"{module}.sv") if each.rule == SAMPLE[module])
    holders = [block for block in relevant(module) if block.module == module]
    assert any(_fate(fault, tmp_path, place) is Fate.KILLED for place in range(len(holders)))


@pytest.mark.usefixtures("_simulator")
def test_a_module_without_a_fault_lives(tmp_path: Path) -> None:
    assert _fate(unchanged("nm_encode24"), tmp_path) is Fate.SURVIVED


def _fate(mutant: Mutant, folder: Path, place: int = 0) -> Fate:
    return trial(mutant, folder, relevant(mutant.module)[place : place + 1], deep=False).fate


def test_nothing_stays_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMSPARSE_RTL_BUILD", str(tmp_path / "build"))
    before = sources()
    with planted(unchanged("nm_select"), tmp_path):
        assert sources() == tmp_path / "rtl"
    assert sources() == before
