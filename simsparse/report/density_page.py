# SPDX-License-Identifier: Apache-2.0
"""The page of all sparse engines over density: figures, values, crossovers and what is assumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from simsparse.report.density import (
    ARRANGEMENT,
    FAMILIES,
    NEAR,
    PASSES,
    STRAY,
    USUAL,
    Curve,
    crossovers,
)  # fmt: skip
from simsparse.report.density_figure import CAPTIONS, HIGHEST, STEMS, density_plots
from simsparse.report.plot import save_plot


def write_density_report(
    curves: Sequence[Curve], dense: Sequence[Curve], absent: Mapping[str, str], size: int | None, folder: Path
) -> Path:
    """A figure a family and README.md with its tables; ``dense`` are the dense arrays compared with, the first of
    which is drawn. Returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    for plot in density_plots(curves, dense[0]):
        save_plot(plot, folder, ("png",))
    page = folder / "README.md"
    page.write_text(density_page(curves, dense, absent, size), encoding="utf-8")
    return page


def density_page(
    curves: Sequence[Curve], dense: Sequence[Curve], absent: Mapping[str, str], size: int | None
) -> str:  # fmt: skip
    """The page as Markdown."""
    families = [family for family in FAMILIES if any(curve.family == family for curve in curves)]
    lines = ["# Sparse engines over density", "", *_intro(dense, size), ""]
    for family in families:
        here = [curve for curve in curves if curve.family == family]
        lines += [f"## {CAPTIONS[family]}", "", f"![{CAPTIONS[family]}]({STEMS[family]}.png)", ""]
        lines += [*_readings(family), *_values(here), ""]
        if family == ARRANGEMENT and (stray := [curve for curve in curves if curve.family == STRAY]):
            lines += ["The same engines on random zeros (the thin dashed lines):", "", *_values(stray), ""]
    lines += ["## Where skipping zeros pays", "", *_crossover_intro(), *_against(curves, families, dense), ""]
    lines += ["## Which engine is least", "", *_least(curves, families), ""]
    lines += [f"Not drawn: {name}: {reason}." for name, reason in absent.items()]
    option = f" --size {size}" if size else ""
    return "\n".join([*lines, "", f"Remade by `simsparse density{option} --out reports/density`.", ""])


def _intro(dense: Sequence[Curve], size: int | None) -> list[str]:
    sizes = (
        f"of {size} x {size} x {size}"
        if size
        else f"of its own size S x S x S: from S = {USUAL} the smallest power of two at which all its multipliers have "
        f"work for {PASSES} cycles and the closed form of the dense product is within {NEAR - 1:.0%} of the best of "
        "all sizes; 256 where from there on operands outgrow a buffer. Where the run time of the core does not allow "
        "it, the column *unfilled* is above that: the dense slots of this size over the best of all sizes"
    )
    arrays = ", ".join(f"{curve.name} {curve.slots[-1]:.3g} (S = {curve.size})" for curve in dense)
    return [
        "Cycle cores (level 2) of all parts with a sparse engine, each in its own element type. The value is a part's "
        "multipliers times its cycles over the multiply-accumulates (MACs) of the dense product: 1 is a dense array "
        "without any loss, below 1 skipping zeros pays. It counts fill, imbalance and the waits for the part's own "
        "memory, and neither clock nor area: a sparse engine's multiplier comes with more logic than a dense array's.",
        "",
        f"Each part runs a product {sizes}.",
        "",
        "Assumed: zeros fall independently (random zeros) or at random places that the arrangement allows, one draw "
        "each, which a pruned network's need not do; `nmg-counter`, built for 2:4, is set to another n:m for each "
        "point; weights arranged for an engine are taken as free, with no word on the accuracy that they cost. The "
        "parts' sizes, clocks and memories differ and many of their numbers are assumed (`simsparse hw show`), so "
        "that a line tells as much of the part as of the idea.",
        "",
        f"Dense systolic arrays, multiplier cycles per dense MAC: {arrays}.",
    ]  # fmt: skip


def _readings(family: str) -> list[str]:
    above = f"The frame ends at {HIGHEST:g}; the table has what is above. A part looks the same in both figures."
    if family != ARRANGEMENT:
        return [above, ""]
    return [
        "A line with marks has an engine's own arrangements; thin and level, weights sparser than its sparsest one, "
        "which it runs as that. Thin and dashed, in the same colour: random zeros. N:M groups of systolic arrays are "
        "those that the part lists, of equal density the fastest.",
        "",
    ]


def _values(curves: Sequence[Curve]) -> Iterator[str]:
    """Tables of the values: one for lines of the same densities, a row a line for those with labels."""
    columns = ["part", "type", "multipliers", "S", "unfilled"]
    plain, labelled = [c for c in curves if not c.labels], [c for c in curves if c.labels]
    if plain:
        rows = [[*_facts(c), *(f"{slots:.3g}" for slots in c.slots)] for c in plain]
        yield from _table([*columns, *(f"{density:g}" for density in plain[0].densities)], rows)
    if plain and labelled:
        yield ""
    if labelled:
        rows = [[*_facts(c), "; ".join(_point(c, i) for i in range(len(c.labels)))] for c in labelled]
        yield from _table([*columns, "arrangement: value"], rows)


def _facts(curve: Curve) -> list[str]:
    return [curve.name, curve.dtype, str(curve.multipliers), str(curve.size), f"{curve.unfilled:.2f}"]


def _point(curve: Curve, place: int) -> str:
    return f"{curve.labels[place]}: {curve.slots[place]:.3g}"


def _crossover_intro() -> list[str]:
    return [
        "Density below which an engine takes fewer multiplier cycles than a dense array, on a straight line between "
        "the logarithms of neighbouring points; for engines with a few arrangements the densest that does. Always: "
        "with dense operands too.",
        "",
    ]


def _against(curves: Sequence[Curve], families: Sequence[str], dense: Sequence[Curve]) -> Iterator[str]:
    levels = {"perfect dense array": 1.0, **{f"dense {curve.name}": curve.slots[-1] for curve in dense}}
    rows = [
        [curve.name, family, *(_paid(curve, level) for level in levels.values())]
        for family in families
        for curve in curves
        if curve.family == family
    ]
    yield from _table(["part", "zeros", *levels], rows)


def _paid(curve: Curve, level: float) -> str:
    if curve.slots[-1] <= level:
        return "always"
    if curve.labels:
        return curve.densest_below(level) or "nowhere"
    even = curve.below(level)
    return "nowhere" if even is None else f"{even:.2g}"


def _least(curves: Sequence[Curve], families: Sequence[str]) -> Iterator[str]:
    """The least of each family by density, parts of one multiplier left out."""
    yield "Fewest multiplier cycles per dense MAC, of parts with more than one multiplier."
    yield ""
    best = {family: {at: (part, slots) for at, part, slots in crossovers(curves, family)} for family in families}
    densities = sorted({density for rows in best.values() for density in rows})
    rows = [
        [f"{density:g}", *(_winner(best[family].get(density)) for family in families)] for density in densities
    ]  # fmt: skip
    yield from _table(["density", *families], rows)


def _winner(found: tuple[str, float] | None) -> str:
    return f"{found[0].removeprefix('accel/')} ({found[1]:.3g})" if found else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
