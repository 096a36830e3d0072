# SPDX-License-Identifier: Apache-2.0
"""How far models are from measurements: hw_models/accuracy.yaml, by part and by class of kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError, model_validator

from simsparse.config.quantity import Frozen
from simsparse.config.validated import fault_message
from simsparse.config.yaml import read_yaml
from simsparse.paths import data_root

FILE = "accuracy.yaml"
HEADER = """\
# Mean absolute error of the models by part and class of kernel, over the measured rows that were compared.
# Written by: simsparse validate --data FILE --hw PART --accuracy hw_models/accuracy.yaml
# in_sample: the rows were fitted. spans: least and most of each dim among rows that were compared or fitted.
"""


class ClassAccuracy(Frozen):
    """The comparison of one class of kernels on one part.

    ``error``: mean absolute relative error over ``rows``; ``worst``: the relative error that is furthest from 0;
    ``data``: the stem of their file. ``spans``: by name of a dim its least and most value among rows that were compared
    or fitted, outside of which the model extrapolates. ``in_sample``: the rows are those that were fitted.
    """

    rows: Annotated[int, Field(gt=0)]
    error: Annotated[float, Field(ge=0)]
    worst: float
    data: str
    in_sample: bool = False
    spans: dict[str, tuple[int, int]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _rise(self) -> ClassAccuracy:
        for name, (least, most) in self.spans.items():
            if least > most:
                raise ValueError(f"spans.{name}: {least} is over {most}")
        return self

    def covers(self, dims: Mapping[str, int]) -> bool:
        """Whether every dim that has a span lies within it."""
        return all(least <= dims[name] <= most for name, (least, most) in self.spans.items() if name in dims)


Accuracies = Mapping[str, Mapping[str, ClassAccuracy]]


def accuracies() -> Accuracies:
    """All entries by part, then by class. Raises SpecError that names file, line and key."""
    path = data_root() / "hw_models" / FILE
    return _kept(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _kept(path: Path, modified: int) -> Accuracies:
    del modified
    return read_accuracies(path)


def read_accuracies(path: Path) -> Accuracies:
    """The entries of the file ``path``. Raises SpecError that names file, line and key."""
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping of parts")
    found: dict[str, dict[str, ClassAccuracy]] = {}
    for part, classes in document.data.items():
        if not isinstance(classes, dict):
            raise document.error((part,), "expected a mapping of classes of kernels")
        for name, entry in classes.items():
            try:
                found.setdefault(part, {})[name] = ClassAccuracy.model_validate(entry)
            except ValidationError as error:
                raise document.error((part, name), fault_message(error.errors()[0])) from error
    return found


def error_of(label: str | None) -> float | None:
    """The mean absolute error of the class of kernels that ``label`` names, as ``PART CLASS``; None where none is."""
    return errors_of([label])[0]


def errors_of(labels: Iterable[str | None]) -> list[float | None]:
    """The same of several labels."""
    known, found = accuracies(), list[float | None]()
    for label in labels:
        part, _, name = (label or "").rpartition(" ")
        entry = known.get(part, {}).get(name)
        found.append(None if entry is None else entry.error)
    return found


def accuracy_of(part: str) -> Mapping[str, ClassAccuracy]:
    """The entries of ``part`` by class; empty where nothing was compared."""
    return accuracies().get(part, {})


def merged_text(before: Accuracies, part: str, classes: Mapping[str, ClassAccuracy]) -> str:
    """The file's text with ``classes`` of ``part`` put in.

    Of a class that is there from other data, the error of rows that were not fitted stands, else the earlier one. Rows
    of the same data that were fitted stay so. The spans of both count.
    """
    whole = {name: dict(own) for name, own in before.items()}
    own = whole.setdefault(part, {})
    for name, entry in classes.items():
        own[name] = _joined(own[name], entry) if name in own else entry
    plain = {
        name: {key: own[key].model_dump(mode="json", exclude_defaults=True) for key in sorted(own)}
        for name, own in sorted(whole.items())
    }
    return HEADER + yaml.safe_dump(plain, sort_keys=False, width=120, default_flow_style=None)


def _joined(old: ClassAccuracy, new: ClassAccuracy) -> ClassAccuracy:
    same = old.data == new.data
    stated = old if new.in_sample and not same else new
    fitted = stated.in_sample or (same and old.in_sample)
    spans = {
        name: (min(least, new.spans[name][0]), max(most, new.spans[name][1]))
        for name, (least, most) in old.spans.items() if name in new.spans
    }  # fmt: skip
    return stated.model_copy(update={"spans": spans, "in_sample": fitted})
