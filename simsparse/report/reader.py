# SPDX-License-Identifier: Apache-2.0
"""From a sweep's result folder to Results."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.config.keys import OVERRIDE, is_key
from simsparse.core import OpResult, Result, Timeline
from simsparse.errors import SpecError, StoreError
from simsparse.paths import is_file
from simsparse.report.naming import Naming
from simsparse.report.results import (
    NAMED_BY_PATH,
    Results,
    StoredPoint,
    merged_runs,
    results_of,
    short_names,
    unique,
    unvalidated_share,
)
from simsparse.store import PARQUET_NAME, SPEC_NAME, STORE_NAME, Reader, read_table
from simsparse.text import printable

if TYPE_CHECKING:
    import pandas as pd

RESULT_NAME = "result.json"
"""What a run writes beside its tables."""
SEARCHES = ("tpe", "nsga2", "cmaes")
"""Kinds of sampling in which later points depend on the answers to earlier ones."""
SHOWN_CHARACTERS = 1 << 20
"""Characters of the resolved sweep that a page shows."""
TRACE = "workload.trace"
_LABELS = ("setup", "workload", "label")
"""Usual names of axes of mappings, where the sweep's file does not tell which of the columns are axes."""


def read_results(folder: Path) -> Results:
    """The results in ``folder``: its store, or its Parquet table where the store is not there.

    Raises StoreError when it holds neither, or one that can't be read.
    """
    try:
        folder.is_dir()
    except OSError as error:  # no name that a folder can have
        raise StoreError(f"can't be read: {error.strerror}", file=str(folder)) from error
    spec, table = _spec(folder), read_table(folder)
    store = Reader(folder / STORE_NAME) if (folder / STORE_NAME).is_file() else None
    declared = spec.get("axes")
    axes = {str(name): items for name, items in declared.items()} if isinstance(declared, dict) else {}
    first, last = _levels(spec, table)
    shown = table if last is None else table[table["level"] == last]
    varying = tuple(name for name in _inputs(shown) if shown[name].astype(str).nunique() > 1)
    naming = Naming.of(axes, [str(name) for name in table.columns], varying)
    ops = store.ops() if store else {}
    places = _axes_of(axes, varying, shown)
    naming = replace(naming, titles=_titles(table), short=_short(table))
    if "key" in table:
        table = table.drop_duplicates(["key", *places], ignore_index=True)
    table = _with_front(table, folder)
    answers = [
        (row.get("level"), _point(i, row, naming, places, ops)) for i, row in enumerate(table.to_dict("records"))
    ]
    points = tuple(point for level, point in answers if last is None or level == last)
    baseline = spec.get("baseline")
    return Results(
        str(spec.get("name") or folder.resolve().name), points, naming.rest, table, *_resolved(folder / SPEC_NAME),
        description=str(spec.get("description") or ""), ops=ops,
        objectives=_objectives(spec),
        drawn=tuple(point for level, point in answers if level == first) if last is not None else (),
        baseline={str(k): str(v) for k, v in baseline.items()} if isinstance(baseline, dict) else {},
        searched=_sample(spec).get("kind") in SEARCHES,
        normalise=tuple(map(str, spec.get("normalise") or ())), workload_axes=_workload_axes(axes, places),
        timelines=_timelines(store, {point.key for point in points}),
    )  # fmt: skip


def _timelines(store: Reader | None, keys: set[str]) -> dict[str, Timeline]:
    return {key: timeline for key, timeline in store.timelines().items() if key in keys} if store else {}


