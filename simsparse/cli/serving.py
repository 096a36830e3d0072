# SPDX-License-Identifier: Apache-2.0
"""The command that serves requests over time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsparse.cli.console import Json, Out, emit_json, note, si, table, whole_folder
from simsparse.cli.progress import ProgressBar
from simsparse.errors import SpecError

if TYPE_CHECKING:
    from simsparse.config.serving import ServeSpec
    from simsparse.config.yaml import Document
    from simsparse.serving import Served


def serve(
    experiment: Annotated[str, typer.Argument(metavar="FILE", help="A serving experiment's YAML file.")],
    out: Out = None,
    rate: Annotated[
        float | None, typer.Option("--rate", min=1e-9, help="Requests per second, in place of the file's.")
    ] = None,
    rates: Annotated[
        str | None, typer.Option("--rates", help="Several rates, such as 1,2,4: latency over the rate.")
    ] = None,
    highest: Annotated[
        bool, typer.Option("--highest", help="Search the highest rate at which the SLO is kept and no queue grows.")
    ] = False,
    share: Annotated[
        float, typer.Option("--share", min=0.01, max=1.0, help="Of requests that must be within the SLO.")
    ] = 0.99,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=1024, help="Local processes for axes.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a Dask scheduler for axes, such as tcp://head:8786.")
    ] = None,
    json: Json = False,
) -> None:
    """Serve requests over time; with --out also write tables and figures. A file with axes is a sweep."""
    from simsparse._serve import serve_spec
    from simsparse.config.serving import load_serving
    from simsparse.serving.summary import summary

    spec, document = load_serving(experiment)
    if spec.axes:
        _over_axes(
            spec, experiment, out, jobs, scheduler, rates=rate is not None or rates is not None or highest, json=json
        )
        return
    if rates is not None or highest:
        _over_rates(spec, document, rates, share, out, json=json)
        return
    found = serve_spec(spec, document, rate)
    if out is not None:
        with whole_folder(out) as folder:
            _write(found, spec, folder)
        note(f"written to {out}")
    if json:
        emit_json(summary(found, spec))
    else:
        _show(found, spec)


def _over_axes(
    spec: ServeSpec, experiment: str, out: Path | None, jobs: int, scheduler: str | None, *, rates: bool, json: bool
) -> None:
    from simsparse.sweep.serving import run_serving_sweep

    if rates:
        raise SpecError("the file has axes; make the rate one of them: requests.arrivals.rate", key="--rate")
    if out is None:
        raise SpecError("a file with axes needs a folder for its runs", key="--out")
    with ProgressBar("points") as progress:
        frame = run_serving_sweep(experiment, out, jobs, scheduler, progress)
    if json:
        emit_json(frame.to_dict("records"))
        return
    numbers = ("TTFT p50", "TTFT p99", "TPOT mean", "tokens/s", "J/token")
    rows = [
        (*(str(row[f"axis.{name}"]) for name in spec.axes), *_cells(row, len(numbers)))
        for row in frame.to_dict("records")
    ]
    table(f"{spec.name}: {len(rows)} points", (*spec.axes, *numbers, ""), rows, numbers)
    note(f"written to {out}")


def _cells(row: Mapping[Hashable, Any], numbers: int) -> tuple[str, ...]:
    if row["error"]:
        return (*[""] * numbers, row["error"])
    latencies = (si(row[name], "s") for name in ("ttft.p50", "ttft.p99", "tpot.mean"))
    return (*latencies, f"{row['output_tokens_per_s']:.4g}", si(row["joules_per_token"], "J"),
            "saturated" if row["saturated"] else "")  # fmt: skip


def _over_rates(
    spec: ServeSpec, document: Document, rates: str | None, share: float, out: Path | None, *, json: bool
) -> None:
    from simsparse._serve import serve_spec
    from simsparse.serving.rates import highest_rate, knee, rate_curve
    from simsparse.serving.summary import summary

    slo = spec.slo.model_dump(exclude_none=True)
    with ProgressBar("rates") as progress:
        seen = 0

        def run(rate: float) -> Served:
            nonlocal seen
            found = serve_spec(spec, document, rate)
            seen += 1
            progress(seen, max(seen, len(asked)), 0)
            return found

        asked = _rates(rates) if rates is not None else []
        points = rate_curve(run, asked, slo, share) if asked else highest_rate(run, slo, share)
    if out is not None:
        from simsparse.report.plot import save_plot
        from simsparse.report.serving import rate_plot

        with whole_folder(out) as folder:
            save_plot(rate_plot(points, slo), folder, ("png",))
            _write_json(
                [{"rate": point.rate, **summary(point.served, spec)} for point in points], folder / "rates.json"
            )
        note(f"written to {out}")
    best = knee(points)
    if json:
        runs = [{"rate": each.rate, "kept": each.kept, "good_share": each.good_share, **summary(each.served, spec)}
                for each in points]  # fmt: skip
        emit_json({"highest_rate": best.rate if best else None, "share": share, "runs": runs})
        return
    shown = [(f"{each.rate:.4g}", si(each.served.ttft.p50, "s"), si(each.served.ttft.p99, "s"),
              si(each.served.tpot.mean, "s"), f"{each.served.output_tokens_per_s:.4g}", f"{each.good_share:.1%}",
              "saturated" if each.served.saturation.saturated else "kept" if each.kept else "beyond the SLO")
             for each in points]  # fmt: skip
    columns = ("rate", "TTFT p50", "TTFT p99", "TPOT mean", "tokens/s", "within SLO")
    table(f"{spec.model} on {spec.system}", (*columns, ""), shown, columns)
    note(f"highest rate that is kept: {best.rate:.4g} per second" if best else "none of these rates is kept")


def _rates(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise SpecError(f"{text!r} is not a list of numbers such as 1,2,4", key="--rates") from None


def _write_json(data: Any, path: Path) -> None:
    import json

    path.write_text(json.dumps(data, indent=1, default=float), encoding="utf-8")


def _write(found: Served, spec: ServeSpec, folder: Path) -> None:
    from simsparse.report.plot import save_plot
    from simsparse.report.serving import served_plots
    from simsparse.serving.summary import summary
    from simsparse.store import to_csv

    _write_json(summary(found, spec), folder / "summary.json")
    for plot in served_plots(found):
        save_plot(plot, folder, ("png",))
    to_csv(found.requests_table(), folder / "requests.csv")
    for i, log in enumerate(found.logs):
        to_csv(log.table(), folder / f"steps{i if len(found.logs) > 1 else ''}.csv")


def _show(found: Served, spec: ServeSpec) -> None:
    from simsparse.serving.summary import summary

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
