# SPDX-License-Identifier: Apache-2.0
"""GPU models, link and policies against measurements: the tolerance of every section is asserted.

The reference files were measured apart from the probe files that the parameters were fitted to.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from doc_tables import references
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.errors import SimsparseError, SpecError
from simsparse.validate import (
    REFERENCES,
    TOLERANCES,
    reference_folder,
    run,
    validate,
    validate_file,
    validate_references,
)
from simsparse.validate.measurement import measurements
from simsparse.validate.serve_rows import serving_sections

pytestmark = [pytest.mark.validation, pytest.mark.xdist_group("references")]

H100, H200 = "gpu/h100-sxm5-80gb", "gpu/h200-sxm5-141gb"
PROBES = {f"probe{kind}_{name}": hw for name, hw in list(REFERENCES.items())[:2] for kind in ("", "_layers")}
PROBES |= dict.fromkeys(("products_h200_sxm5_141gb.jsonl", "products_kept_h200_sxm5_141gb.jsonl"), H200)
PROBES["h200_x2_second_set.jsonl"] = "systems/h200-x2-nvlink"
REQUIRED = {"gemm_dense": 0.10, "gemm_sparse24": 0.20, "attn_decode": 0.10, "offload": 0.10, "weight_stream": 0.10}

BEYOND = {("serve_h200_sxm5_141gb.jsonl", "serve_loaded_ttft"), ("h200_x2_nvlink.jsonl", "nccl"),
          ("products_kept_h200_sxm5_141gb.jsonl", "gemm_dense")}  # fmt: skip
"""Sections known to be beyond their tolerance. Waiting at a load of 0.85: 26 %, since a queue amplifies that steps in a
run take 2 to 13 % longer than by themselves. Collectives of two GPUs: 10.2 %, half of whose rows are calls by the host
that differ by a fifth from size to size. Products of random shapes: 10.3 %, most of it by 2 to 12 tokens with odd rows,
for which the library has a kernel that has no model."""


@cache
def report(file):
    if file in REFERENCES:
        return next(found for found in references() if Path(found.file).name == file)
    return validate_file(reference_folder() / file, PROBES[file])


@pytest.mark.parametrize("file", [*REFERENCES, *PROBES])
def test_sections_are_within_their_tolerances(file):
    found = report(file)
    beyond = {(file, section.name): section.mape for section in found.sections
              if section.mape > TOLERANCES[section.name]}  # fmt: skip
    assert set(beyond) == {known for known in BEYOND if known[0] == file}, beyond
    assert found.passed == (not beyond)


def test_h100_reference_covers_what_must_be_covered():
    compared = {section.name: len(section.predictions) for section in report("h100_sxm5_80gb.jsonl").sections}
    assert {name: compared[name] for name in REQUIRED} == {
        "gemm_dense": 66, "gemm_sparse24": 66, "attn_decode": 8, "offload": 15, "weight_stream": 24,
    }  # fmt: skip


def test_required_tolerances_are_not_loosened():
    assert {name: TOLERANCES[name] for name in REQUIRED} == REQUIRED


def sections_of(row):
    """A run of serving is a row of several sections."""
    (measured,) = measurements([row])
    return serving_sections(measured) if row["section"] == "serve" else (row["section"],)


def test_every_row_is_accounted_for():
    for file in (*REFERENCES, *PROBES):
        found = report(file)
        rows = [json.loads(line) for line in (reference_folder() / file).read_text().splitlines() if line.strip()]
        rows = [row for row in rows for _ in sections_of(row)]
        compared = sum(section.to_dict()["rows"] for section in found.sections)
        assert compared + sum(found.not_simulated.values()) + sum(found.unknown.values()) == len(rows)
        assert not found.unknown


def test_all_reference_files_are_reported(monkeypatch):
    monkeypatch.setattr(run, "_validate", lambda _, hardware, path, __: (Path(path).name, hardware))
    assert validate_references() == list(REFERENCES.items())


def test_a_slower_measurement_fails():
    rows = [
        {**json.loads(line), "s": 2 * json.loads(line)["s"]}
        for line in (reference_folder() / "h100_sxm5_80gb.jsonl").read_text().splitlines()
        if '"sdpa_decode"' in line
    ]
    found = validate(rows, H100)
    assert not found.passed
    assert found.section("attn_decode").mape > 0.4


def test_worst_case_comes_with_its_shape():
    worst = report("h100_sxm5_80gb.jsonl").section("attn_decode").to_dict()["worst"]
    assert set(worst["shape"]) == {"op", "B", "H", "KV", "D", "L"}
    assert abs(worst["predicted"] / worst["measured"] - 1) == pytest.approx(abs(worst["error"]))


def test_other_sections_are_listed():
    rows = [{"section": "env"}, {"section": "novel"}, {"section": "attn", "op": "mla"}]
    found = validate(rows, H100)
    assert found.not_simulated == {"env": 1}
    assert found.unknown == {"novel": 1, "attn: mla": 1}
    assert found.passed


def test_rows_that_a_card_cannot_run_are_skipped_with_the_reason():
    row = {"section": "gemm_dense", "m": 8, "n": 8, "k": 8, "dtype": "torch.bfloat16", "s": 1e-5}
    section = validate([row], "gpu/t4").section("gemm_dense")
    assert not section.predictions
    assert Counter(section.skipped) == {"no linear kernel for bf16; gpu/t4 has fp16, int8, fp32": 1}
    assert section.to_dict()["mape"] is None


def test_a_row_too_large_to_count_is_skipped_and_spoils_no_other():
    fine = {"section": "gemm_dense", "m": 8, "n": 8, "k": 8, "dtype": "bf16", "s": 1e-5}
    found = validate([fine, {**fine, "m": 2**49, "n": 6144, "k": 6144}, fine], H100).section("gemm_dense")
    assert len(found.predictions) == 2
    assert [reason.split(": ")[1] for reason in found.skipped] == ["more than 2**63"]


GEMM = {"section": "gemm_dense", "op": "linear", "m": 1, "n": 2, "k": 3, "dtype": "bf16", "s": 1e-5}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"\.jsonl:2: is not JSON"),
        ("[1]", r"\.jsonl:2: expected an object; got list"),
        ("{}", r"\.jsonl:2: section: None is not the name of a section"),
        (json.dumps({**GEMM, "m": 0}), r"\.jsonl:2: m: 0 is not a whole number"),
        (json.dumps({**GEMM, "m": "8"}), r"\.jsonl:2: m: '8' is not a whole number"),
        (json.dumps({**GEMM, "s": -1.0}), r"\.jsonl:2: s: -1.0 is not a positive number"),
        (json.dumps({**GEMM, "s": float("nan")}), r"\.jsonl:2: s: nan is not a positive number"),
        (json.dumps({**GEMM, "dtype": "bf17"}), r"\.jsonl:2: dtype: 'bf17' is not a dtype; did you mean bf16"),
        (json.dumps({k: v for k, v in GEMM.items() if k != "k"}), r"\.jsonl:2: k: is missing from a row of section"),
        ("1" * 5000, r"\.jsonl:2: is not JSON"),
        ("[" * 100_000, r"\.jsonl:2: is not JSON"),
    ],
)
def test_malformed_line_names_file_and_line(tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(GEMM) + "\n" + line + "\n")
    with pytest.raises(SpecError, match=message):
        validate_file(path, H100)


def test_missing_file_and_wrong_part_are_typed_errors(tmp_path):
    with pytest.raises(SpecError, match="can't be read"):
        validate_file(tmp_path / "none.jsonl", H100)
    with pytest.raises(SpecError, match="measurements are of GPUs"):
        validate([], "link/pcie5-x16")


ROWS = [json.loads(line) for line in (reference_folder() / "h100_sxm5_80gb.jsonl").read_text().splitlines()]
ONE_A_SECTION = list({(row["section"], row.get("op"), row.get("mode")): row for row in ROWS}.values())
JSON_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=5),
    st.sampled_from(["bf16", "fp64", "resident", "sdpa_decode", "d2d_copy", 1, 2, 3, 2**49]), st.lists(st.integers()),
)  # fmt: skip


@pytest.mark.parametrize("row", ONE_A_SECTION, ids=lambda row: row["section"])
@pytest.mark.parametrize("size", [2**47, 2**49])
def test_a_row_of_huge_numbers_is_named(row, size):
    numbers = [key for key, value in row.items() if type(value) is int]
    for kept in ({"layers", "experts", "n_act", "chunk_bytes", "mats", "attn_mats"}, *({key} for key in numbers)):
        ends_in_a_report_or_names_the_row(row | {key: size for key in numbers if key not in kept} | {"experts": 1})


@settings(max_examples=300)
@given(st.sampled_from(ONE_A_SECTION), st.data())
def test_mutated_rows_end_in_a_report_or_a_typed_error(row, data):
    key = data.draw(st.sampled_from([*row, "new"]))
    ends_in_a_report_or_names_the_row({**row, key: data.draw(JSON_VALUES)})


def ends_in_a_report_or_names_the_row(row):
    try:
        found = validate([row], H100)
    except SimsparseError as error:
        assert "rows:1" in str(error)
    else:
        json.dumps(found.to_dict())
        found.table()
