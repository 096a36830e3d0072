# SPDX-License-Identifier: Apache-2.0
"""What a comparison says of each class of kernels: mean error, worst rows, by size, and the span of shapes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from simsparse.config.accuracy import ClassAccuracy
from simsparse.devices.gpu_evidence import gemm_class
from simsparse.validate.comparison import Prediction, SectionReport, ValidationReport, shape_text

GEMMS = ("gemm_dense", "gemm_sparse24", "lowp", "lowp_sparse24", "quant")
"""Sections whose rows fall into two classes by the alignment of n and k."""
_PRODUCT, _ATTENTION = ("m", "n", "k"), {"B": "batch", "D": "head_dim", "L": "kv_len"}
DIMS: Mapping[str, Mapping[str, str]] = {
    **{section: {name: name for name in _PRODUCT}
       for section in (*GEMMS, "gemm_fp32", "gemm_tf32", "gemm_table", "weight_only_table")},
    "bmm": {name: name for name in ("batch", *_PRODUCT)}, "attn_decode": _ATTENTION, "attn_prefill": _ATTENTION,
    "moe_table": {"num_tokens": "tokens", "hidden_size": "d_model", "topk": "top_k", "num_experts": "experts"},
    "conv2d": {name: name for name in ("batch", "c_in", "c_out", "kh", "kw")},
}  # fmt: skip
"""Fields of rows that are dims of ops, by section."""
SIZES: Sequence[tuple[str, float]] = (("below 10 us", 1e-5), ("10 to 100 us", 1e-4), ("0.1 to 1 ms", 1e-3))
LONGEST = "above 1 ms"
WORST_ROWS = 10


def by_class(section: SectionReport) -> dict[str, list[Prediction]]:
    """The predictions of a section by the class of kernels that each row is of."""
    found: dict[str, list[Prediction]] = {}
    for each in section.predictions:
        name = section.name
        if name in GEMMS:
            name = gemm_class(name, each.row.whole("n"), each.row.whole("k"))
        found.setdefault(name, []).append(each)
    return found


def class_accuracies(report: ValidationReport, in_sample: bool = False) -> dict[str, ClassAccuracy]:
    """Mean error, worst error and spans of every class of the report that has a compared row."""
    return {
        name: ClassAccuracy(
            rows=len(own), error=round(statistics.fmean(abs(each.error) for each in own), 4),
            worst=round(_furthest(own), 4), data=Path(report.file).stem,
            in_sample=in_sample, spans=_spans(section.name, own),
        )
        for section in report.sections for name, own in by_class(section).items()
    }  # fmt: skip


def _furthest(own: Sequence[Prediction]) -> float:
    return max(own, key=lambda each: abs(each.error)).error


def _spans(section: str, own: Sequence[Prediction]) -> dict[str, tuple[int, int]]:
    fields = DIMS.get(section, {})
    values = {dim: [each.row.whole(field) for each in own if field in each.row.fields] for field, dim in fields.items()}
    return {dim: (min(listed), max(listed)) for dim, listed in values.items() if listed}


def by_size(own: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    """Predictions of times by the size of the measured time; those of other units are of one size."""
    found: dict[str, list[Prediction]] = {}
    for each in own:
        name = "all" if each.unit != "s" else next((text for text, most in SIZES if each.measured < most), LONGEST)
        found.setdefault(name, []).append(each)
    return {name: found[name] for name in ("all", *(text for text, _ in SIZES), LONGEST) if name in found}


def worst_rows(own: Sequence[Prediction], most: int = WORST_ROWS) -> list[Prediction]:
    """The predictions that are furthest off, furthest first."""
    return sorted(own, key=lambda each: -abs(each.error))[:most]


def accuracy_page(reports: Sequence[ValidationReport]) -> str:
    """A page in Markdown: per card a table of classes by size, then the worst rows of each class."""
    return "\n".join(["# Errors by class of kernel and size", "", *(line for r in reports for line in _card(r))])


def _card(report: ValidationReport) -> list[str]:
    classes = {name: own for section in report.sections for name, own in by_class(section).items()}
    columns = ("class", "size", "rows", "mean error", "worst", "repeats")
    lines = [f"## {report.hardware}, {Path(report.file).name}", "", f"| {' | '.join(columns)} |",
             "|" + " --- |" * len(columns)]  # fmt: skip
    for name, own in classes.items():
        sizes = by_size(own)
        lines += [_row(name, size, listed) for size, listed in ({"all": own, **sizes}).items()]
    lines += ["", f"### The {WORST_ROWS} rows of each class that are furthest off", ""]
    for name, own in classes.items():
        lines += [f"**{name}**", "", "| error | measured | predicted | row |", "| --- | --- | --- | --- |"]
        lines += [_worst(each) for each in worst_rows(own)]
        lines.append("")
    return lines


def _row(name: str, size: str, own: Sequence[Prediction]) -> str:
    mean = statistics.fmean(abs(each.error) for each in own)
    worst = _furthest(own)
    noise = repeat_error(own)
    repeats = "" if noise is None else f"{noise:.1%}"
    return f"| `{name}` | {size} | {len(own)} | {mean:.1%} | {worst:+.1%} | {repeats} |"


def repeat_error(own: Sequence[Prediction]) -> float | None:
    """Mean absolute difference of a row's last run from its first, over rows that were run more than once."""
    runs = [each.row.fields.get("s_runs") for each in own]
    pairs = [(listed[0], listed[-1]) for listed in runs if isinstance(listed, list) and len(listed) > 1
             and all(type(run) in (int, float) and 0 < run < 1e300 for run in listed)]  # fmt: skip
    return statistics.fmean(abs(last / first - 1) for first, last in pairs) if pairs else None


def _worst(each: Prediction) -> str:
    times = f"{each.measured:.4g} {each.unit} | {each.predicted:.4g} {each.unit}"
    return f"| {each.error:+.1%} | {times} | {shape_text(each.row)} |"
