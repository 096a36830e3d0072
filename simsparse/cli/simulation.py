# SPDX-License-Identifier: Apache-2.0
"""Commands that compute: estimate, cycles, run, sweep, report."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsparse.cli.console import Json, Out, emit_json, line, note, part_words, si, table, whole_folder
from simsparse.cli.progress import ProgressBar
from simsparse.cli.sweep_table import SHOWN, counted
from simsparse.cli.sweep_table import show as show_sweep
from simsparse.errors import SpecError
from simsparse.units import bytes_text

if TYPE_CHECKING:
    import pandas as pd

    from simsparse.core import Result, Trace
    from simsparse.report.compare import Change

LevelOption = Annotated[
    int, typer.Option("--level", min=0, max=2, help="Fidelity: 0 closed forms, 1 discrete events, 2 cycle cores.")
]


def estimate(
    op: Annotated[
        list[str],
        typer.Argument(
            metavar="OP KEY=VALUE...", help="linear m=512 n=4096 k=4096; moe_ffn takes top_k=2 routing=zipf:1.0."
        ),
    ],
    hw: Annotated[str, typer.Option("--hw", autocompletion=part_words, help="A part, such as gpu/h100-sxm5-80gb.")],
    level: LevelOption = 0,
    json: Json = False,
) -> None:
    """Latency and energy of one operator on one part."""
    from simsparse._estimate import estimate as estimate_op
    from simsparse.cli.operator import operator
    from simsparse.config.hardware import load_hardware

    part = load_hardware(hw)
    found = estimate_op(operator(op), part, level=level)
    data = {
        "latency_s": found.latency_s, "energy_j": found.energy_j, "bound": found.bound,
        "breakdown": dict(found.breakdown), "validated": found.validated, "error": found.error,
        "burst_latency_s": found.burst_latency_s,
        "notes": list(found.notes),
    }  # fmt: skip
    if json:
        emit_json(data)
        return
    rows = [("latency", si(found.latency_s, "s")), ("energy", si(found.energy_j, "J")), ("bound", found.bound)]
    rows += [(f"  {name}", si(seconds, "s")) for name, seconds in found.breakdown.items()]
    if found.burst_latency_s < found.latency_s:
        rows.insert(1, ("  of a card that has rested", si(found.burst_latency_s, "s")))
    error = f", mean error {found.error:.1%}" if found.error is not None else ""
    rows.append(("checked against", f"{found.validated}{error}" if found.validated else "nothing: unvalidated"))
    table(" ".join(op), ("", part.name), rows, right=(part.name,))
    for each in found.notes:
        note(each)


def cycles(
    trace: Annotated[Path, typer.Argument(help="A trace file; its masks are used where they lie beside it.")],
    hw: Annotated[
        str, typer.Option("--hw", autocompletion=part_words, help="An accelerator, such as accel/sat-vcu1525.")
    ],
    dtype: Annotated[str | None, typer.Option("--dtype", help="Run all products in this element type.")] = None,
    json: Json = False,
) -> None:
    """Cycles of every product with weights of a trace on an accelerator's cycle core, each alone (level 2)."""
    from simsparse._estimate import trace_cycles
    from simsparse.trace.file import load_trace
    from simsparse.trace.masks import load_masks

    loaded = load_trace(trace)
    masks = load_masks(loaded, trace.parent) if "masks" in loaded.meta else None
    found = trace_cycles(loaded if dtype is None else _cast(loaded, dtype), hw, masks)
    walked = {name: each for name, each in found.items() if not isinstance(each, str)}
    if json:
        emit_json({name: each if isinstance(each, str) else
                   {"cycles": each.cycles, "utilization": each.utilization, "causes": dict(each.causes)}
                   for name, each in found.items()})  # fmt: skip
        return
    rows = [(name, f"{each.cycles:,}", f"{each.utilization:.1%}", _causes(each.causes))
            for name, each in walked.items()]  # fmt: skip
    rows.append(("all", f"{sum(each.cycles for each in walked.values()):,}", "", ""))
    masked = "real masks" if masks else "patterns as the trace says"
    table(f"{loaded.name} on {hw}, {masked}", ("product", "cycles", "used", "by cause"), rows, right=("cycles", "used"))
    for reason, count in Counter(each for each in found.values() if isinstance(each, str)).items():
        note(f"{count} of {len(found)} products not walked: {reason}")


