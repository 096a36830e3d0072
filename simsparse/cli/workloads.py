"""Commands on workloads: trace, models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsparse.cli.console import Json, emit_json, note, si, table
from simsparse.errors import SpecError

if TYPE_CHECKING:
    from simsparse.core import Op, Trace


def trace(
    show: Annotated[Path | None, typer.Option("--show", help="Print what a trace file holds.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Extract from this model; see simsparse models.")] = None,
    phase: Annotated[str, typer.Option("--phase", help="prefill, decode or forward.")] = "decode",
    batch: Annotated[int, typer.Option("--batch")] = 1,
    seq: Annotated[int, typer.Option("--seq", help="Tokens a sequence in prefill.")] = 2048,
    kv_len: Annotated[int, typer.Option("--kv-len", help="Cached tokens in decode.")] = 2048,
    routing: Annotated[str | None, typer.Option("--routing", help="How tokens are routed to experts.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Trace file to write; .gz compresses.")] = None,
    json: Json = False,
) -> None:
    """Extract a trace from a torch model, or show one."""
    if (show is None) == (model is None):
        raise SpecError("give either --show TRACE or --model NAME --out TRACE")
    found = _read(show) if show is not None else _extract(str(model), phase, batch, seq, kv_len, routing, seed, out)
    if json:
        emit_json(summary(found))
    else:
        _show(found)


def _read(path: Path) -> Trace:
    from simsparse.trace.file import load_trace

    return load_trace(path)


def _extract(
    model: str, phase: Any, batch: int, seq: int, kv_len: int, routing: str | None, seed: int, out: Path | None
) -> Trace:
    from simsparse.errors import nearest
    from simsparse.trace.file import save_trace
    from simsparse.trace.models import extract

    phases = ("prefill", "decode", "forward")
    if phase not in phases:
        raise SpecError(f"{phase!r} is not a phase; {nearest(phase, phases)}", key="--phase")
    if out is None:
        raise SpecError("--model needs --out, the trace file to write")
    found = extract(model, phase, batch, seq, kv_len, routing, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_trace(found, out)
    note(f"written to {out}")
    return found


def models(json: Json = False) -> None:
    """The models that trace can extract, from their published shapes."""
    from simsparse.trace.models import MODELS

    if json:
        data = {name: {"family": spec.family, "parameters": spec.published, "source": spec.source, "dtype": spec.dtype,
                       "shape": dict(spec.shape)} for name, spec in MODELS.items()}  # fmt: skip
        emit_json(data)
        return
    rows = [(name, spec.family, si(spec.published, ""), spec.dtype, spec.source) for name, spec in MODELS.items()]
    table("Models", ("name", "family", "parameters", "dtype", "source"), rows, right=("parameters",))


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
    fields = ("flops", "min_bytes", "weight_bytes", "dense_macs", "useful_macs")
    flops, moved, weights, macs, useful = (sum(getattr(op, field) for op in ops) for field in fields)
    return {
        "kind": name, "ops": len(ops), "flops": flops, "bytes": moved, "weight_bytes": weights,
        "flops_per_byte": flops / moved if moved else None, "density": useful / macs if macs else None,
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


COMMANDS = (trace, models)