def _sample(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    sample = spec.get("sample")
    return sample if isinstance(sample, Mapping) else {}


def _objectives(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """What the sweep makes small; CMA-ES, which takes one objective, the first of the usual ones."""
    stated = spec.get("objectives")
    if isinstance(stated, list):
        return tuple(map(str, stated))
    return ("latency_s",) if _sample(spec).get("kind") == "cmaes" else ("latency_s", "energy_j")


def _levels(spec: Mapping[str, Any], table: pd.DataFrame) -> tuple[int | None, int | None]:
    """The first level of a search over levels, and the last that it has come to; None of other sweeps."""
    if not _sample(spec).get("fidelity") or "level" not in table or not len(table):
        return None, None
    return int(table["level"].min()), int(table["level"].max())


def read_any(path: Path) -> Results:
    """The results of a sweep's folder, of a run's folder, or in a run's ``result.json``. Raises StoreError."""
    file = path if is_file(path) else path / RESULT_NAME
    if not is_file(file):
        return read_results(path)
    try:
        return results_of(Result.load(file))
    except OSError as error:
        raise StoreError(f"can't be read: {error.strerror}", file=str(file)) from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"is no result of a run: {error}", file=str(file)) from error


def _axes_of(axes: Mapping[str, Any], varying: Sequence[str], table: pd.DataFrame) -> tuple[str, ...]:
    """The columns in which points can differ: the declared axes, else inputs that do not follow from a label."""
    if axes:
        return tuple(name for name in axes if name in table)
    labels = [name for name in _LABELS if name in varying]
    return tuple(
        name for name in varying
        if name in labels or not any(table.groupby(label)[name].nunique().max() <= 1 for label in labels)
    )  # fmt: skip


def _workload_axes(axes: Mapping[str, Any], places: Sequence[str]) -> tuple[str, ...]:
    """The axes that set the trace and nothing else."""
    items = {name: axes.get(name) for name in places}
    return tuple(
        name for name, own in items.items()
        if name == TRACE or (isinstance(own, list) and own and all(_sets_trace_alone(item) for item in own))
    )  # fmt: skip


def _sets_trace_alone(item: object) -> bool:
    return isinstance(item, Mapping) and set(item) <= {TRACE, "label"}


def _with_front(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The table with the columns that a finished sweep adds to its files: whether a point is feasible and on the front.

    A point that the files do not know yet is on no front.
    """
    import pandas as pd

    if "front" in table or "key" not in table or not (folder / PARQUET_NAME).is_file():
        return table
    known = pd.read_parquet(folder / PARQUET_NAME)
    if "key" not in known:
        return table
    known = known.drop_duplicates("key").set_index("key")
    at = list(table.columns).index("error")
    for i, name in enumerate(name for name in ("feasible", "front") if name in known):
        table.insert(at + i, name, [bool(known[name].get(key, False)) for key in table["key"]])
    return table


def _short(table: pd.DataFrame) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in NAMED_BY_PATH:
        found |= short_names(table[name].dropna().astype(str)) if name in table else {}
    return found


def _titles(table: pd.DataFrame) -> dict[str, str]:
    """Model, phase and sizes by trace file, of the traces that these tell apart; no size that differs on one trace."""
    if "title" not in table or "workload.trace" not in table:
        return {}
    named = table[table["title"].astype(str) != ""].drop_duplicates(["workload.trace", "title"])
    found = {str(trace): _common(own.astype(str).tolist()) for trace, own in named.groupby("workload.trace")["title"]}
    counts = Counter(found.values())
    return {trace: title for trace, title in found.items() if title and counts[title] == 1}


def _common(titles: Sequence[str]) -> str:
    """What all titles of a trace say, which differ where an axis sets a size."""
    others = [title.split(", ") for title in titles[1:]]
    return ", ".join(word for word in titles[0].split(", ") if all(word in other for other in others))


def _spec(folder: Path) -> Mapping[str, Any]:
    from simsparse.config.yaml import read_resolved

    path = folder / SPEC_NAME
    if not path.is_file():
        return {}
    try:
        data = read_resolved(path).data
    except SpecError as error:
        raise StoreError(error.message, file=error.file, line=error.line, key=error.key) from error
    return data if isinstance(data, dict) else {}


def _resolved(path: Path) -> tuple[str, Path | None]:
    """The beginning of what a sweep wrote of itself, for the page, and where all of it lies."""
    if not path.is_file():
        return "", None
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(SHOWN_CHARACTERS + 1)
    if len(text) > SHOWN_CHARACTERS:
        text = f"{text[:SHOWN_CHARACTERS]}\n... the rest stands in {path.name}"
    return text, path


def _inputs(table: pd.DataFrame) -> list[str]:
    names = [str(name) for name in table.columns]
    return [name for name in names if is_key(name) or name in _LABELS]


def _point(
    index: int, row: Mapping[Any, Any], naming: Naming, places: Sequence[str], ops: Mapping[str, Sequence[OpResult]]
) -> StoredPoint:
    texts = {str(name): text for name, value in row.items() if (text := _text(value))}
    latency, energy = _number(row.get("latency_s")), _number(row.get("energy_j"))
    key = texts.get("key", str(index))
    return StoredPoint(
        key=key, workload=naming.workload_of(texts), configuration=naming.configuration_of(texts),
        sparsity=texts.get("weight_sparsity", "dense"), system=texts.get("system", ""), policy=texts.get("policy", ""),
        axes={name: texts.get(name, "") for name in naming.rest}, place={name: texts.get(name, "") for name in places},
        overrides=_overrides(texts),
        latency_s=math.nan if latency is None else latency, energy_j=math.nan if energy is None else energy,
        area_mm2=_number(row.get("area_mm2")), bound=texts.get("bound", ""),
        seconds_by_bound=_mapping(row.get("seconds_by_bound")),
        energy_by_component=_mapping(row.get("energy_by_component")), assumed=_words(row.get("assumed")),
        unvalidated=_words(row.get("unvalidated")),
        unvalidated_share=unvalidated_share(ops[key]) if key in ops else None, power_w=_number(row.get("power_w")),
        feasible=row.get("feasible") is not False,
        runs_as=merged_runs(_runs(row.get("runs_as"))), notes=_words(row.get("notes")),
        error=_error(texts, latency), title=texts.get("title", ""),
    )  # fmt: skip


def _overrides(texts: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(OVERRIDE): text for name, text in texts.items() if name.startswith(OVERRIDE)}


def _error(texts: Mapping[str, str], latency: float | None) -> str:
    if error := texts.get("error"):
        return error
    return "" if latency is not None else "no latency was recorded"


def _text(value: object) -> str:
    return "" if value is None or _is_nan(value) else str(value)


def _is_nan(value: object) -> bool:
    return type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _json(value: object) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _mapping(value: object) -> dict[str, float]:
    data = _json(value)
    if not isinstance(data, dict):
        return {}
    return {
        printable(str(key)): number
        for key, item in data.items()
        if (number := _number(item)) is not None and number > 0
    }


def _words(value: object) -> tuple[str, ...]:
    data = _json(value)
    return tuple(unique(printable(str(item)) for item in data)) if isinstance(data, list | tuple) else ()


def _runs(value: object) -> dict[str, dict[str, str]]:
    """What devices make of sparsities, by device."""
    data = _json(value)
    if not isinstance(data, dict):
        return {}
    return {str(device): {printable(str(a)): printable(str(b)) for a, b in own.items()}
            for device, own in data.items() if isinstance(own, dict)}  # fmt: skip
