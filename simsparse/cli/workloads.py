"""Commands on workloads: trace, models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsparse.cli.console import Json, emit_json, note, si, table
from simsparse.errors import SpecError

if TYPE_CHECKING:
    from simsparse.core import Op, Trace


def trace(
    show: Annotated[Path | None, typer.Option("--show", help="Print what a trace file holds.")] = None,
    json: Json = False,
) -> None:
    """Extract a trace from a torch model, or show one."""
    from simsparse.trace.file import load_trace

    if show is None:
        raise SpecError("give --show TRACE")
    found = load_trace(show)
    if json:
        emit_json(summary(found))
    else:
        _show(found)


def summary(found: Trace) -> dict[str, Any]:
    """A trace's totals by kind and label of operator."""
    return {
        "name": found.name, "ops": len(found.ops), "meta": dict(found.meta), "flops": found.flops,
        "weight_bytes": found.weight_bytes, "kinds": [_group(name, ops) for name, ops in _groups(found).items()],
    }  # fmt: skip


def _groups(found: Trace) -> dict[str, list[Op]]:
    groups: dict[str, list[Op]] = {}
    for op in found.ops:
        groups.setdefault(f"{op.kind} {op.label}".strip() if op.label != op.kind else str(op.kind), []).append(op)
    return groups


def _group(name: str, ops: list[Op]) -> dict[str, Any]:
    total: Callable[[str], int] = lambda field: sum(getattr(op, field) for op in ops)  # noqa: E731
    flops, moved = total("flops"), total("min_bytes")
    macs = total("dense_macs")
    return {
        "kind": name, "ops": len(ops), "flops": flops, "bytes": moved, "weight_bytes": total("weight_bytes"),
        "flops_per_byte": flops / moved if moved else None,
        "density": total("useful_macs") / macs if macs else None,
    }  # fmt: skip


def _show(found: Trace) -> None:
    data = summary(found)
    rows = [
        (row["kind"], row["ops"], si(row["flops"], "FLOP"), si(row["bytes"], "B"), si(row["weight_bytes"], "B"),
         "" if row["flops_per_byte"] is None else f"{row['flops_per_byte']:.3g}",
         "" if row["density"] is None else f"{row['density']:.3g}")
        for row in data["kinds"]
    ]  # fmt: skip
    columns = ("kind", "ops", "work", "least bytes", "weights", "FLOP/B", "density")
    table(f"{data['name']}: {data['ops']} ops", columns, rows, right=columns[1:])
    for key, value in data["meta"].items():
        note(f"{key}: {value}")


COMMANDS = (trace,)
