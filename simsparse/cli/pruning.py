# SPDX-License-Identifier: Apache-2.0
"""The command that compares pruning patterns on trained models: pruning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsparse.cli.console import Json, emit_json, note, table, whole_folder
from simsparse.errors import SpecError, nearest

if TYPE_CHECKING:
    from simsparse.core import Result, Trace
    from simsparse.report.pruning import PruningPoint

DENSE = "dense"
MODELS = ("minilm", "crepe-full", "efficientnet-lite0")
PATTERNS = ("2:4", "4:8", "1:4", "unstructured:0.5", "unstructured:0.8")
METHODS = ("magnitude", "wanda")
SYSTEMS = ("systems/sat-vcu1525", "systems/h100-pcie5")


def pruning(
    out: Annotated[Path, typer.Option("--out", help="Folder of the report; nothing is written elsewhere.")],
    model: Annotated[
        list[str] | None, typer.Option("--model", help=f"A trained model; may repeat: {', '.join(MODELS)}.")
    ] = None,
    pattern: Annotated[list[str] | None, typer.Option("--pattern", help=f"May repeat: {', '.join(PATTERNS)}.")] = None,
    method: Annotated[list[str] | None, typer.Option("--method", help=f"May repeat: {', '.join(METHODS)}.")] = None,
    system: Annotated[list[str] | None, typer.Option("--system", help=f"May repeat: {', '.join(SYSTEMS)}.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Inputs of the pass that is timed.")] = 16,
    json: Json = False,
) -> None:
    """Compare pruning patterns on trained models: bytes, speed-up, and the accuracy that they cost."""
    from simsparse.report.pruning import findings, write_pruning_report

    models, methods = _known(model or MODELS), tuple(method or METHODS)
    _check(models, methods)
    points = list(_points(models, tuple(pattern or PATTERNS), methods, tuple(system or SYSTEMS), batch))
    with whole_folder(out) as folder:
        write_pruning_report(points, folder)
    if json:
        emit_json({"report": str(out / "index.html"), "points": len(points), "findings": findings(points)})
        return
    _print(points)
    note(f"written to {out / 'index.html'}")


def _known(models: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(models))


def _check(models: Sequence[str], methods: Sequence[str]) -> None:
    from simsparse.models.trained import TRAINED

    for given, allowed, key in ((models, TRAINED, "--model"), (methods, METHODS, "--method")):
        for name in given:
            if name not in allowed:
                raise SpecError(f"{name!r} is not known; {nearest(name, allowed)}", key=key)


def _points(
    models: Sequence[str], patterns: Sequence[str], methods: Sequence[str], systems: Sequence[str], batch: int
) -> Iterator[PruningPoint]:
    from simsparse.core import Sparsity
    from simsparse.models.trained import stored_as, trace_trained

    variants = [(str(Sparsity.parse(pattern)), method) for pattern in patterns for method in methods]
    sparse = [variant for variant in variants if variant[0] != DENSE]
    for model in models:
        dense: dict[str, Any] = {}
        for pattern, method in ((DENSE, METHODS[0]), *sparse):
            trace = stored_as(trace_trained(model, pattern, method, batch), "fp16")
            note(f"{model} {pattern} {method}: {trace.meta['accuracy']['judged']} {_accuracy(trace):.3f}")
            for system in systems:
                result = _simulated(trace, system)
                yield _point(trace, result, *dense.setdefault(system, (trace, result)))


def _simulated(trace: Trace, system: str) -> Result:
    from simsparse._simulate import simulate
    from simsparse.config.hardware import load_system

    return simulate(trace, load_system(system))


def _point(trace: Trace, result: Result, dense: Trace, dense_result: Result) -> PruningPoint:
    from simsparse.report.pruning import PruningPoint

    facts, pruned = trace.meta["accuracy"], trace.meta["pruning"]
    return PruningPoint(
        model=trace.meta["model"], pattern=pruned["pattern"], method=pruned["method"], batch=trace.meta["batch"],
        accuracy=_accuracy(trace), dense_accuracy=_accuracy(dense), judged=facts["judged"], on=facts["on"],
        weight_bytes=trace.weight_bytes, dense_weight_bytes=dense.weight_bytes,
        ideal=sum(op.dense_macs for op in trace.ops) / max(1, sum(op.useful_macs for op in trace.ops)),
        system=result.system, latency_s=result.latency_s, dense_latency_s=dense_result.latency_s,
        energy_j=result.energy_j, dense_energy_j=dense_result.energy_j, unvalidated="; ".join(result.unvalidated),
    )  # fmt: skip


def _accuracy(trace: Trace) -> float:
    facts = trace.meta["accuracy"]
    return float(facts[facts["judged"]])


def _print(points: Sequence[PruningPoint]) -> None:
    columns = ("model", "pattern", "method", "accuracy", "proxy", "weights", "ideal", "system", "speed-up")
    rows = [
        (point.model, point.pattern, point.method, f"{point.accuracy:.3f}", point.judged,
         f"{100 * point.weight_bytes / point.dense_weight_bytes:.0f} %", f"{point.ideal:.2f}x", point.system,
         f"{point.speedup:.2f}x")
        for point in points
    ]  # fmt: skip
    table("Pruning patterns", columns, rows, right=("accuracy", "weights", "ideal", "speed-up"))
