# SPDX-License-Identifier: Apache-2.0
"""Errors of models by class of kernel: what is recorded of a comparison, and what a result carries of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import simsparse as ss
from simsparse.cli import main
from simsparse.config.accuracy import ClassAccuracy, accuracies, error_of, merged_text, read_accuracies
from simsparse.errors import SpecError
from simsparse.validate import validate
from simsparse.validate.accuracy import accuracy_page, by_size, class_accuracies, worst_rows
from simsparse.validate.run import reference_folder

H100, H200 = "gpu/h100-sxm5-80gb", "gpu/h200-sxm5-141gb"


def row(m: int, n: int, k: int, s: float) -> dict[str, object]:
    return {"section": "gemm_dense", "op": "linear", "m": m, "n": n, "k": k, "dtype": "torch.bfloat16", "s": s,
            "sparse24": False, "copies": 4}  # fmt: skip


def test_classes_split_by_alignment_and_span_the_rows_compared() -> None:
    report = validate([row(1, 4096, 4096, 1e-5), row(64, 512, 8192, 1e-5), row(8, 1000, 1000, 1e-5)], H100)
    found = class_accuracies(report)
    assert found["gemm_dense"].rows == 2
    assert found["gemm_dense"].spans == {"m": (1, 64), "n": (512, 4096), "k": (4096, 8192)}
    assert found["gemm_dense_ragged"].spans["n"] == (1000, 1000)


def test_mean_and_worst_error_are_those_of_the_predictions() -> None:
    (section,) = validate([row(1, 4096, 4096, 2e-5), row(64, 4096, 4096, 1e-6)], H100).sections
    errors = [each.error for each in section.predictions]
    found = class_accuracies(validate([row(1, 4096, 4096, 2e-5), row(64, 4096, 4096, 1e-6)], H100))["gemm_dense"]
    assert found.error == pytest.approx(sum(map(abs, errors)) / 2, abs=1e-4)
    assert found.worst == pytest.approx(max(errors, key=abs), abs=1e-4)
    assert [each.error for each in worst_rows(section.predictions, 1)] == [max(errors, key=abs)]
    assert {size: len(own) for size, own in by_size(section.predictions).items()} == {
        "below 10 us": 1,
        "10 to 100 us": 1,
    }


def test_rows_that_were_not_fitted_state_the_error_and_both_the_span(tmp_path: Path) -> None:
    held = ClassAccuracy(rows=2, error=0.07, worst=0.1, data="held", spans={"m": (8, 16)})
    fitted = ClassAccuracy(rows=9, error=0.01, worst=0.02, data="fitted", in_sample=True, spans={"m": (1, 12)})
    for first, second in ((held, fitted), (fitted, held)):
        file = tmp_path / "a.yaml"
        file.write_text(merged_text({H100: {"gemm_dense": first}}, H100, {"gemm_dense": second}))
        assert read_accuracies(file)[H100]["gemm_dense"] == held.model_copy(update={"spans": {"m": (1, 16)}})


def test_a_damaged_file_is_named_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("gpu/x:\n  gemm_dense: {rows: 0, error: 0.1, worst: 0.1, data: d}\n")
    with pytest.raises(SpecError, match=r"a\.yaml:2: gpu/x\.gemm_dense"):
        read_accuracies(file)


def test_sizes_and_alignments_that_were_not_compared_carry_no_label() -> None:
    def label(m: int, n: int, k: int, hw: str = H100, **fields: str) -> str | None:
        return ss.estimate(ss.ops.linear(m=m, n=n, k=k, **fields), hw).validated

    assert label(64, 4096, 4096) == f"{H100} gemm_dense"
    assert label(64, 4096, 4096, weight_sparsity="2:4") == f"{H100} gemm_sparse24"
    assert label(64, 4095, 4097) is None
    assert label(64, 4095, 4097, H200) == f"{H200} gemm_dense_ragged"
    assert label(1 << 20, 4096, 4096) is None
    assert label(64, 4096, 4096, "gpu/rtx4090") is None


def test_the_error_of_a_run_is_that_of_its_kernels_by_time() -> None:
    trace = ss.load_trace("traces/llama2-7b-decode-b1.trace")
    result = ss.simulate(trace, H200)
    parts = [(op.latency_s, error_of(op.validated)) for op in result.ops if op.kind != "copy"]
    checked = [(seconds, error) for seconds, error in parts if error is not None]
    error, share = result.error_estimate
    assert share == pytest.approx(sum(s for s, _ in checked) / sum(s for s, _ in parts))
    assert error == pytest.approx(sum(s * e for s, e in checked) / sum(s for s, _ in checked))
    assert result.summary()["error_estimate"] == {"error": error, "share": share}


def test_a_part_that_nothing_was_measured_on_has_no_error() -> None:
    trace = ss.load_trace("traces/llama2-7b-decode-b1.trace")
    assert ss.simulate(trace, "gpu/rtx4090").error_estimate == (None, 0.0)


def test_the_committed_file_says_what_the_comparison_says_now() -> None:
    name = "h100_sxm5_80gb.jsonl"
    from simsparse.validate import validate_file

    found = class_accuracies(validate_file(reference_folder() / name, H100))
    committed = accuracies()[H100]
    for key, entry in found.items():
        if key != "e2e":  # which needs torch to be compared
            assert committed[key].error == pytest.approx(entry.error, abs=2e-4), key


def test_the_command_writes_page_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"s": 1e-5, "section": "gemm_dense", "op": "linear", "m": 1, "n": 4096, "k": 4096, "dtype": '
                    '"torch.bfloat16", "sparse24": false, "copies": 4, "s_runs": [1e-5, 2e-5]}\n')  # fmt: skip
    page, file = tmp_path / "page.md", tmp_path / "accuracy.yaml"
    with pytest.raises(SystemExit):
        main(["validate", "--data", str(data), "--hw", H100, "--page", str(page), "--accuracy", str(file)])
    capsys.readouterr()
    assert read_accuracies(file)[H100]["gemm_dense"].rows == 1
    assert "| `gemm_dense` | all | 1 |" in page.read_text()
    assert "100.0% |" in page.read_text()  # the second run took twice the first


def test_the_page_leaves_long_fields_out() -> None:
    page = accuracy_page([validate([{**row(1, 4096, 4096, 1e-5), "counts": list(range(100))}], H100)])
    assert "counts" not in page
