# SPDX-License-Identifier: Apache-2.0
"""Commands that answer one question each: crossover, cards, headroom, layouts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsparse.cli.console import Json, Out, emit_json, note, part_words, si, table, whole_folder
from simsparse.cli.operator import operator
from simsparse.cli.progress import ProgressBar
from simsparse.errors import SpecError

if TYPE_CHECKING:
    from simsparse.report.plot import Plot

CHOICES = "dense,2:4,weights=int4,fp8,int8"
CARDS = "gpu/l40s-48gb,gpu/a100-sxm4-80gb,gpu/h100-sxm5-80gb,gpu/h200-sxm5-141gb,gpu/b200-sxm-180gb"
STACKS = "eager,compiled+graph,fused+graph"
SHOWN = 15


def crossover(
    layer: Annotated[list[str], typer.Argument(metavar="linear KEY=VALUE...", help="linear n=14336 k=4096 dtype=bf16")],
    hw: Annotated[str, typer.Option("--hw", autocompletion=part_words, help="A part, such as gpu/h100-sxm5-80gb.")],
    choices: Annotated[
        str, typer.Option("--choices", help="Comma-separated: sparsities, types, weights=TYPE, joined by / (fp8/2:4).")
    ] = CHOICES,
    tokens: Annotated[str, typer.Option("--tokens", help="FIRST:LAST in powers of two, or a list.")] = "1:8192",
    densities: Annotated[
        str, typer.Option("--densities", help="Ask by density too: a list, such as 0.02,0.1,0.3. Sparse over dense.")
    ] = "",
    patterns: Annotated[
        str, typer.Option("--patterns", help="With --densities: csr, fan_in, block4, block16, nmg.")
    ] = "csr,fan_in,block16",
    resident: Annotated[
        bool, typer.Option("--resident", help="With --densities: weights stay in the caches between calls.")
    ] = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Where does 2:4, or another way to hold weights, pay on this part for this layer, over tokens?

    With --densities: at which density, tokens and pattern a sparse kernel beats the dense one, and by how much.
    """
    if densities:
        _by_density(layer, hw, densities, patterns.split(","), _counts(tokens), resident, out, json)
        return
    from simsparse.advice import crossover as compare
    from simsparse.advice import parse_choice
    from simsparse.report.crossover import crossover_plot, pays_text, winners_text

    counts = _counts(tokens)
    op = operator([*layer, f"m={counts[0]}"])
    found = compare(op, hw, [parse_choice(text) for text in choices.split(",")], counts)
    if out is not None:
        _write(out, found.times, crossover_plot(found))
    if json:
        emit_json({"part": found.part, "layer": found.layer, "times": [time._asdict() for time in found.times],
                   "winners": found.winners, "pays": found.pays, "refused": found.refused,
                   "notes": found.notes})  # fmt: skip
        return
    names = list(dict.fromkeys(time.choice for time in found.times))
    seconds = {(time.tokens, time.choice): time.latency_s for time in found.times}
    rows = [(f"{count:,}", *(si(seconds[count, name], "s") for name in names)) for count in counts]
    table(f"{found.layer} on {found.part}", ("tokens", *names), rows, right=("tokens", *names))
    note(winners_text(found))
    if found.pays:
        note(pays_text(found))
    for text, notes in found.notes.items():
        note(f"{text}: {'; '.join(notes)}")
    for text, reason in found.refused.items():
        note(f"{text} is refused: {reason}")
    unchecked = dict.fromkeys(time.choice for time in found.times if not time.validated)
    if unchecked:
        note("unvalidated: " + ", ".join(unchecked))


def _by_density(
    layer: list[str], hw: str, densities: str, patterns: list[str], counts: list[int], resident: bool, out: Out,
    json: bool,
) -> None:  # fmt: skip
    from simsparse.advice import sparse_gains
    from simsparse.report.sparse_gain import breakeven_text, sparse_gain_plot

    found = sparse_gains(operator([*layer, "m=1"]), hw, patterns, _shares(densities), counts, resident)
    if out is not None:
        _write(out, found.gains, sparse_gain_plot(found))
    if json:
        ends = [{"pattern": name, "tokens": count, "density": density}
                for (name, count), density in found.breakeven.items()]  # fmt: skip
        emit_json({"part": found.part, "layer": found.layer, "resident": found.resident,
                   "gains": [gain._asdict() for gain in found.gains], "breakeven": ends,
                   "refused": found.refused})  # fmt: skip
        return
    names = list(dict.fromkeys(name for name, _ in found.breakeven))
    rows = [(f"{count:,}", *(_percent(found.breakeven[name, count], found.always(name, count)) for name in names))
            for count in counts]  # fmt: skip
    title = f"{found.layer} on {found.part}: largest density at which sparse weights are no slower"
    table(title, ("tokens", *names), rows, right=("tokens", *names))
    best = max(found.gains, key=lambda gain: gain.gain)
    note(f"{breakeven_text(found)}; most: {best.gain:.2f}x with {best.pattern} at {best.density:.3g}, "
         f"{best.tokens:,} tokens")  # fmt: skip
    for text, reason in found.refused.items():
        note(f"{text} is refused: {reason}")
    if unchecked := dict.fromkeys(gain.pattern for gain in found.gains if not gain.validated):
        note("unvalidated: " + ", ".join(unchecked))