def _cast(loaded: Trace, dtype: str) -> Trace:
    from dataclasses import replace

    from simsparse.core import DType
    from simsparse.errors import nearest

    if dtype not in list(DType):
        raise SpecError(f"{dtype!r} is not a dtype; {nearest(dtype, DType)}", key="--dtype")
    return replace(loaded, ops=tuple(op.with_(dtype=DType(dtype), weight_dtype=None) for op in loaded.ops))


def _causes(causes: Any) -> str:
    total = sum(causes.values())
    return ", ".join(f"{name} {count / total:.0%}" for name, count in causes.items() if count) if total else ""


def run(
    experiment: Annotated[str, typer.Argument(help="An experiment's YAML file.")],
    out: Out = None,
    level: Annotated[
        int | None, typer.Option("--level", min=0, max=2, help="Fidelity, in place of the experiment's.")
    ] = None,
    stack: Annotated[
        str | None,
        typer.Option("--stack", help="What launches kernels: eager, compiled or fused, +graph replayed."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A key, in place of the experiment's."),
    ] = None,
    json: Json = False,
) -> None:
    """Simulate one experiment; with --out also write its tables, timeline and resolved numbers.

    An experiment with axes is a choice: all ways are run and ranked, the best is shown, and what to buy next.
    """
    from simsparse.cli.choice import run_choice
    from simsparse.config.experiment import load_experiment
    from simsparse.config.run_spec import load_document, with_values
    from simsparse.sweep.check import check_experiment
    from simsparse.sweep.execute import simulate_point

    given = pairs(changes or []) | ({} if level is None else {"level": str(level)})
    given |= {} if stack is None else {"stack": stack}
    read = with_values(load_document(experiment), given)
    choice = "axes" in read.data
    with whole_folder(out) if out is not None else nullcontext() as folder:
        if choice:
            result = run_choice(read, json=json)
        else:
            spec, document = load_experiment(experiment, given)
            result = simulate_point(check_experiment(spec, document))
            result = replace(result, meta={**result.meta, "inputs": spec.values})
        if folder is not None:
            _write_result(result, folder)
    if out is not None:
        note(f"written to {out}")
    if not json:
        _show_result(result)
    elif not choice:
        emit_json(result.summary())


def pairs(texts: list[str]) -> dict[str, str]:
    """Values by key from ``KEY=VALUE``. Raises SpecError."""
    for text in texts:
        if "=" not in text:
            raise SpecError(f"{text!r} is not KEY=VALUE", key="--set")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def _write_result(result: Result, folder: Path) -> None:
    from simsparse.store import to_csv

    result.save(folder / "result.json")
    to_csv(result.table(), folder / "ops.csv")
    result.timeline.to_perfetto(folder / "timeline.perfetto.json")


def _show_result(result: Result) -> None:
    mean_w = result.energy_j / result.latency_s if result.latency_s else None
    rows: list[tuple[str, str]] = [
        ("latency", si(result.latency_s, "s")), ("energy", si(result.energy_j, "J")), ("bound", result.bound),
        ("area", f"{result.area_mm2:g} mm2" if result.area_mm2 else "unknown"), ("mean power", si(mean_w, "W")),
        ("stated power", f"{result.power_w:g} W" if result.power_w else "unknown"), ("policy", result.policy),
        ("stack", result.stack), ("level", str(result.level)),
    ]  # fmt: skip
    table(f"{result.trace} on {result.system}", ("", "value"), rows, right=("value",))
    bounds = [(name, si(seconds, "s")) for name, seconds in result.seconds_by_bound.items()]
    table("Seconds of operators by what bounds them", ("bound", "time"), bounds, right=("time",))
    energy = sorted(result.energy_by_component.items(), key=lambda item: -item[1])
    table("Energy", ("component", "energy"), [(name, si(joules, "J")) for name, joules in energy], right=("energy",))
    kept = [(device, purpose, bytes_text(size)) for device, own in result.memory.items()
            for purpose, size in own.items()]  # fmt: skip
    table("Memory at its peak", ("device", "holds", "bytes"), kept, right=("bytes",))
    used = [(device, str(use.hits), str(use.misses), str(use.copied_ahead), bytes_text(use.copied_bytes))
            for device, use in result.cache.items()]  # fmt: skip
    if used:
        columns = ("hits", "misses", "copied ahead", "copied")
        table("Weights that rest in host memory", ("device", *columns), used, right=columns)
    for device, speed in result.clock.items():
        note(f"{device}: its power limit allows {speed:.2f} of the clock under a load without pauses")
    if result.assumed:
        note(f"rests on {len(result.assumed)} assumed values (--json lists them)")
    for each in result.notes:
        note(each)
    error, share = result.error_estimate
    if error is not None:
        note(f"kernel models are off by {error:.0%} on average where measured, which is {share:.0%} of operator time")
    if result.unvalidated:
        note("unvalidated: " + ", ".join(result.unvalidated))


def sweep(
    path: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's YAML file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the store and tables; rerun it to go on.")],
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=1024, help="Local processes.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a Dask scheduler, such as tcp://head:8786.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when a point failed.")] = False,
    json: Json = False,
) -> None:
    """Run a sweep; what OUT holds already is not run again."""
    from simsparse.config.sweep import load_sweep
    from simsparse.sweep import run_sweep

    bar = ProgressBar()
    try:
        with bar as progress:
            frame = run_sweep(path, out, jobs, progress, scheduler, details=json)
    except KeyboardInterrupt:
        note(f"interrupted: {bar.done} of {bar.total or 'all'} points are stored in {out}; the same command goes on")
        raise
    failed = frame[frame["error"] != ""]
    if json:
        emit_json({"out": str(out), "points": len(frame), "failed": len(failed), "rows": _records(frame)})
    else:
        show_sweep(frame, lists_all=load_sweep(path).lists_all)
        note(f"stored in {out}; simsparse report {out} draws it")
    if len(failed) == len(frame) or (strict and len(failed)):
        raise typer.Exit(1)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values, missing numbers as None."""
    return [
        {str(key): None if value != value else value for key, value in row.items()}  # noqa: PLR0124
        for row in frame.to_dict("records")
    ]


def report(
    out: Annotated[Path, typer.Argument(help="The folder of a sweep, or of one run's result.")],
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", metavar="AXIS=VALUE", help="What ratios are taken against; may repeat."),
    ] = None,
    normalise: Annotated[
        list[str] | None, typer.Option("--normalise", help="Ratios at equal area or power too; may repeat.")
    ] = None,
    json: Json = False,
) -> None:
    """Draw the figures and the page of a sweep or of one run, into OUT/report.

    Ratios are made of pairs of points that differ in one axis; without --baseline, in weight sparsity, against dense.
    """
    from simsparse.report import build_report

    with ProgressBar("figures") as progress:
        page = build_report(out, baseline=pairs(baseline or []), normalise=normalise or (), progress=progress)
    if json:
        emit_json({"report": str(page)})
    else:
        line(str(page))


def compare(
    a: Annotated[Path, typer.Argument(help="The folder of a sweep or of a run, or a run's result.json.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    json: Json = False,
) -> None:
    """What tells two results or sweeps apart: inputs, by how much, what moved. Exit code 1 when they differ."""
    from simsparse.report.compare import compare as compare_results

    found = compare_results(a, b)
    changed = [each for each in found.changes if not each.is_same]
    if json:
        emit_json({"changes": [each.to_dict() for each in found.changes], "only_a": list(found.only_a),
                   "only_b": list(found.only_b)})  # fmt: skip
    else:
        rows = [_changed_row(each) for each in changed[: 3 * SHOWN]]
        first = f", the first {len(rows)}" if len(rows) < len(changed) else ""
        title = f"{len(changed)} of {counted(len(found.changes), 'point')} differ{first}" if changed else (
            f"{counted(len(found.changes), 'point')} agree{'s' * (len(found.changes) == 1)}"
        )  # fmt: skip
        table(title, ("point", "latency", "energy", "inputs that differ", "what moved"), rows)
        for name, places in (("A", found.only_a), ("B", found.only_b)):
            if places:
                note(f"{len(places)} points only in {name}, the first: {places[0]}")
    if changed or found.only_a or found.only_b:
        raise typer.Exit(1)


def _changed_row(each: Change) -> tuple[str, ...]:
    texts = []
    for unit, (before, after) in (("s", each.latency_s), ("J", each.energy_j)):
        ratio = f" ({after / before:.3g}x)" if before and after else ""
        texts.append(f"{si(before, unit)} to {si(after, unit)}{ratio}")
    inputs = "; ".join(f"{name} {was or 'unset'} to {now or 'unset'}" for name, was, now in each.inputs)
    errors = "; ".join(f"failed in {name}: {text}" for name, text in zip("AB", each.errors, strict=True) if text)
    same = "none: models or files have changed"
    return each.place or "the run", *texts, inputs or same, errors or "; ".join(each.moved)
