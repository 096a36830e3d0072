# SPDX-License-Identifier: Apache-2.0
"""Commands on workloads: trace, models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsparse.cli.console import Json, emit_json, note, si, table, whole_folder
from simsparse.cli.interchange import export_file, import_file
from simsparse.cli.trace_table import show as show_table
from simsparse.errors import SpecError

if TYPE_CHECKING:
    from simsparse.core import Trace


def trace(
    source: Annotated[Path | None, typer.Argument(metavar="[TRACE]", help="A trace file, for --export.")] = None,
    show: Annotated[Path | None, typer.Option("--show", help="Print what a trace file holds.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Extract from this model; see simsparse models.")] = None,
    phase: Annotated[
        str | None, typer.Option("--phase", help="prefill, decode, forward or train; by default the model's usual one.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch")] = 1,
    seq: Annotated[int, typer.Option("--seq", help="Tokens a sequence in prefill and train.")] = 2048,
    kv_len: Annotated[int, typer.Option("--kv-len", help="Cached tokens in decode.")] = 2048,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Tokens decoded one after the other.")] = 1,
    latent: Annotated[str | None, typer.Option("--latent", help="Latent attention: naive or absorbed.")] = None,
    optimizer: Annotated[str, typer.Option("--optimizer", help="Of train: sgd, momentum or adamw.")] = "adamw",
    routing: Annotated[str | None, typer.Option("--routing", help="How tokens are routed to experts.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    import_: Annotated[Path | None, typer.Option("--import", help="Another tool's file to read.")] = None,
    export: Annotated[Path | None, typer.Option("--export", help="Another tool's file to write from TRACE.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="Its format, where the suffix does not say.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="Element type of a file that has none.")] = None,
    ranks: Annotated[int | None, typer.Option("--ranks", min=1, help="Ranks of its collectives, if unsaid.")] = None,
    dim: Annotated[list[str] | None, typer.Option("--dim", help="NAME=SIZE of an ONNX model's symbolic dim.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", help="bytes=1GiB, values=N or seconds=N that a file may take.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Trace file to write; .gz compresses.")] = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="Folder for figures of the trace.")] = None,
    json: Json = False,
) -> None:
    """Extract a trace from a torch model, show one, or bring one from and to other tools."""
    given = [each for each in (show, model, import_, export) if each is not None]
    if len(given) != 1 or (export is None) != (source is None):
        raise SpecError("give one of --show TRACE, --model NAME --out TRACE, --import FILE --out TRACE, "
                        "--export FILE TRACE")  # fmt: skip
    if show is not None or source is not None:
        found = _read(show or Path(str(source)))
    elif import_ is not None:
        found = import_file(import_, format_, dtype, ranks, dim or (), out, limit or ())
    else:
        options = {"steps": steps, "latent": latent, "optimizer": optimizer}
        found = _extract(str(model), phase, batch, seq, kv_len, routing, seed, options, out)
    if export is not None:
        export_file(found, export, format_)
    if plots is not None:
        _plot(found, plots)
    if json:
        emit_json(_summary(found))
    elif export is None:
        show_table(found)


def _summary(found: Trace) -> Any:
    from simsparse.trace.statistics.totals import summary

    return summary(found)


def _plot(found: Trace, out: Path) -> None:
    from simsparse.report.trace import write_plots

    with whole_folder(out) as folder:
        written = write_plots(found, folder)
    note(f"{len(written)} figures written to {out}" if written else "nothing to draw")


def _read(path: Path) -> Trace:
    from simsparse.trace.file import load_trace

    return load_trace(path)


def _extract(
    model: str, phase: str | None, batch: int, seq: int, kv_len: int, routing: str | None, seed: int,
    options: dict[str, Any], out: Path | None,
) -> Trace:  # fmt: skip
    from simsparse.errors import nearest
    from simsparse.models.by_name import extract, usual_phase
    from simsparse.trace.file import save_trace

    phases = ("prefill", "decode", "forward", "train")
    chosen: Any = phase or usual_phase(model)
    if chosen not in phases:
        raise SpecError(f"{phase!r} is not a phase; {nearest(str(phase), phases)}", key="--phase")
    if out is None:
        raise SpecError("--model needs --out, the trace file to write")
    found = extract(model, chosen, batch, seq, kv_len, routing, seed, **options)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_trace(found, out)
    note(f"written to {out}")
    if found.meta["other_ops"]:
        note(f"{found.meta['other_ops']} operations are not understood, {found.meta['other_share']:.1%} of the bytes")
    return found


def models(json: Json = False) -> None:
    """The models that trace can extract, from their published shapes."""
    from simsparse.models.by_name import MODELS
    from simsparse.models.trained import TRAINED

    trained = {name: spec for name, spec in TRAINED.items() if name not in MODELS}
    if json:
        data = {name: {"family": spec.family, "parameters": spec.parameters, "published": spec.published,
                       "published_in": spec.published_in, "phases": spec.task.phases, "source": spec.source,
                       "dtype": spec.dtype, "shape": dict(spec.shape)} for name, spec in MODELS.items()}  # fmt: skip
        emit_json({**data, **{name: {"family": spec.module, "published": spec.parameters, "phases": ["forward"],
                                     "source": spec.source, "packages": spec.packages}
                              for name, spec in trained.items()}})  # fmt: skip
        return
    rows = [
        (name, spec.family, f"{spec.parameters:,}", si(spec.published, ""), ", ".join(spec.task.phases), spec.source)
        for name, spec in MODELS.items()
    ]
    rows += [
        (name, spec.module, "", si(spec.parameters, ""), "forward", f"trained weights; {spec.source}")
        for name, spec in trained.items()
    ]
    columns = ("name", "family", "parameters", "published", "phases", "source")
    table("Models", columns, rows, right=("parameters", "published"))
