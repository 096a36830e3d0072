"""From a sweep's result folder to Results. The folder's tables are read, its code is not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.errors import SpecError, StoreError
from simsparse.report.results import Point, Results, short_name, unique

if TYPE_CHECKING:
    import pandas as pd

PARQUET, SPEC = "results.parquet", "resolved.yaml"
_NAMED = ("weight_sparsity", "system", "policy", "setup", "workload.trace", "trace", "workload", "label")


def read_results(folder: Path) -> Results:
    """The results in ``folder``. Raises StoreError when it holds no sweep or its table can't be read."""
    table = _table(folder)
    spec = _spec(folder)
    axes = _axes(spec, table)
    rows = table.to_dict("records")
    with_policy = len({str(row.get("policy")) for row in rows}) > 1
    points = tuple(_point(i, row, axes, with_policy) for i, row in enumerate(rows))
    path = folder / SPEC
    resolved = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return Results(str(spec.get("name") or folder.name), points, axes, table, resolved)


def _table(folder: Path) -> pd.DataFrame:
    import pandas as pd

    path = folder / PARQUET
    if not path.is_file():
        raise StoreError(f"holds no sweep result; expected {PARQUET}, which simsparse sweep writes", file=str(folder))
    try:
        return pd.read_parquet(path)
    except Exception as error:
        raise StoreError(f"is no Parquet table: {error}", file=str(path)) from error


def _spec(folder: Path) -> Mapping[str, Any]:
    from simsparse.config.yaml import read_yaml

    path = folder / SPEC
    if not path.is_file():
        return {}
    try:
        data = read_yaml(path).data
    except SpecError as error:
        raise StoreError(error.message, file=error.file, line=error.line, key=error.key) from error
    return data if isinstance(data, dict) else {}


def _axes(spec: Mapping[str, Any], table: pd.DataFrame) -> tuple[str, ...]:
    """Axes named by the spec that are columns; without a spec, the input columns that vary."""
    columns = [str(column) for column in table.columns]
    declared = spec.get("axes")
    if isinstance(declared, dict):
        return tuple(name for name in columns if name in declared)
    inputs = [name for name in columns if name in _NAMED or name.startswith("override.")]
    return tuple(name for name in inputs if table[name].astype(str).nunique() > 1)


def _point(index: int, row: Mapping[Any, Any], axes: Sequence[str], with_policy: bool) -> Point:
    system = _text(row.get("system"))
    setup = _text(row.get("setup")) or _text(row.get("label")) or short_name(system) or "system"
    policy = _text(row.get("policy"))
    if with_policy and policy and not _text(row.get("setup")):
        setup = f"{setup} / {policy}"
    workload = _text(row.get("workload.trace")) or _text(row.get("trace")) or _text(row.get("workload"))
    latency, energy = _number(row.get("latency_s")), _number(row.get("energy_j"))
    return Point(
        key=_text(row.get("key")) or str(index), workload=short_name(workload) or "workload", setup=setup,
        sparsity=_text(row.get("weight_sparsity")) or "dense", system=system, policy=policy,
        axes={name: _text(row.get(name)) for name in axes},
        overrides=_overrides(row),
        latency_s=math.nan if latency is None else latency, energy_j=math.nan if energy is None else energy,
        area_mm2=_number(row.get("area_mm2")), bound=_text(row.get("bound")),
        seconds_by_bound=_mapping(row.get("seconds_by_bound")),
        energy_by_component=_mapping(row.get("energy_by_component")), assumed=_words(row.get("assumed")),
        unvalidated=_words(row.get("unvalidated")), error=_error(row, latency),
    )  # fmt: skip


def _overrides(row: Mapping[Any, Any]) -> dict[str, str]:
    paths = {str(name): value for name, value in row.items() if str(name).startswith("override.")}
    return {name.removeprefix("override."): text for name, value in paths.items() if (text := _text(value))}


def _error(row: Mapping[Any, Any], latency: float | None) -> str:
    if error := _text(row.get("error")):
        return error
    return "" if latency is not None else _text(row.get("status")) or "no latency was recorded"


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)  # noqa: PLR0124


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
    except ValueError:
        return None


def _mapping(value: object) -> dict[str, float]:
    data = _json(value)
    if not isinstance(data, dict):
        return {}
    return {str(key): number for key, item in data.items() if (number := _number(item)) is not None}


def _words(value: object) -> tuple[str, ...]:
    data = _json(value)
    return tuple(unique(str(item) for item in data)) if isinstance(data, list | tuple) else ()
