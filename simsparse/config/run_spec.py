# SPDX-License-Identifier: Apache-2.0
"""What experiments and sweeps share: the keys of a run as fields of a YAML file, and their values by key."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, create_model

from simsparse.config.keys import KEYS, OPTION, OVERRIDE, OptionValue, Scalar, Text, is_key, known_keys
from simsparse.config.quantity import Frozen
from simsparse.config.yaml import Document, parse_yaml, read_yaml
from simsparse.errors import SpecError, nearest
from simsparse.paths import find_file

RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]


class WorkloadSpec(Frozen):
    """What is run: a trace file, looked up as given, beside the spec, then among the shipped traces."""

    trace: Text


_FIELDS: dict[str, Any] = {
    key.name: (Annotated[key.type, Field(description=key.meaning)], key.default)
    for key in KEYS.values() if not key.required
}  # fmt: skip
_KeyFields: Any = create_model("_KeyFields", __base__=Frozen, **_FIELDS)
"""A field for every key that is not required."""


class RunSpec(_KeyFields):  # type: ignore[misc]
    """The fields that an experiment and a sweep share, the keys of KEYS among them.

    ``exclude`` are words: weights whose module or op name holds one stay dense. ``override`` maps
    DEVICE_OR_LINK.FIELD[.FIELD] of the system to a value with its unit.
    """

    name: RunName
    description: str = ""
    workload: WorkloadSpec | None = None
    system: Text | None = None
    policy_options: dict[str, OptionValue] = Field(default_factory=dict)
    exclude: tuple[Text, ...] = ("lm_head", "router")
    override: dict[str, OptionValue] = Field(default_factory=dict)

    @property
    def values(self) -> dict[str, Scalar]:
        """What the spec says by key, in the keys that axes use: ``policy``, ``override.PATH``, ..."""
        found: dict[str, Scalar] = {name: getattr(self, name) for name in _FIELDS}
        found |= {"workload.trace": self.workload.trace} if self.workload else {}
        found |= {"system": self.system} if self.system else {}
        return found | _prefixed(OPTION, self.policy_options) | _prefixed(OVERRIDE, self.override)


def _prefixed(prefix: str, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {f"{prefix}{key}": value for key, value in values.items()}


def load_document(name: str) -> Document:
    """The YAML file ``name``, as a path or among the shipped configs. Raises SpecError."""
    document = read_yaml(find_file(name))
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping")
    return document


def with_values(document: Document, values: Mapping[str, str]) -> Document:
    """``document`` with keys set to other values, as texts that YAML reads. Raises SpecError on an unknown key."""
    data = deepcopy(document.data)
    for name, text in values.items():
        if not is_key(name):
            raise SpecError(f"{name!r} is not a key; {nearest(name, known_keys())}")
        *above, last = name.split(".", 1)
        inside = data
        for step in above:
            inside = inside.setdefault(step, {}) if isinstance(inside, dict) else {}
        inside[last] = parse_yaml(text, name).data
    return replace(document, data=data)


def folder(document: Document) -> Path:
    """The folder of a spec, where relative names are looked up."""
    return Path(document.file).parent
