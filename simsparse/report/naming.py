# SPDX-License-Identifier: Apache-2.0
"""Names of workloads and configurations on a report's figures, from how the sweep's axes are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simsparse.config.keys import KEYS, Shown, names_shown
from simsparse.report.results import short_name

_WORKLOAD, _SPARSITY = names_shown(Shown.WORKLOAD), names_shown(Shown.SPARSITY)
_CONFIGURATION = names_shown(Shown.CONFIGURATION)


@dataclass(frozen=True)
class Naming:
    """Columns that name things: labels of named axes first, plain keys where no label covers them.

    ``rest`` are the axes that neither name a workload, a configuration nor a sparsity; ``titles`` say model, phase and
    sizes by trace file, ``short`` are names of systems and traces in few characters.
    """

    workload: tuple[str, ...]
    configuration: tuple[str, ...]
    rest: tuple[str, ...]
    titles: Mapping[str, str] = field(default_factory=dict)
    short: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, axes: Mapping[str, Any], columns: Sequence[str], varying: Sequence[str]) -> Naming:
        """From the spec's axes; without any, from the columns that vary."""
        named = {name: _keys_of(items) for name, items in axes.items() if _is_named(items) and name in columns}
        if not axes:
            named = {name: set(_CONFIGURATION) for name in ("setup", "label") if name in columns}
            named |= {"workload": set(_WORKLOAD)} if "workload" in columns else {}
        configuration = [name for name, keys in named.items() if not keys <= {*_WORKLOAD, *_SPARSITY}]
        workload = [name for name, keys in named.items() if keys & set(_WORKLOAD) and name not in configuration]
        covered = {key for keys in named.values() for key in keys}
        configuration += [key for key in _CONFIGURATION if key in varying and key not in covered]
        configuration = configuration or [key for key in ("system",) if key in columns]
        plain = [key for key in (*_WORKLOAD, "trace") if key in columns][:1] if not workload else []
        taken = {*named, *_WORKLOAD, *_SPARSITY, *_CONFIGURATION, "trace"}
        rest = tuple(name for name in (axes or varying) if name not in taken and name in columns)
        return cls((*workload, *plain), tuple(configuration), rest)

    def workload_of(self, row: Mapping[str, str]) -> str:
        """The display name of a row's workload: its label, else model, phase and sizes, else the trace's file."""
        if self.workload == ("workload.trace",) and (title := self.titles.get(row.get("workload.trace", ""))):
            return title
        return " ".join(self._short(row[name]) for name in self.workload if row.get(name)) or "workload"

    def configuration_of(self, row: Mapping[str, str]) -> str:
        """The display name of a row's configuration: system, policy and whatever a named axis sets."""
        words = [
            self._short(row[name]) if name == "system" else KEYS[name].text(row[name]) if name in KEYS else row[name]
            for name in self.configuration
            if row.get(name)
        ]
        return ", ".join(words) or "system"

    def _short(self, value: str) -> str:
        return self.short.get(value) or short_name(value)


def _is_named(items: object) -> bool:
    return isinstance(items, list) and bool(items) and all(isinstance(item, dict) for item in items)


def _keys_of(items: Sequence[Mapping[str, Any]]) -> set[str]:
    return {key for item in items for key in item if key != "label"}
