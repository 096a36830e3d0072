# SPDX-License-Identifier: Apache-2.0
"""Studies as they run: moved values, values of claims, states, a store that a rerun uses, pages, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simsparse.cli import main
from simsparse.config.hardware import load_hardware
from simsparse.config.study import Claim, ClaimMetric, Study, load_study
from simsparse.config.study import Run as StudyRun
from simsparse.errors import SpecError
from simsparse.report.studies import index_markdown, study_page, write_study_pages
from simsparse.report.study_index import place, strip_of
from simsparse.store.schema import Record
from simsparse.studies import ClaimOutcome, Outcome, State, StudyOutcome, run_studies
from simsparse.studies.answers import Answers
from simsparse.studies.assumption import assumptions, key_of, moves
from simsparse.studies.claims import _value
from simsparse.studies.outcome import Moved, ShownOutcome
from simsparse.studies.plan import plan_study
from simsparse.sweep.execute import run_point

RUN = {"system": "a.yaml", "baseline": "b.yaml"}


def claim(**changes: Any) -> Claim:
    data = {"name": "c", "what": "w", "published": 2.0, "unit": "x", "source": {"where": "table"}, "tolerance": 0.1,
            "why": "y", "run": RUN}  # fmt: skip
    return Claim.model_validate(data | changes)


def not_run(**changes: Any) -> ClaimOutcome:
    return ClaimOutcome(claim(run=None, tolerance=None, why="", **changes))


def study(*outcomes: ClaimOutcome, missing: tuple[str, ...] = ()) -> StudyOutcome:
    claims = [item.claim.model_copy(update={"name": f"c{i}"}) for i, item in enumerate(outcomes)]
    status = None if any(item.run for item in claims) else {"state": "not expressible", "reason": "r"}
    data = {"id": "A1", "title": "t", "reference": {"cite": "x"}, "family": "offload", "mechanism": "m",
            "claims": claims, "missing": missing, "status": status}  # fmt: skip
    return StudyOutcome("s", Study.model_validate(data), outcomes)


def test_deviation_is_from_the_figure_or_the_nearer_end_of_a_range() -> None:
    assert ClaimOutcome(claim(), 2.1).deviation == pytest.approx(0.05)
    ranged = claim(published=2.0, to=4.0)
    assert ClaimOutcome(ranged, 3.0).deviation == 0
    assert ClaimOutcome(ranged, 1.0).deviation == pytest.approx(-0.5)
    assert ClaimOutcome(ranged, 5.0).deviation == pytest.approx(0.25)
    assert ClaimOutcome(claim(published=None, tolerance=None), 3.0).deviation is None


def test_the_outcome_of_a_claim_follows_from_its_run() -> None:
    assert ClaimOutcome(claim(), 2.2).outcome is Outcome.WITHIN
    assert ClaimOutcome(claim(), 2.201).outcome is Outcome.DEVIATES
    assert ClaimOutcome(claim(lacks=["a kernel"]), 2.0).outcome is Outcome.IN_PART
    assert ClaimOutcome(claim(tolerance=None), 2.0).outcome is Outcome.IN_PART
    assert ClaimOutcome(claim(), error="no device").outcome is Outcome.FAILED
    assert not_run().outcome is Outcome.NOT_RUN


def test_the_state_of_a_system_follows_from_its_claims() -> None:
    good, bad, part = ClaimOutcome(claim(), 2.0), ClaimOutcome(claim(), 3.0), ClaimOutcome(claim(tolerance=None), 2.0)
    assert study(good, good).state is State.REPRODUCED
    assert study(good, good, missing=("a kernel",)).state is State.WITHIN
    assert study(good, not_run()).state is State.WITHIN
    assert study(good, part).state is State.WITHIN
    assert study(part, good).state is State.IN_PART, "what a reader quotes is the first claim"
    wrong = ClaimOutcome(claim(about="baseline"), 3.0)
    assert study(good, wrong).state is State.IN_PART, "a ratio to a baseline that deviates shows less"
    assert study(good, bad).state is State.DEVIATES
    assert study(part, not_run()).state is State.IN_PART
    assert study(good, ClaimOutcome(claim(), error="e")).state is State.FAILED
    assert study(not_run()).state is State.NOT_EXPRESSIBLE
    baseline = ClaimOutcome(claim(about="baseline"), 2.0)
    assert study(baseline, part).state is State.IN_PART, "a figure of the baseline says nothing of the system"
    assert study(baseline, part).headline.claim.about == "system"


@pytest.mark.parametrize(
    ("value", "expected"), [("baseline/system", 2.5), ("system/baseline", 0.4), ("system", 4.0), ("1/system", 0.25)]
)
def test_the_value_of_a_run(value: str, expected: float) -> None:
    """Two passes of 3 and one of 2 make two items: 4 each; the baseline takes 10 for one."""
    passes = [{"experiment": "a.yaml", "times": 2}, {"experiment": "b.yaml"}]
    data: dict[str, Any] = {"value": value, "system": {"passes": passes, "items": 2}}
    if "baseline" in value:
        data["baseline"] = "c.yaml"
    costs = {"a.yaml": 3.0, "b.yaml": 2.0, "c.yaml": 10.0}
    assert _value(StudyRun.model_validate(data), costs.__getitem__) == pytest.approx(expected)


def test_a_claim_may_be_of_memory() -> None:
    """The fullest device counts for memory, all of them for weights."""
    memory = {"gpu0": {"weights": 5, "KV cache": 4}, "host": {"weights": 7}}
    answers = Answers()
    answers.put(Record("k", json.dumps({"latency_s": 1.0, "energy_j": 2.0, "memory": memory})))
    known = {"latency_s": 1.0, "energy_j": 2.0, "memory_bytes": 9, "weight_bytes": 12}
    assert answers.result("k") == known | {"hit_rate": 1.0}


def test_a_claim_may_be_of_hits() -> None:
    use = {"hits": 3, "misses": 1, "copied_ahead": 0, "copied_bytes": 9, "on_host": 0}
    answers = Answers()
    answers.put(Record("k", json.dumps({"latency_s": 1.0, "energy_j": 2.0, "memory": {}, "cache": {"gpu0": use}})))
    assert answers.result("k")["hit_rate"] == 0.75


def test_every_assumed_value_is_halved_and_doubled_or_refused_with_a_reason() -> None:
    part = load_hardware("link/pcie4-x16")
    found = list(moves([part, part]))
    assert len(found) == 2 * len(assumptions([part])) > 0
    by_path = {(move.assumption.path, move.factor): move for move in found}
    assert by_path["efficiency", 0.5].value == "0.4"
    assert by_path["efficiency", 2.0].value is None and "at most 1" in by_path["efficiency", 2.0].refusal
    latency = by_path["latency", 2.0].value
    assert latency is not None
    moved = dict(load_hardware("link/pcie4-x16", {"latency": latency}).quantities())["latency"].si
    assert moved == pytest.approx(2 * dict(part.quantities())["latency"].si)


def test_a_move_holds_wherever_its_part_stands() -> None:
    plan, answers = plan_study("duplex"), Answers()
    gpu, duplex = plan.experiments["gpu.yaml"], plan.experiments["duplex.yaml"]
    for item in (gpu, duplex):
        answers.put(run_point(item.run))
        item.group(answers)
    parts = [{key_of(move)[0] for group in item.groups for move in group.moves} for item in (gpu, duplex)]
    assert "gpu/h100-sxm5-80gb" in parts[0] < parts[1]
    assert parts[1] - parts[0] >= {"pim/logic-pim"}
    for item in (gpu, duplex):
        assert item.groups and all(len(group.screens) == 2 for group in item.groups)


@pytest.mark.parametrize(
    ("study", "file"), [("speech-pruning", "pruned.yaml"), ("slope", "inference-sparse.yaml"), ("duplex", "gpu.yaml")]
)
def test_values_that_are_not_moved_change_nothing(study: str, file: str) -> None:
    """Moved one by one, values that a run did not read, or of a group without effect, leave the result as it is.

    Without the note of what it reads, the run has the same result to the last bit.
    """
    item, answers = plan_study(study).experiments[file], Answers()
    answers.put(run_point(item.run))
    for point in item.group(answers):
        answers.put(run_point(point))
    item.open_groups(answers)
    plain = plan_study(study, vary=False).experiments[file].run
    answers.put(run_point(plain))
    base = {metric: answers.result(item.run.key)[metric] for metric in ClaimMetric}
    assert base == answers.result(plain.key)
    unread = [move for move in item.moves if not item.reads(move)]
    left = [move for group in item.groups for move in group.moves if key_of(move) not in item.moved]
    assert (unread or study == "speech-pruning") and left and item.moved, "some are read, and some of these enter"
    for move in [*unread[:: 1 + len(unread) // 12], *left[:: 1 + len(left) // 12]]:
        answers.put(run_point(alone := item.with_moves([move])))
        assert all(answers.result(alone.key)[metric] == base[metric] for metric in item.metrics), move


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def pruning(folder: Path) -> StudyOutcome:
    (found,) = run_studies(["speech-pruning"], out=folder)
    return found


def test_a_study_runs_from_end_to_end(pruning: StudyOutcome) -> None:
    other, own = pruning.claims
    assert pruning.state is State.WITHIN and own.simulated is not None and own.range is not None
    assert own.range[0] <= own.simulated <= own.range[1]
    assert own.range[0] < own.range[1], "something that was assumed moves the answer"
    assert {item.part for item in own.moved} >= {"cpu/xeon-8380"}
    assert any(item.refusals for item in own.moved)
    assert other.outcome is Outcome.NOT_RUN


def test_a_rerun_repeats_only_what_had_no_result(
    pruning: StudyOutcome, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = []
    monkeypatch.setattr("simsparse.sweep.workers.run_point", lambda run: records.append(run_point(run)) or records[-1])
    (again,) = run_studies(["speech-pruning"], out=folder)
    assert again.to_dict() == pruning.to_dict()
    assert [record.key for record in records if record.result is not None] == []


def test_a_claim_that_contradicts_its_case_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, document = load_study("qmoe")
    wrong = loaded.claims[0].model_copy(update={"published": 0.9})
    changed = loaded.model_copy(update={"claims": (wrong, *loaded.claims[1:])})
    monkeypatch.setattr("simsparse.studies.plan.load_study", lambda _: (changed, document))
    with pytest.raises(SpecError, match=r"claims\[0\].published: 0.9 here, 0.807 in the case"):
        run_studies(["qmoe"], vary=False)


def test_pages_show_what_was_found(pruning: StudyOutcome, folder: Path) -> None:
    data = pruning.to_dict()
    pages = write_study_pages([data], [], folder / "pages")
    assert [page.name for page in pages] == ["speech-pruning.md", "index.md", "index.html"]
    text = study_page(data)
    assert "| 2 x |" in text and "Not moved both ways" in text and "cpu/xeon-8380" in text
    assert "[Task-Agnostic" in index_markdown([data], [])
    html = pages[-1].read_text(encoding="utf-8")
    assert html.count("<tbody data-state") == 1 and "speech" in html
    assert "http://" not in html and "https://" not in html and " src=" not in html, "the page fetches nothing"


def test_a_page_shows_what_carries_a_large_deviation() -> None:
    shown = ShownOutcome("with the other kernel", 2.1)
    moved = [Moved("gpu/x", "launch", "2 us", 1.9, 3.5), Moved("gpu/x", "clock", "1 GHz", 3.1, None)]
    large = ClaimOutcome(claim(), 3.0, moved, cause="The kernel is another.", shown=(shown,))
    text = study_page(study(large).to_dict())
    assert "What carries the deviation: The kernel is another." in text
    assert "| with the other kernel | 2.10 x | +5.0 % |" in text
    assert "| half `launch` of gpu/x (2 us) | 1.90 x | -5.0 % |" in text
    assert "double `launch`" not in text and "half `clock`" not in text and "None of these runs" not in text
    assert "no run here shows" in study_page(study(ClaimOutcome(claim(), 3.0)).to_dict())
    assert "What carries" not in study_page(study(ClaimOutcome(claim(), 2.2)).to_dict())


def test_texts_of_a_page_are_escaped(folder: Path) -> None:
    data = study(ClaimOutcome(claim(what="<script>alert(1)</script> a | b"), 2.0)).to_dict()
    pages = write_study_pages([data], [], folder / "escaped")
    assert "<script>alert" not in pages[-1].read_text(encoding="utf-8")
    assert "a \\| b" in pages[0].read_text(encoding="utf-8")


def test_the_small_plot_is_logarithmic_and_cut_at_its_ends() -> None:
    assert place(1.0) == pytest.approx((place(0.5) + place(2.0)) / 2, abs=0.11)
    assert place(1e6) == place(100.0) > place(4.0)
    far = strip_of(ClaimOutcome(claim(), 60.0).to_dict())
    assert far is not None and far.beyond == "right" and far.band is not None and far.bar is None
    assert strip_of(not_run().to_dict()) is None


def run_command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["study", *words])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_the_command_runs_one_study(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_command(capsys, "qmoe")
    assert code == 0 and "0.807 bit" in out and "within tolerance" in out
    assert "missing: a product that decodes its weights" in err
    code, out, _ = run_command(capsys, "qmoe", "--json")
    assert json.loads(out)["studies"][0]["claims"][0]["outcome"] == "within tolerance"


def test_the_command_lists_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_command(capsys, "--list", "--json")
    assert code == 0 and len(json.loads(out)["studies"]) == 87
    code, _, err = run_command(capsys, "endr")
    assert code == 2 and "did you mean endor" in err
    assert run_command(capsys)[0] == 2
    assert run_command(capsys, "endor", "--all")[0] == 2


def test_strict_fails_on_a_case_beyond_its_tolerance(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simsparse.validate.cases.qmoe.ZEROS", 0.5)
    assert run_command(capsys, "qmoe", "--strict")[0] == 1
