# SPDX-License-Identifier: Apache-2.0
"""Runs that differ in numbers of the machine alone, through the pipeline together.

In place of each number that differs stands a ``Varying`` (simsparse.core.varying) with those of all machines, and the
summary that comes out holds one too wherever machines differ. Machines that decide in different ways part, and what
can't be done together is run one by one; so the records are those of ``run_point``, to the last bit. The first
machine of each group is run alone as well, and the group one by one where its records differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any

import numpy as np

from simsparse.config.hardware import System
from simsparse.config.quantity import Basis, Quantity
from simsparse.core import Keep
from simsparse.core.memo import remembering_few
from simsparse.core.varying import NotTogether, Parted, Places, Varying
from simsparse.errors import SimsparseError
from simsparse.store.forms import Holes, TextForm, listed
from simsparse.store.schema import Record
from simsparse.sweep.alike import Alike
from simsparse.sweep.execute import number_at, one_by_one, run_point, simulate_point
from simsparse.units import parse_quantity

LEAST = 8
"""Machines of a group below which each is run alone."""


def run_alike(runs: Alike) -> Iterator[list[Record]]:
    """The records of ``runs``, in any order, those together that came together."""
    alone: list[Places] = []
    waiting = [np.arange(len(runs))]
    while waiting:
        places = waiting.pop()
        if len(places) < LEAST:
            alone.append(places)
            continue
        try:
            yield _MachineGroup(runs, places).records()
        except Parted as parted:
            waiting += [places[group] for group in parted.groups]
        except (NotTogether, SimsparseError):
            alone.append(places)
        except Exception:  # such as a division by 0, of some machine: which, and what it means, is seen one by one
            waiting += np.array_split(places, 2)
    yield from one_by_one(runs[place] for places in alone for place in places.tolist())


class _MachineGroup:
    """Some of the runs of ``runs``, which are done together."""

    def __init__(self, runs: Alike, places: Places) -> None:
        self._runs, self._places, self._holes = runs, places, Holes()
        self._texts = list(zip(*(runs.texts[i] for i in places.tolist()), strict=True))

    def records(self) -> list[Record]:
        """Their records. Raises Parted, NotTogether, and whatever one of them raises."""
        run = self._runs[int(self._places[0])]
        with remembering_few(), np.errstate(over="raise", divide="raise", invalid="raise"):
            system = self._system(run.system.system, dict(run.override))
            summary = simulate_point(run, Keep.SUMMARY, system).summary()
        numbers = {path: number_at(system, path) for path, _ in run.override}
        summary["override_si"] = {path: number.si for path, number in numbers.items() if number is not None}
        form, columns, kinds = self._form(summary)
        written, keys = listed(kinds), [self._runs.keys[i] for i in self._places.tolist()]
        results = [written % row for row in zip(*columns, strict=True)]
        if TextForm(form).filled(json.loads(results[0])) != run_point(run).result:
            raise NotTogether("the first machine alone gives another answer")
        return [Record(key, result, form=form) for key, result in zip(keys, results, strict=True)]

    def _system(self, system: System, override: Mapping[str, str]) -> System:
        """``system`` with numbers that differ between the machines."""
        varied = {path: self._number(system, i, path) for i, path in enumerate(self._runs.paths)}
        return system.with_overrides({**override, **varied})

    def _number(self, system: System, i: int, path: str) -> Quantity:
        """The numbers at ``path``, which are what its texts say; the text is a token."""
        texts, stated = self._texts[i], number_at(system, path)
        if stated is None:
            raise NotTogether(f"{path} is no number that the file states")
        try:
            numbers = [parse_quantity(text, stated.unit) if stated.unit else float(text) for text in texts]
        except ValueError:
            raise NotTogether(f"a text of {path} is no number") from None
        for end in (min, max):  # what no part may have is refused as it is of one machine
            system.with_overrides({path: texts[numbers.index(end(numbers))]})
        return Quantity.model_construct(
            si=Varying(np.array(numbers)), text=self._holes.token(i), unit=stated.unit, source=None,
            basis=Basis.OVERRIDE, note="",
        )  # fmt: skip

    def _form(self, summary: Mapping[str, Any]) -> tuple[str, list[Sequence[Any]], str]:
        """The form of the summaries; of each of its holes the values of the machines, and whether they are texts."""
        columns: list[Sequence[Any]] = [list(map(encode_basestring_ascii, texts)) for texts in self._texts]
        texts = len(columns)
        marked = json.dumps(self._marked(summary, columns), allow_nan=False)
        form, numbers = self._holes.form(marked)
        kinds = "".join("t" if number < texts else "n" for number in numbers)
        return form, [columns[number] for number in numbers], kinds

    def _marked(self, value: Any, columns: list[Sequence[Any]]) -> Any:
        """``value`` with tokens in place of what differs, whose values come to ``columns``."""
        if isinstance(value, Varying):
            if value.ndim or value.dtype.kind == "b" or not np.isfinite(value.data).all():
                raise NotTogether("no number")
            columns.append(value.data.tolist())
            return self._holes.token(len(columns) - 1)
        if isinstance(value, Mapping):
            return {key: self._marked(each, columns) for key, each in value.items()}
        return [self._marked(each, columns) for each in value] if isinstance(value, list | tuple) else value