def _percent(density: float | None, always: bool) -> str:
    return "none" if density is None else f"{'all, to ' * always}{density:.1%}"


def _shares(text: str) -> list[float]:
    """Rising densities from ``0.02,0.1``. Raises SpecError."""
    try:
        return sorted({float(word) for word in text.split(",")})
    except ValueError:
        raise SpecError(f"{text!r} is not a list of densities above 0 and up to 1", key="--densities") from None


def _counts(text: str) -> list[int]:
    """Token counts from ``1:8192`` or ``1,16,100``. Raises SpecError."""
    first, colon, last = text.partition(":")
    words = (first, last) if colon else tuple(text.split(","))
    if not all(word.strip().isdecimal() and 0 < int(word) < 2**30 for word in words):
        raise SpecError(f"{text!r} is not FIRST:LAST or a list of whole numbers from 1 to 2**30", key="--tokens")
    numbers = [int(word) for word in words]
    if not colon:
        return sorted(set(numbers))
    if numbers[0] > numbers[1]:
        raise SpecError(f"{text!r} falls; expected FIRST below LAST", key="--tokens")
    counts = [numbers[0]]
    while counts[-1] * 2 <= numbers[1]:
        counts.append(counts[-1] * 2)
    return counts


def cards(
    trace: Annotated[Path, typer.Argument(help="A trace file.")],
    hw: Annotated[str, typer.Option("--hw", help="Comma-separated parts or systems.")] = CARDS,
    stack: Annotated[str, typer.Option("--stack", help="Comma-separated software stacks.")] = STACKS,
    out: Out = None,
    json: Json = False,
) -> None:
    """What would this model take on these cards under these software stacks?"""
    from simsparse.advice import times_on_cards
    from simsparse.report.cards import cards_plot
    from simsparse.trace.file import load_trace

    loaded = load_trace(trace)
    with ProgressBar("combinations") as progress:
        times = times_on_cards(loaded, hw.split(","), stack.split(","), progress=progress)
    if out is not None:
        _write(out, times, cards_plot(loaded.name, times))
    if json:
        emit_json([time._asdict() for time in times])
        return
    rows = [
        (time.card, time.stack, *(("refused", "", "", "") if time.refused else
         (si(time.latency_s, "s"), si(time.energy_j, "J"), time.bound)), f"{time.unvalidated_share:.0%}")
        for time in times
    ]  # fmt: skip
    columns = ("card", "stack", "latency", "energy", "bound", "unvalidated time")
    table(loaded.name, columns, rows, right=("latency", "energy", "unvalidated time"))
    for reason in dict.fromkeys(time.refused for time in times if time.refused):
        note(reason)


def headroom(
    trace: Annotated[Path, typer.Argument(help="A trace file.")],
    hw: Annotated[str, typer.Option("--hw", autocompletion=part_words, help="A GPU, such as gpu/h100-sxm5-80gb.")],
    stack: Annotated[str, typer.Option("--stack", help="What launches kernels, such as eager or fused+graph.")] = (
        "eager+graph"
    ),
    against: Annotated[str, typer.Option("--against", help="Another stack, in place of the card's bound.")] = "",
    out: Out = None,
    json: Json = False,
) -> None:
    """Which kernel should I write? Ops ranked by the seconds between this stack and the card's bound."""
    from simsparse.advice import headroom as rank
    from simsparse.report.headroom import headroom_plot
    from simsparse.trace.file import load_trace

    found = rank(load_trace(trace), hw, stack, against)
    if out is not None:
        _write(out, found.losses, headroom_plot(found))
    if json:
        emit_json({"trace": found.trace, "part": found.part, "stack": found.stack,
                   "against": found.against, "latency_s": found.latency_s,
                   "bound_s": found.bound_s,
                   "losses": [{**loss._asdict(), "lost_s": loss.lost_s} for loss in found.losses]})  # fmt: skip
        return
    rows = [
        (loss.name, loss.shape, loss.ops, loss.kernels or "", si(loss.seconds, "s"), si(loss.bound_s, "s"),
         si(loss.lost_s, "s"), f"{loss.lost_s / found.latency_s:.1%}", "" if loss.validated else "unvalidated")
        for loss in found.losses[:SHOWN]
    ]  # fmt: skip
    least = found.against or "bound"
    columns = ("op", "shape", "ops", "kernels", "time", least, "lost", "share", "model")
    table(f"{found.trace} on {found.part} under {found.stack}: {si(found.latency_s, 's')}; {least}: "
          f"{si(found.bound_s, 's')}", columns, rows, right=columns[2:8])  # fmt: skip
    if len(found.losses) > SHOWN:
        note(f"{len(found.losses) - SHOWN} more kinds of op lose less; --json lists them")


