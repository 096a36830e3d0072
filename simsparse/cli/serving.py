# SPDX-License-Identifier: Apache-2.0
"""The command that serves requests over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsparse.cli.console import Json, Out, emit_json, note, si, table, whole_folder

if TYPE_CHECKING:
    from simsparse.config.serving import ServeSpec
    from simsparse.serving import Served


def serve(
    experiment: Annotated[str, typer.Argument(metavar="FILE", help="A serving experiment's YAML file.")],
    out: Out = None,
    rate: Annotated[
        float | None, typer.Option("--rate", min=1e-9, help="Requests per second, in place of the file's.")
    ] = None,
    json: Json = False,
) -> None:
    """Serve requests over time; with --out also write tables of requests and steps."""
    from simsparse._serve import serve_spec
    from simsparse.config.serving import load_serving

    spec, document = load_serving(experiment)
    found = serve_spec(spec, document, rate)
    if out is not None:
        with whole_folder(out) as folder:
            _write(found, spec, folder)
        note(f"written to {out}")
    if json:
        emit_json(summary(found, spec))
    else:
        _show(found, spec)


def summary(found: Served, spec: ServeSpec) -> dict[str, Any]:
    """All that a run comes to, as JSON-able values; seconds, joules, tokens."""
    saturation, slo = found.saturation, spec.slo.model_dump(exclude_none=True)
    return {
        "name": spec.name, "model": found.model, "system": found.system, "requests": len(found.requests),
        **{name: getattr(found, name).summary() for name in ("ttft", "tpot", "e2e", "queue")},
        "requests_per_s": len(found.requests) / found.span_s, "output_tokens_per_s": found.output_tokens_per_s,
        "total_tokens_per_s": found.total_tokens_per_s,
        "goodput_per_s": found.goodput(slo) if slo else None, "slo": slo,
        "saturated": saturation.saturated, "offered_per_s": saturation.offered_per_s,
        "queue_growth_per_s": saturation.growth_per_s, "capacity_per_s": saturation.capacity_per_s,
        "joules_per_token": found.joules_per_token,
        "cost_per_million_tokens":
            found.cost_per_million(spec.price_per_device_hour) if spec.price_per_device_hour else None,
        "kv_blocks": found.kv_blocks, "preemptions": found.preemptions, "prefix_hit_ratio": found.prefix_hit_ratio,
        "interpolation_error": found.error_estimate, "assumed": list(found.assumed), "notes": list(found.notes),
    }  # fmt: skip


def _write(found: Served, spec: ServeSpec, folder: Path) -> None:
    import json

    from simsparse.store import to_csv

    (folder / "summary.json").write_text(json.dumps(summary(found, spec), indent=1, default=float), encoding="utf-8")
    to_csv(found.requests_table(), folder / "requests.csv")
    for i, log in enumerate(found.logs):
        to_csv(log.table(), folder / f"steps{i if len(found.logs) > 1 else ''}.csv")


def _show(found: Served, spec: ServeSpec) -> None:
    said = summary(found, spec)
    columns = ("mean", "p50", "p90", "p99")
    names = {"ttft": "to the first token", "tpot": "per token after it", "e2e": "to the last token", "queue": "waiting"}
    rows = [(text, *(si(said[name][column], "s") for column in columns)) for name, text in names.items()]
    table(f"{found.model} on {found.system}: {len(found.requests)} requests", ("latency", *columns), rows, columns)
    shown = [
        ("requests per second", f"{said['requests_per_s']:.4g}"),
        ("tokens written per second", f"{said['output_tokens_per_s']:.4g}"),
        ("energy per token written", si(said["joules_per_token"], "J")),
    ]
    if said["goodput_per_s"] is not None:
        shown.append(("requests per second within the SLO", f"{said['goodput_per_s']:.4g}"))
    if said["cost_per_million_tokens"] is not None:
        shown.append(("cost of a million tokens", f"{said['cost_per_million_tokens']:.4g}"))
    if said["prefix_hit_ratio"] is not None:
        shown.append(("prefix blocks found", f"{said['prefix_hit_ratio']:.1%}"))
    table("Over the whole run", ("", "value"), shown, ("value",))
    if said["saturated"]:
        capacity = said["capacity_per_s"]
        note(f"saturated: the queue grows by {said['queue_growth_per_s']:.3g} requests per second of "
             f"{said['offered_per_s']:.3g} offered, {capacity or 0:.3g} are served; latencies hold for this length of "
             "run only")  # fmt: skip
    if found.preemptions:
        note(f"{found.preemptions} sequences lost their place for want of memory and were read anew")
    note(f"step times between grid points are off by {found.error_estimate:.1%} at most where tried")
    if found.assumed:
        note(f"rests on {len(found.assumed)} assumed values (--json lists them)")


COMMANDS = (serve,)
