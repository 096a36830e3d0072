# SPDX-License-Identifier: Apache-2.0
"""The table that ``simsparse trace`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simsparse.cli.console import note, si, table

if TYPE_CHECKING:
    from simsparse.core import Trace

_MEASURED = {"input_density": "input density", "padding": "padding"}


def show(trace: Trace) -> None:
    """Totals by kind and label of operator on stdout, the trace's meta as notes.

    Columns of what was measured on real inputs appear where something was.
    """
    from simsparse.trace.statistics.totals import summary

    data = summary(trace)
    measured = [key for key in _MEASURED if any(row[key] is not None for row in data["kinds"])]
    rows = [(*_cells(row), *(_number(row[key]) for key in measured)) for row in data["kinds"]]
    columns = ("kind", "ops", "work", "least bytes", "weights", "FLOP/B", "density",
               *(_MEASURED[key] for key in measured))  # fmt: skip
    table(f"{data['name']}: {data['ops']} ops", columns, rows, right=columns[1:])
    for key, value in data["meta"].items():
        note(f"{key}: {value}")


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    return (row["kind"], row["ops"], si(row["flops"], "FLOP"), si(row["bytes"], "B"), si(row["weight_bytes"], "B"),
            _number(row["flops_per_byte"]), _number(row["density"]))  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