def layouts(
    trace: Annotated[Path, typer.Argument(help="A trace file; of phase train: one micro-batch.")],
    system: Annotated[str, typer.Option("--system", autocompletion=part_words, help="A system of several GPUs.")],
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, help="How many of them; all by default.")] = None,
    batches: Annotated[
        int | None, typer.Option("--batches", min=1, help="Micro-batches of a training step; one per GPU by default.")
    ] = None,
    objective: Annotated[str, typer.Option("--objective", help="throughput, latency, memory, energy.")] = "throughput",
    layout: Annotated[str, typer.Option("--layout", help="One layout of a training step, such as 'tp=8 dp=512'.")] = "",
    level: Annotated[int, typer.Option("--level", min=0, max=1, help="0 closed forms, 1 events.")] = 0,
    out: Out = None,
    json: Json = False,
) -> None:
    """How should this model be laid out on these GPUs? Layouts that fit, ranked, and what bounds each.

    With --out a training step's best layout is written as a timeline too, which ui.perfetto.dev opens. --layout takes
    one layout of a training step instead: its time, and memory and traffic of every rank.
    """
    from simsparse.advice import rank_layouts
    from simsparse.trace.file import load_trace

    loaded = load_trace(trace)
    if layout:
        _one_layout(loaded, system, layout, level, out, json)
        return
    with ProgressBar("layouts") as progress:
        found = rank_layouts(loaded, system, gpus, batches, level, objective, progress)
    if out is not None:
        _write_layouts(out, found, loaded, system, level)
    if json:
        emit_json([each._asdict() for each in found])
        return
    fitting = [each for each in found if not each.refused]
    rows = [
        (each.layout, si(each.seconds, "s"), f"{each.passes_per_s:.4g}", f"{each.memory_bytes / 1e9:.1f} GB",
         si(each.exchange_s, "s"), si(each.bubble_s, "s"), si(each.joules, "J"), each.bound)
        for each in fitting[:SHOWN]
    ]  # fmt: skip
    columns = ("layout", "time", "passes/s", "memory", "exchanges", "bubble", "energy", "bound")
    table(f"{loaded.name} on {system}, by {objective}", columns, rows, right=columns[1:7])
    if len(fitting) > SHOWN:
        note(f"{len(fitting) - SHOWN} more layouts fit; --json lists them")
    if refused := [each for each in found if each.refused]:
        note(f"{len(refused)} layouts do not fit, such as {refused[0].layout}: {refused[0].refused}")


def _one_layout(trace: Any, system: str, layout: str, level: int, out: Path | None, json: bool) -> None:
    """A training step under one layout, and its ranks; the first of each stage is shown, all are written."""
    import pandas as pd

    from simsparse.advice import rank_rows, training_step
    from simsparse.store import to_csv

    step, ranks = training_step(trace, system, layout, level), rank_rows(trace, system, layout)
    if out is not None:
        with whole_folder(out) as folder:
            to_csv(pd.DataFrame([each.flat() for each in ranks]).fillna(0), folder / "ranks.csv")
            step.timeline.to_perfetto(folder / "timeline.json")
        note(f"written to {out}")
    if json:
        emit_json({"layout": str(step.layout), "step_s": step.step_s, "exchange_s": step.exchange_s,
                   "bubble_s": step.bubble_s, "energy_j": step.energy_j, "bound": step.bound, "fits": step.fits,
                   "ranks": [each.flat() for each in ranks]})  # fmt: skip
        return
    first = ranks[:: step.layout.stage_ranks]
    rows = [(str(stage), what, f"{size / 1e9:.3g} GB") for stage, each in enumerate(first)
            for part in (each.memory, each.traffic) for what, size in part.items()]  # fmt: skip
    title = (f"{trace.name} on {len(ranks)} ranks of {system}: {si(step.step_s, 's')} a step, "
             f"{si(step.exchange_s, 's')} of it exchanges, bound by {step.bound}")  # fmt: skip
    table(title, ("stage", "of a rank", "size"), rows, right=("size",))


def _write_layouts(out: Path, found: list[Any], trace: Any, system: str, level: int) -> None:
    """The layouts as CSV and, of a training step, the timeline of the best one's stages."""
    import pandas as pd

    from simsparse.advice import training_step
    from simsparse.store import to_csv

    with whole_folder(out) as folder:
        to_csv(pd.DataFrame([each._asdict() for each in found]), folder / "layouts.csv")
        if found and not found[0].refused and trace.meta.get("phase") == "train":
            best = found[0].layout if "=" in found[0].layout else ""
            training_step(trace, system, best, level).timeline.to_perfetto(folder / "timeline.json")
    note(f"written to {out}")


def _write(out: Path, rows: Any, plot: Plot) -> None:
    """``rows``, named tuples, as CSV and the figure as PNG and SVG, all of them or none."""
    import pandas as pd

    from simsparse.report.plot import save_plot
    from simsparse.store import to_csv

    with whole_folder(out) as folder:
        to_csv(pd.DataFrame([row._asdict() for row in rows]), folder / f"{plot.name}.csv")
        save_plot(plot, folder, ("png", "svg"))
    note(f"written to {out}")
