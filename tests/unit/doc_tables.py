# SPDX-License-Identifier: Apache-2.0
"""Parts of the documentation that are computed: the command line's options, the errors of validation, counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from simsparse.cli.app import command
from simsparse.config.accuracy import accuracies
from simsparse.config.paths import part_names
from simsparse.config.study import study_names
from simsparse.core import KINDS
from simsparse.dataflow import DATAFLOWS
from simsparse.dataflow.sparse_engine import ENGINES
from simsparse.models.by_name import MODELS
from simsparse.models.trained import TRAINED
from simsparse.paths import data_root
from simsparse.sparsity.formats import FORMATS
from simsparse.validate import (
    CASES,
    TOLERANCES,
    Measurement,
    ValidationReport,
    read_measurements,
    reference_folder,
    validate,
    validate_references,
)

REFERENCE, HARDWARE = "h100_sxm5_80gb.jsonl", "gpu/h100-sxm5-80gb"

MEASURED: Mapping[str, str] = {
    "gemm_dense": "bf16 GEMM, weights from HBM",
    "gemm_sparse24": "the same with 2:4 weights, as PyTorch runs them",
    "gemm_fp32": "fp32 GEMM on CUDA cores",
    "gemm_tf32": "fp32 GEMM on tensor cores, as tf32",
    "lowp": "fp8 and int8 GEMM",
    "lowp_sparse24": "fp8 and int8 GEMM, 2:4 weights",
    "attn_decode": "attention, one query a sequence",
    "attn_prefill": "causal attention, prompt",
    "bmm": "batched bf16 GEMM",
    "nccl": "collectives of two GPUs over NVLink",
    "conv2d": "convolutions, channels last",
    "elementwise": "elementwise kernels",
    "norm": "layer norm, RMS norm",
    "softmax": "softmax",
    "reduce": "sums, maxima, top-k",
    "gather": "rows by index",
    "spmm": "CSR (cuSPARSE) and BSR (Triton) products",
    "zerocopy": "random rows of host memory",
    "expert_cache": "decode steps with caches of experts, prefetch by guesses",
    "cpu": "kernels of the host on 1 to 16 threads, an expert there or copied",
    "contention": "work of the host while copies cross the link",
    "e2e": "whole models, per layer",
    "ep_moe": "expert-parallel layers on two GPUs",
    "serve_steps": "single steps of a serving loop",
    "serve_ttft": "requests over time: mean seconds to the first token, loads up to 0.6",
    "serve_tpot": "the same: mean seconds per token after it",
    "serve_p99": "the same: p99 to the first token, all loads",
    "serve_loaded_ttft": "mean seconds to the first token at a load of 0.85",
    "serve_loaded_tpot": "mean seconds per token after it at a load of 0.85",
    "mem": "device copies and reductions, 4 KiB to 4 GiB",
    "launch": "an empty kernel",
    "pcie": "host copies from 1 MiB",
    "pcie_small": "host copies below 1 MiB",
    "power": "a large GEMM after rests and between them",
    "energy": "joules of GEMMs, copies, attention",
    "offload": "MoE layers, experts in host memory, 4 policies",
    "weight_stream": "layers with all weights in host memory",
}


def kinds() -> str:
    """A row per op kind: what runs it, its dims, and the optional ones with their defaults."""
    rows = ["| kind | runs on | dims |", "| --- | --- | --- |"]
    for kind in map(KINDS.get, KINDS):
        dims = [f"{dim} (0 or 1)" if dim in kind.flags else dim for dim in kind.dims]
        dims += [f"{dim} = {value}" for dim, value in kind.optional_dims.items()]
        rows.append(f"| {kind.name} | {kind.unit} | {', '.join(dims)} |")
    return "\n".join(["", *rows, ""]) + "\n"


def commands() -> str:
    """A section a command: what it does, arguments and options."""
    return "\n" + "\n".join(_sections("simsparse", command())) + "\n"


def _sections(path: str, group: Any) -> Iterator[str]:
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from _sections(f"{path} {name}", found)
        else:
            yield _section(f"{path} {name}", found)


def _section(path: str, found: Any) -> str:
    arguments = [param for param in found.params if param.param_type_name == "argument"]
    rows = [_row(param) for param in [*arguments, *(param for param in found.params if param not in arguments)]]
    table = ["| | | default |", "| --- | --- | --- |", *rows]
    return "\n".join([f"## {path}", "", " ".join(found.help.split()), "", *table, ""])


def _row(param: Any) -> str:
    default = "required" if param.required else _default(param.default)
    return f"| {_names(param)} | {(param.help or '').replace('|', ' or ')} | {default} |"


def _names(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{param.metavar or param.name.upper()}`".replace("|", " or ")
    return ", ".join(f"`{option}`" for option in param.opts)


def _default(value: Any) -> str:
    return "" if value is None or isinstance(value, bool) or value in ("", ()) else f"`{value}`"


@cache
def references() -> list[ValidationReport]:
    """What is compared with the reference files; tests in the group "references" share it."""
    return validate_references()


def validation() -> str:
    """Mean error of each section and, in brackets, rows compared, of the reference files alone."""
    reports = [report for report in references() if any(found.predictions for found in report.sections)]
    heads = ("section", "measured", *(Path(report.file).stem for report in reports), "allowed")
    rows = [_validation_row(name, reports) for name in TOLERANCES]
    return "\n".join(["", _line(heads), _line(("---",) * len(heads)), *filter(None, rows)]) + "\n\n"


def _validation_row(name: str, reports: list[ValidationReport]) -> str:
    cells = [_cell(name, report) for report in reports]
    return _line((f"`{name}`", MEASURED[name], *cells, f"{TOLERANCES[name]:.0%}")) if any(cells) else ""


def _cell(name: str, report: ValidationReport) -> str:
    found = next((section for section in report.sections if section.name == name and section.predictions), None)
    return "" if found is None else f"{found.mape:.1%} ({len(found.predictions)})"


def accuracy() -> str:
    """Errors by part and class of kernel, as results carry them."""
    lines = [_line(("part", "class", "rows", "mean error", "worst", "of rows")), _line(("---",) * 6)]
    for part, classes in accuracies().items():
        for name, entry in classes.items():
            rows = f"{entry.data}{', fitted in part' if entry.in_sample else ''}"
            lines.append(_line((part, f"`{name}`", str(entry.rows), f"{entry.error:.1%}", f"{entry.worst:+.1%}", rows)))
    return "\n".join(["", *lines, "", ""])


def overlap() -> str:
    """How many shapes of the reference file are in the fitted data too, and the error on those that are not."""
    rows = read_measurements(reference_folder() / REFERENCE)
    fitted = [row for path in sorted(reference_folder().glob("probe_*.jsonl")) for row in read_measurements(path)]
    seen = {_shape(row) for row in fitted}
    gemms, attentions = ({_shape(row) for row in rows if row.section == name} for name in ("gemm_dense", "attn"))
    new = [row.fields for row in rows if row.section.startswith("gemm_") and _shape(row) not in seen]
    report = validate(new, HARDWARE)
    dense, sparse = (f"{report.section(name).mape:.1%}" for name in ("gemm_dense", "gemm_sparse24"))
    known = f"{len(gemms & seen)} of the {len(gemms)} GEMM shapes and {len(attentions & seen)} of the {len(attentions)}"
    return (
        f"\nOf the H100's file, {known} attentions were fitted too, in another run.\n"
        f"Over the {len(gemms - seen)} GEMMs that were not, the error is {dense} dense and {sparse} 2:4.\n\n"
    )


def _shape(row: Measurement) -> tuple[Any, ...]:
    return (row.section, *(row.fields.get(key) for key in ("op", "m", "n", "k", "B", "H", "KV", "D", "L")))


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _traces() -> int:
    return len(list((data_root() / "traces").glob("*.trace*")))


def _parts(systems: bool) -> int:
    return sum(name.startswith("systems/") == systems for name in part_names())


COUNTS: Mapping[str, Callable[[], int]] = {
    "cases": lambda: len(list(CASES)),
    "dataflows": lambda: len(list(DATAFLOWS)),
    "engines": lambda: len(list(ENGINES)),
    "formats": lambda: len(list(FORMATS)),
    "kinds": lambda: len(list(KINDS)),
    "models": lambda: len({*MODELS, *TRAINED}),
    "parts": lambda: _parts(systems=False),
    "studies": lambda: len(study_names()),
    "systems": lambda: _parts(systems=True),
    "traces": _traces,
}
"""How many of each the project ships."""

GENERATED: Mapping[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "commands": commands,
    "kinds": kinds,
    "overlap": overlap,
    "validation": validation,
}
