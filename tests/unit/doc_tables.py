"""Parts of the documentation that are computed: the command line's options, the errors of validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from simsparse.cli.app import command
from simsparse.validate import TOLERANCES, ValidationReport, validate_references

MEASURED: Mapping[str, str] = {
    "gemm_dense": "bf16 GEMM, weights from HBM",
    "gemm_sparse24": "the same with 2:4 weights, as PyTorch runs them",
    "gemm_fp32": "fp32 GEMM on CUDA cores",
    "lowp": "fp8 and int8 GEMM",
    "attn_decode": "attention, one query a sequence",
    "attn_prefill": "causal attention, prompt",
    "mem": "device copies and reductions, 4 KiB to 4 GiB",
    "launch": "an empty kernel",
    "pcie": "host copies from 1 MiB",
    "pcie_small": "host copies below 1 MiB",
    "energy": "joules of GEMMs, copies, attention",
    "offload": "MoE layers, experts in host memory, 4 policies",
    "weight_stream": "layers with all weights in host memory",
}


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


def validation() -> str:
    """Mean error of each section and, in brackets, rows compared, of the reference files alone."""
    reports = [report for report in validate_references() if any(found.predictions for found in report.sections)]
    heads = ("section", "measured", *(report.hardware for report in reports), "allowed")
    rows = [_validation_row(name, reports) for name in TOLERANCES]
    return "\n".join(["", _line(heads), _line(("---",) * len(heads)), *filter(None, rows)]) + "\n\n"


def _validation_row(name: str, reports: list[ValidationReport]) -> str:
    cells = [_cell(name, report) for report in reports]
    return _line((f"`{name}`", MEASURED[name], *cells, f"{TOLERANCES[name]:.0%}")) if any(cells) else ""


def _cell(name: str, report: ValidationReport) -> str:
    found = next((section for section in report.sections if section.name == name and section.predictions), None)
    return "" if found is None else f"{found.mape:.1%} ({len(found.predictions)})"


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


GENERATED: Mapping[str, Callable[[], str]] = {"commands": commands, "validation": validation}
